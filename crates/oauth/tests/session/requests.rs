//! Events from outside: annotations, saves while the store fails or the daemon stops, and
//! rejections.

use std::time::Duration;

use authd_oauth::{
    Annotation, Effect, Event, Grant, Intent, Mode,
    ProfileStatus::{Ready, Refreshing},
    ProviderError, RefreshResponse, Rejected, Session,
    schedule::later,
};
use jiff::Timestamp;

use crate::{
    model::refresh_token_of,
    outcome::save_error,
    tables::{
        Action::{Fails, Refreshed, RequestRefresh, Saved},
        DAY, HOUR, at, follow, record, refresh_response,
    },
};

fn millis(n: u64) -> Timestamp {
    later(at(0), Duration::from_millis(n))
}

fn rank(rank: u64) -> Event {
    Event::Annotated(Annotation::DefaultRank(rank))
}

fn intent(name: Option<&str>) -> Event {
    let intent = name.map(|name| Intent::DiscardCopy { name: name.to_owned() });
    Event::Annotated(Annotation::Intent(intent))
}

fn new_grant() -> Grant {
    record(Mode::ChatGpt, HOUR).grant
}

#[test]
fn annotation_is_saved_and_makes_no_new_credential() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, saved) = session.apply(rank(7), at(1)) else { panic!("{session:#?}") };
    assert_eq!((saved.default_rank, saved.generation), (7, 5));
    assert!(!session.is_durable());
    session.apply(Event::Saved(ticket, Err(save_error("locked"))), at(1));
    assert!(!session.is_durable(), "the save failed");
    let Effect::Save(ticket, saved) = session.apply(intent(Some("b")), at(2)) else { panic!("{session:#?}") };
    assert_eq!((saved.default_rank, saved.intent), (7, Some(Intent::DiscardCopy { name: "b".to_owned() })));
    session.apply(Event::Saved(ticket, Ok(())), at(2));
    assert!(session.is_settled() && session.credential().generation == 5);
}

#[test]
fn annotations_during_a_call_are_saved_after_it_in_their_order() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, _) = session.apply(Event::RefreshRequested(None), at(60)) else { panic!() };
    for event in [rank(1), intent(Some("b")), rank(2), intent(None), intent(Some("c"))] {
        assert!(matches!(session.apply(event, at(60)), Effect::Wait) && !session.is_durable());
    }
    let Effect::Save(ticket, saved) = session.apply(Event::Saved(ticket, Ok(())), at(61)) else { panic!() };
    let expected = (2, Some(Intent::DiscardCopy { name: "c".to_owned() }));
    assert_eq!((saved.default_rank, saved.intent.clone()), expected);
    assert!(saved.journal.is_some(), "the journal entry stays");
    let Effect::Refresh(ticket, _) = session.apply(Event::Saved(ticket, Ok(())), at(61)) else { panic!() };
    session.apply(rank(3), at(62));
    assert!(!session.is_durable());
    let Effect::Save(ticket, saved) =
        session.apply(Event::Refreshed(ticket, Ok(refresh_response(HOUR))), at(63))
    else {
        panic!()
    };
    assert_eq!((saved.default_rank, saved.intent, saved.generation), (3, expected.1, 6));
    session.apply(Event::Saved(ticket, Ok(())), at(64));
    assert!(session.is_settled());
}

#[test]
fn sign_in_keeps_the_default_rank_and_drops_the_intent() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(..) = session.apply(rank(7), at(1)) else { panic!() };
    session.apply(intent(Some("b")), at(1));
    session.apply(rank(8), at(1));
    let Effect::Save(ticket, saved) =
        session.apply(Event::SignedIn(Box::new(new_grant()), "next".into()), at(2))
    else {
        panic!("{session:#?}")
    };
    assert_eq!(
        (saved.default_rank, &saved.intent, saved.generation, &*saved.grant_id),
        (8, &None, 6, "next")
    );
    assert_eq!(
        &*session.credential().grant_id,
        "grant",
        "the old credential is served until the new one is saved"
    );
    session.apply(Event::Saved(ticket, Ok(())), at(3));
    assert_eq!(&*session.credential().grant_id, "next");
}

/// The save in flight does not contain an id token that is restored meanwhile.
#[test]
fn record_that_may_be_lost_is_saved_with_its_id_token_after_a_save_without_it() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, lacking) = session.apply(rank(1), at(1)) else { panic!() };
    assert!(!lacking.is_complete());
    let id_token = record(Mode::ChatGpt, HOUR).grant.secrets.id_token().cloned();
    session.apply(Event::RecordMayBeLost(id_token), at(2));
    let Effect::Save(_, saved) = session.apply(Event::Saved(ticket, Ok(())), at(3)) else { panic!() };
    assert!(saved.is_complete());
}

#[test]
fn working_store_is_retried_at_once_and_at_most_once_a_second() {
    let mut session = Session::signed_in(record(Mode::ChatGpt, HOUR), 3, at(0));
    let mut effect = session.apply(Event::Ticked, at(0));
    for second in 0..20 {
        let Effect::Save(ticket, _) = effect else { panic!("at {second} s: {session:#?}") };
        session.apply(Event::Saved(ticket, Err(save_error("locked"))), millis(second * 1_000));
        for event in 1..10 {
            let early = session.apply(Event::StoreReady, millis(second * 1_000 + event * 100));
            assert!(matches!(early, Effect::Wait), "{event}");
        }
        effect = session.apply(Event::Ticked, millis(second * 1_000 + 1_000));
    }
    let Effect::Save(ticket, _) = effect else { panic!() };
    session.apply(Event::Saved(ticket, Err(save_error("locked"))), at(20));
    assert!(matches!(session.apply(Event::StoreReady, at(25)), Effect::Save(..)));
}

/// A journal entry waits for the store too.
#[test]
fn working_store_ends_the_wait_for_the_journal() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let mut effect = session.apply(Event::RefreshRequested(None), at(0));
    for second in [0, 2, 6, 14, 30] {
        let now = at(second + second / 10);
        if matches!(effect, Effect::Wait) {
            effect = session.apply(Event::Ticked, now);
        }
        let Effect::Save(ticket, _) = effect else { panic!("{now}: {session:#?}") };
        effect = session.apply(Event::Saved(ticket, Err(save_error("locked"))), now);
    }
    assert!(matches!(session.apply(Event::Ticked, at(40)), Effect::Wait));
    assert!(matches!(session.apply(Event::StoreReady, at(40)), Effect::Save(..)));
    // The store does not end a pause that the provider asked for.
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, _) = session.apply(Event::RefreshRequested(None), at(0)) else { panic!() };
    let Effect::Refresh(ticket, _) = session.apply(Event::Saved(ticket, Ok(())), at(0)) else { panic!() };
    let busy =
        ProviderError::Unavailable { status: 429, code: None, retry_after: Some(Duration::from_secs(900)) };
    session.apply(Event::Refreshed(ticket, Err(busy)), at(0));
    assert!(matches!(session.apply(Event::StoreReady, at(40)), Effect::Wait));
}

#[test]
fn failed_save_is_retried_every_minute_at_least() {
    let mut session = Session::signed_in(record(Mode::ChatGpt, HOUR), 3, at(0));
    let mut now = at(0);
    let mut tries = 0;
    while now < at(HOUR / 2) {
        if let Effect::Save(ticket, _) = session.apply(Event::Ticked, now) {
            session.apply(Event::Saved(ticket, Err(save_error("locked"))), now);
            tries += 1;
        }
        now = session.next_wakeup(now).unwrap();
    }
    assert!(tries >= 30, "{tries} tries in half an hour");
}

#[test]
fn stopping_daemon_retries_a_save_until_its_end() {
    let mut session = Session::signed_in(record(Mode::ChatGpt, HOUR), 3, at(0));
    let mut now = at(0);
    while now < at(300) {
        if let Effect::Save(ticket, _) = session.apply(Event::Ticked, now) {
            session.apply(Event::Saved(ticket, Err(save_error("locked"))), now);
        }
        now = session.next_wakeup(now).unwrap();
    }
    let began = at(280);
    let mut effect = session.apply(Event::Stopping, began);
    for n in 1..20 {
        let Effect::Save(ticket, _) = effect else { panic!("{n}: {session:#?}") };
        let now = later(began, Duration::from_millis(250) * (n - 1));
        session.apply(Event::Saved(ticket, Err(save_error("locked"))), now);
        assert_eq!(session.next_wakeup(now), Some(later(now, Duration::from_millis(250))));
        effect = session.apply(Event::Ticked, later(now, Duration::from_millis(250)));
    }
}

/// An upstream that rejects everything causes one refresh in five minutes.
#[test]
fn new_token_that_is_rejected_again_is_not_refreshed_at_once() {
    let refresh = |now: u64, ask: Option<u64>| {
        [
            (now, RequestRefresh(ask), "journal", Refreshing),
            (now, Saved, "refresh", Refreshing),
            (now, Refreshed(HOUR), "save", Ready),
            (now, Saved, "wait", Ready),
        ]
    };
    let rejected = |now: u64, generation: u64| (now, RequestRefresh(Some(generation)), "wait", Ready);
    let mut rows = refresh(60, Some(5)).to_vec();
    rows.extend((0..100).map(|n| rejected(61 + n, 6)));
    rows.push(rejected(359, 6));
    rows.extend(refresh(360, Some(6))); // five minutes later
    rows.push(rejected(361, 7));
    rows.extend(refresh(362, None)); // a plain request always refreshes
    rows.extend(refresh(363, Some(8))); // and so does the first rejection of its token
    rows.push(rejected(364, 9));
    let session = follow(record(Mode::ChatGpt, HOUR), &rows);
    assert_eq!((session.renewals(), session.credential().generation), (4, 9));
}

/// A rejection waits for the renewal like any request. The pause begins when the renewal succeeds.
#[test]
fn pause_after_a_rejection_begins_with_the_successful_renewal() {
    let busy = || Fails(ProviderError::Unavailable { status: 503, code: None, retry_after: None });
    follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (60, RequestRefresh(Some(5)), "journal", Refreshing),
            (60, Saved, "refresh", Refreshing),
            (60, busy(), "wait", Ready),
            (61, RequestRefresh(Some(5)), "wait", Ready), // it waits for the next attempt
            (63, RequestRefresh(Some(5)), "refresh", Refreshing),
            (400, Refreshed(HOUR), "save", Ready),
            (400, Saved, "wait", Ready),
            (401, RequestRefresh(Some(6)), "wait", Ready),
            (699, RequestRefresh(Some(6)), "wait", Ready),
            (700, RequestRefresh(Some(6)), "journal", Refreshing),
        ],
    );
}

#[test]
fn rejection_of_another_grants_credential_causes_no_renewal() {
    for (grant_id, renews) in [(None, true), (Some("grant"), true), (Some("gone"), false)] {
        let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
        let rejected = Rejected { generation: 5, grant_id: grant_id.map(Into::into) };
        let effect = session.apply(Event::RefreshRequested(Some(rejected)), at(60));
        assert_eq!(matches!(effect, Effect::Save(..)), renews, "{grant_id:?}");
    }
}

/// A response that rotates the refresh token and contains no access token.
#[test]
fn refresh_token_without_an_access_token_is_saved_and_spent_after_a_pause() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, _) = session.apply(Event::RefreshRequested(None), at(60)) else { panic!() };
    let Effect::Refresh(ticket, _) = session.apply(Event::Saved(ticket, Ok(())), at(60)) else { panic!() };
    let alone = RefreshResponse::parse(br#"{"refresh_token":"rt-alone"}"#).unwrap();
    let Effect::Save(ticket, saved) = session.apply(Event::Refreshed(ticket, Ok(alone)), at(61)) else {
        panic!("{session:#?}")
    };
    assert_eq!((refresh_token_of(&saved), saved.journal, saved.generation), ("rt-alone", None, 5));
    assert!(
        matches!(session.apply(Event::Saved(ticket, Ok(())), at(61)), Effect::Wait),
        "it waits for the pause"
    );
    assert_eq!(
        (session.renewals(), session.status(at(61)), session.last_error().is_some()),
        (0, Ready, true)
    );
    let Effect::Save(ticket, journal) = session.apply(Event::Ticked, at(64)) else { panic!("{session:#?}") };
    assert!(journal.journal.is_some());
    let Effect::Refresh(_, token) = session.apply(Event::Saved(ticket, Ok(())), at(64)) else { panic!() };
    assert_eq!(token.expose(), "rt-alone", "the old one is never sent again");
    assert!(session.credential().remaining(at(64)) < Duration::from_secs(DAY));
}

#[test]
fn refresh_token_is_not_spent_during_a_move() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, _) = session
        .apply(Event::Annotated(Annotation::Intent(Some(Intent::RenameTo { name: "b".to_owned() }))), at(1))
    else {
        panic!("{session:#?}")
    };
    session.apply(Event::Saved(ticket, Ok(())), at(1));
    assert!(session.has_open_move() && session.is_settled());
    assert!(matches!(session.apply(Event::RefreshRequested(None), at(2)), Effect::Wait));
    assert!(matches!(session.apply(Event::Ticked, at(2)), Effect::Wait));
    let Effect::Save(ticket, _) = session.apply(intent(None), at(3)) else { panic!("{session:#?}") };
    // The refresh that was requested meanwhile begins now, with its journal entry.
    assert!(matches!(session.apply(Event::Saved(ticket, Ok(())), at(3)), Effect::Save(..)));
}

#[test]
fn accepted_credential_is_renewed_again_when_it_is_rejected() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let rejected = |generation| Event::RefreshRequested(Some(Rejected { generation, grant_id: None }));
    let renew = |session: &mut Session, event: Event| {
        let Effect::Save(ticket, _) = session.apply(event, at(60)) else { return false };
        let Effect::Refresh(ticket, _) = session.apply(Event::Saved(ticket, Ok(())), at(60)) else {
            panic!("{session:#?}")
        };
        let Effect::Save(ticket, _) =
            session.apply(Event::Refreshed(ticket, Ok(refresh_response(7))), at(60))
        else {
            panic!("{session:#?}")
        };
        session.apply(Event::Saved(ticket, Ok(())), at(60));
        true
    };
    assert!(renew(&mut session, rejected(5)) && session.is_unconfirmed());
    assert!(!renew(&mut session, rejected(6)), "the pause has not ended");
    session.apply(Event::Accepted(5), at(60));
    assert!(!renew(&mut session, rejected(6)), "the acceptance was about the previous credential");
    session.apply(Event::Accepted(6), at(60));
    assert!(!session.is_unconfirmed() && renew(&mut session, rejected(6)));
}
