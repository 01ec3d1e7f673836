//! What the tests beside this one found, each as a table, and mended since.

use std::{sync::Arc, time::Duration};

use authd_oauth::{
    Effect, Event, IdToken, Mode,
    ProfileStatus::{Expired, Ready, Refreshing},
    Record, Routing, Session,
};

use crate::luck::unsaved;
use crate::tables::{
    DAY,
    Do::{Ask, Exchanged, Refreshed, Saved, Want},
    HOUR, answer, at, follow, record,
};

#[test]
fn a_key_that_is_refused_again_and_again_costs_one_refresh() {
    follow(
        record(Mode::ApiKey, HOUR),
        &[
            (60, Ask(Some(5)), "journal", Refreshing),
            (60, Saved, "refresh", Refreshing),
            (61, Refreshed(HOUR), "save", Ready),
            (61, Saved, "exchange", Refreshing),
            (62, Exchanged, "save", Ready),
            (62, Saved, "rest", Ready),
            (63, Ask(Some(6)), "rest", Ready), // the newest key is as good as can be
        ],
    );
}

/// A herd asks with the old credential in hand while its successor is being saved.
#[test]
fn a_herd_that_waits_for_the_store_costs_one_refresh() {
    for late in [Want(60), Ask(Some(5))] {
        follow(
            record(Mode::ChatGpt, HOUR),
            &[
                (4_000, Want(60), "journal", Expired),
                (4_000, Saved, "refresh", Expired),
                (4_001, Refreshed(HOUR), "save", Expired),
                (4_002, late, "rest", Expired),
                (4_003, Saved, "rest", Ready),
            ],
        );
    }
}

/// The save that was under way knows nothing of a routing that is told meanwhile.
#[test]
fn a_routing_told_during_a_save_is_saved_too() {
    let routing = Routing { origin: None, region: Some("eu".to_owned()) };
    let mut session = Session::signed_in(in_workspace("acc"), 3, at(0));
    let told = |routing: &Routing| Event::Routed("acc".into(), routing.clone());
    let Effect::Save(first, _) = session.apply(Event::Ticked, at(0)) else { panic!("{session:#?}") };
    assert!(matches!(session.apply(told(&routing), at(1)), Effect::Rest));
    let Effect::Save(second, saved) = session.apply(Event::Saved(first, Ok(())), at(2)) else {
        panic!("{session:#?}")
    };
    assert_eq!((saved.routing, saved.routed_at), (routing.clone().into(), Some(at(2))));
    session.apply(Event::Saved(second, Ok(())), at(3));
    assert!(session.is_settled());
    // The same again is no other credential; that it was asked is kept all the same.
    let before = session.credential().generation;
    let Effect::Save(_, saved) = session.apply(told(&routing), at(DAY)) else { panic!("{session:#?}") };
    assert_eq!((saved.generation, saved.routed_at), (before, Some(at(DAY))));
}

/// Somebody signs in to another workspace while it is asked where the requests of the first one go.
#[test]
fn a_routing_of_another_workspace_is_dropped() {
    let routing = Routing { origin: Some("https://eu.chatgpt.com".to_owned()), region: None };
    for late in [false, true] {
        let mut session = Session::signed_in(in_workspace("first"), 3, at(0));
        let Effect::Save(first, _) = session.apply(Event::Ticked, at(0)) else { panic!("{session:#?}") };
        session.apply(Event::Saved(first, Ok(())), at(1));
        let other = Event::SignedIn(Box::new(in_workspace("second").grant), "second".into());
        let Effect::Save(second, _) = session.apply(other, at(2)) else { panic!("{session:#?}") };
        let answer = Event::Routed("first".into(), routing.clone());
        // It comes while the new record is on its way to the store, or after.
        let (before, after) = if late { (Event::Ticked, answer) } else { (answer, Event::Ticked) };
        session.apply(before, at(3));
        session.apply(Event::Saved(second, Ok(())), at(4));
        assert!(matches!(session.apply(after, at(5)), Effect::Rest), "{session:#?}");
        assert_eq!((&session.record().routing, session.record().routed_at), (&Arc::default(), None));
    }
}

/// A store that did not answer in time may delete the record yet that it was asked to delete.
#[test]
fn a_record_that_may_be_gone_is_saved_again_until_it_is_there() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let was_at_rest = || Some(IdToken::new("was at rest"));
    let unkept = Event::Unkept(was_at_rest());
    let Effect::Save(ticket, saved) = session.apply(unkept, at(1)) else { panic!("{session:#?}") };
    assert!(saved.is_whole());
    session.apply(Event::Saved(ticket, Err(unsaved("it does not answer"))), at(2));
    assert!(!session.is_settled() && session.flags().unsaved);
    let Effect::Save(ticket, saved) = session.apply(Event::Ticked, at(60)) else { panic!("{session:#?}") };
    assert_eq!(saved.grant.secrets.id_token().unwrap().expose(), "was at rest");
    session.apply(Event::Saved(ticket, Ok(())), at(61));
    assert!(session.is_settled() && !session.flags().unsaved);
}

/// A token with another one's account id would be refused, or worse.
#[test]
fn until_a_sign_in_is_saved_the_old_token_goes_with_its_own_workspace() {
    let mut session = Session::signed_in(in_workspace("first"), 3, at(0));
    let Effect::Save(ticket, _) = session.apply(Event::Ticked, at(0)) else { panic!("{session:#?}") };
    session.apply(Event::Saved(ticket, Ok(())), at(1));
    let whose = |session: &Session| session.credential().identity.account_id.clone().unwrap();
    let next = Event::SignedIn(Box::new(in_workspace("second").grant), "second".into());
    let Effect::Save(ticket, _) = session.apply(next, at(2)) else { panic!("{session:#?}") };
    assert_eq!((session.credential().generation, &*whose(&session)), (1, "first"));
    session.apply(Event::Saved(ticket, Ok(())), at(3));
    assert_eq!((session.credential().generation, &*whose(&session)), (2, "second"));
}

fn in_workspace(id: &str) -> Record {
    let mut grant = record(Mode::ChatGpt, HOUR).grant;
    Arc::make_mut(&mut grant.identity).account_id = Some(id.into());
    Record::new(grant, id.into(), 1)
}

/// The back-off of a store that fails for long grows to minutes; the last minute is shorter.
#[test]
fn a_store_that_never_works_signs_nobody_out() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let (mut now, mut event) = (at(0), Event::Ticked);
    while now < at(DAY) {
        let left = session.credential().lasts(now);
        assert!(left > Duration::ZERO, "nothing to serve at {now}: {session:#?}");
        event = match session.apply(event, now) {
            Effect::Save(ticket, _) => Event::Saved(ticket, Err(unsaved("it is broken"))),
            Effect::Refresh(ticket, _) => Event::Refreshed(ticket, Ok(answer(HOUR))),
            Effect::Rest => {
                now = session.next_wakeup(now).unwrap();
                Event::Used(now)
            }
            effect @ (Effect::Probe(_) | Effect::Exchange(..)) => panic!("{effect:?}"),
        };
    }
}
