//! What the tests beside this one found, each as a table, and mended since.

use std::time::Duration;

use authd_oauth::{
    Effect, Event, Mode, Routing, Session,
    Standing::{Expired, Ready, Refreshing},
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
    let grant = record(Mode::ChatGpt, HOUR).grant;
    let mut session = Session::signed_in(grant, 1, 3, at(0));
    let Effect::Save(first, _) = session.apply(Event::Ticked, at(0)) else { panic!("{session:#?}") };
    assert!(matches!(session.apply(Event::Routed(routing.clone()), at(1)), Effect::Rest));
    let Effect::Save(second, saved) = session.apply(Event::Saved(first, Ok(())), at(2)) else {
        panic!("{session:#?}")
    };
    assert_eq!((saved.routing, saved.routed_at), (routing.clone(), Some(at(2))));
    session.apply(Event::Saved(second, Ok(())), at(3));
    assert!(session.is_settled());
    // The same again is no other credential; that it was asked is kept all the same.
    let before = session.credential().generation;
    let Effect::Save(_, saved) = session.apply(Event::Routed(routing), at(DAY)) else {
        panic!("{session:#?}")
    };
    assert_eq!((saved.generation, saved.routed_at), (before, Some(at(DAY))));
}

/// What another process knew and could not save is served, and saved before anything else is done.
#[test]
fn what_was_handed_over_unsaved_is_saved_first() {
    let mut session = Session::handed_over(record(Mode::ChatGpt, HOUR), false, 3, at(0));
    assert!(!session.is_durable() && session.outlook().unsaved);
    let Effect::Save(ticket, _) = session.apply(Event::Ticked, at(0)) else { panic!("{session:#?}") };
    assert!(matches!(session.apply(Event::Saved(ticket, Ok(())), at(1)), Effect::Rest));
    assert!(session.is_settled() && !session.outlook().unsaved);
    let mut session = Session::handed_over(record(Mode::ChatGpt, HOUR), true, 3, at(0));
    assert!(matches!(session.apply(Event::Ticked, at(0)), Effect::Rest) && session.is_settled());
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
