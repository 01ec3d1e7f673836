//! Failures that the other tests found.

use std::{sync::Arc, time::Duration};

use authd_oauth::{
    Effect, Event, IdToken, Mode,
    ProfileStatus::{Expired, Ready, Refreshing},
    Record, Routing, Session,
};

use crate::outcome::save_error;
use crate::tables::{
    Action::{Exchanged, Refreshed, Request, RequestRefresh, Saved},
    DAY, HOUR, at, follow, record, refresh_response,
};

#[test]
fn repeated_rejections_of_a_key_cause_one_refresh() {
    follow(
        record(Mode::ApiKey, HOUR),
        &[
            (60, RequestRefresh(Some(5)), "journal", Refreshing),
            (60, Saved, "refresh", Refreshing),
            (61, Refreshed(HOUR), "save", Ready),
            (61, Saved, "exchange", Refreshing),
            (62, Exchanged, "save", Ready),
            (62, Saved, "wait", Ready),
            (63, RequestRefresh(Some(6)), "wait", Ready), // the newest key answers a rejection
        ],
    );
}

/// Many clients send the old credential while its successor is being saved.
#[test]
fn clients_that_wait_for_the_store_cause_one_refresh() {
    for late in [Request(60), RequestRefresh(Some(5))] {
        follow(
            record(Mode::ChatGpt, HOUR),
            &[
                (4_000, Request(60), "journal", Expired),
                (4_000, Saved, "refresh", Expired),
                (4_001, Refreshed(HOUR), "save", Expired),
                (4_002, late, "wait", Expired),
                (4_003, Saved, "wait", Ready),
            ],
        );
    }
}

/// The save in flight does not contain a routing that arrives meanwhile.
#[test]
fn routing_that_arrives_during_a_save_is_saved_too() {
    let routing = Routing { origin: None, region: Some("eu".to_owned()) };
    let mut session = Session::signed_in(in_workspace("acc"), 3, at(0));
    let received = |routing: &Routing| Event::RoutingReceived("acc".into(), routing.clone());
    let Effect::Save(first, _) = session.apply(Event::Ticked, at(0)) else { panic!("{session:#?}") };
    assert!(matches!(session.apply(received(&routing), at(1)), Effect::Wait));
    let Effect::Save(second, saved) = session.apply(Event::Saved(first, Ok(())), at(2)) else {
        panic!("{session:#?}")
    };
    assert_eq!((saved.routing, saved.routed_at), (routing.clone().into(), Some(at(2))));
    session.apply(Event::Saved(second, Ok(())), at(3));
    assert!(session.is_settled());
    // The same routing makes no new credential, but its time is saved.
    let before = session.credential().generation;
    let Effect::Save(_, saved) = session.apply(received(&routing), at(DAY)) else { panic!("{session:#?}") };
    assert_eq!((saved.generation, saved.routed_at), (before, Some(at(DAY))));
}

/// The user signs in to another workspace while the routing of the first one is fetched.
#[test]
fn routing_of_another_workspace_is_dropped() {
    let routing = Routing { origin: Some("https://eu.chatgpt.com".to_owned()), region: None };
    for late in [false, true] {
        let mut session = Session::signed_in(in_workspace("first"), 3, at(0));
        let Effect::Save(first, _) = session.apply(Event::Ticked, at(0)) else { panic!("{session:#?}") };
        session.apply(Event::Saved(first, Ok(())), at(1));
        let other = Event::SignedIn(Box::new(in_workspace("second").grant), "second".into());
        let Effect::Save(second, _) = session.apply(other, at(2)) else { panic!("{session:#?}") };
        let received = Event::RoutingReceived("first".into(), routing.clone());
        // It arrives during the save of the new record, or after it.
        let (before, after) = if late { (Event::Ticked, received) } else { (received, Event::Ticked) };
        session.apply(before, at(3));
        session.apply(Event::Saved(second, Ok(())), at(4));
        assert!(matches!(session.apply(after, at(5)), Effect::Wait), "{session:#?}");
        assert_eq!((&session.record().routing, session.record().routed_at), (&Arc::default(), None));
    }
}

/// A store that timed out on a delete may still delete the record.
#[test]
fn record_that_may_be_lost_is_saved_again_until_that_succeeds() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let stored_token = || Some(IdToken::new("stored"));
    let lost = Event::RecordMayBeLost(stored_token());
    let Effect::Save(ticket, saved) = session.apply(lost, at(1)) else { panic!("{session:#?}") };
    assert!(saved.is_complete());
    session.apply(Event::Saved(ticket, Err(save_error("it timed out"))), at(2));
    assert!(!session.is_settled() && session.flags().unsaved);
    let Effect::Save(ticket, saved) = session.apply(Event::Ticked, at(60)) else { panic!("{session:#?}") };
    assert_eq!(saved.grant.secrets.id_token().unwrap().expose(), "stored");
    session.apply(Event::Saved(ticket, Ok(())), at(61));
    assert!(session.is_settled() && !session.flags().unsaved);
}

/// A token must not be sent with the account id of another workspace.
#[test]
fn old_token_keeps_its_workspace_until_the_sign_in_is_saved() {
    let mut session = Session::signed_in(in_workspace("first"), 3, at(0));
    let Effect::Save(ticket, _) = session.apply(Event::Ticked, at(0)) else { panic!("{session:#?}") };
    session.apply(Event::Saved(ticket, Ok(())), at(1));
    let workspace = |session: &Session| session.credential().identity.account_id.clone().unwrap();
    let next = Event::SignedIn(Box::new(in_workspace("second").grant), "second".into());
    let Effect::Save(ticket, _) = session.apply(next, at(2)) else { panic!("{session:#?}") };
    assert_eq!((session.credential().generation, &*workspace(&session)), (1, "first"));
    session.apply(Event::Saved(ticket, Ok(())), at(3));
    assert_eq!((session.credential().generation, &*workspace(&session)), (2, "second"));
}

fn in_workspace(id: &str) -> Record {
    let mut grant = record(Mode::ChatGpt, HOUR).grant;
    Arc::make_mut(&mut grant.identity).account_id = Some(id.into());
    Record::new(grant, id.into(), 1)
}

/// The back-off of a failing store grows to minutes, but the last minute of a token is shorter.
#[test]
fn failing_store_does_not_end_a_login() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let (mut now, mut event) = (at(0), Event::Ticked);
    while now < at(DAY) {
        let left = session.credential().remaining(now);
        assert!(left > Duration::ZERO, "nothing to serve at {now}: {session:#?}");
        event = match session.apply(event, now) {
            Effect::Save(ticket, _) => Event::Saved(ticket, Err(save_error("it is broken"))),
            Effect::Refresh(ticket, _) => Event::Refreshed(ticket, Ok(refresh_response(HOUR))),
            Effect::Wait => {
                now = session.next_wakeup(now).unwrap();
                Event::Used(now)
            }
            effect => panic!("{effect:?}"),
        };
    }
}
