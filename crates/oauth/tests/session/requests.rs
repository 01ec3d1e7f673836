//! What is asked of a session from outside: annotations, saves while the store fails or the daemon stops, and
//! renewals that rejections lead to.

use std::time::Duration;

use authd_oauth::{
    Annotation, Effect, Event, Grant, Intent, Mode,
    ProfileStatus::{Ready, Refreshing},
    ProviderError, RefreshAnswer, Rejected, Session,
    schedule::later,
};
use jiff::Timestamp;

use crate::{
    luck::unsaved,
    model::refresh_token_of,
    tables::{
        DAY,
        Do::{Ask, Fails, Refreshed, Saved},
        HOUR, answer, at, follow, record,
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
fn an_annotation_is_saved_and_makes_no_new_credential() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, saved) = session.apply(rank(7), at(1)) else { panic!("{session:#?}") };
    assert_eq!((saved.default_rank, saved.generation), (7, 5));
    assert!(!session.is_durable());
    session.apply(Event::Saved(ticket, Err(unsaved("locked"))), at(1));
    assert!(!session.is_durable(), "it is not there yet");
    let Effect::Save(ticket, saved) = session.apply(intent(Some("b")), at(2)) else { panic!("{session:#?}") };
    assert_eq!((saved.default_rank, saved.intent), (7, Some(Intent::DiscardCopy { name: "b".to_owned() })));
    session.apply(Event::Saved(ticket, Ok(())), at(2));
    assert!(session.is_settled() && session.credential().generation == 5);
}

#[test]
fn annotations_during_a_call_are_all_saved_after_it_in_their_order() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, _) = session.apply(Event::RefreshAsked(None), at(60)) else { panic!() };
    for event in [rank(1), intent(Some("b")), rank(2), intent(None), intent(Some("c"))] {
        assert!(matches!(session.apply(event, at(60)), Effect::Rest) && !session.is_durable());
    }
    let Effect::Save(ticket, saved) = session.apply(Event::Saved(ticket, Ok(())), at(61)) else { panic!() };
    let expected = (2, Some(Intent::DiscardCopy { name: "c".to_owned() }));
    assert_eq!((saved.default_rank, saved.intent.clone()), expected);
    assert!(saved.journal.is_some(), "the journal entry stands");
    let Effect::Refresh(ticket, _) = session.apply(Event::Saved(ticket, Ok(())), at(61)) else { panic!() };
    session.apply(rank(3), at(62));
    assert!(!session.is_durable());
    let Effect::Save(ticket, saved) = session.apply(Event::Refreshed(ticket, Ok(answer(HOUR))), at(63))
    else {
        panic!()
    };
    assert_eq!((saved.default_rank, saved.intent, saved.generation), (3, expected.1, 6));
    session.apply(Event::Saved(ticket, Ok(())), at(64));
    assert!(session.is_settled());
}

#[test]
fn a_new_sign_in_keeps_the_mark_and_ends_the_intent() {
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
    assert_eq!(&*session.credential().grant_id, "grant", "the old one is served until the new one is saved");
    session.apply(Event::Saved(ticket, Ok(())), at(3));
    assert_eq!(&*session.credential().grant_id, "next");
}

/// The id token that comes back during a save is not in what that save writes.
#[test]
fn a_record_that_may_be_gone_is_saved_whole_after_a_save_that_lacks_it() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, lacking) = session.apply(rank(1), at(1)) else { panic!() };
    assert!(!lacking.is_whole());
    let id_token = record(Mode::ChatGpt, HOUR).grant.secrets.id_token().cloned();
    session.apply(Event::Unkept(id_token), at(2));
    let Effect::Save(_, saved) = session.apply(Event::Saved(ticket, Ok(())), at(3)) else { panic!() };
    assert!(saved.is_whole());
}

#[test]
fn a_store_that_answers_again_is_tried_at_once_and_at_most_once_a_second() {
    let mut session = Session::signed_in(record(Mode::ChatGpt, HOUR), 3, at(0));
    let mut effect = session.apply(Event::Ticked, at(0));
    for second in 0..20 {
        let Effect::Save(ticket, _) = effect else { panic!("at {second} s: {session:#?}") };
        session.apply(Event::Saved(ticket, Err(unsaved("locked"))), millis(second * 1_000));
        for event in 1..10 {
            let early = session.apply(Event::StoreReady, millis(second * 1_000 + event * 100));
            assert!(matches!(early, Effect::Rest), "{event}");
        }
        effect = session.apply(Event::Ticked, millis(second * 1_000 + 1_000));
    }
    let Effect::Save(ticket, _) = effect else { panic!() };
    session.apply(Event::Saved(ticket, Err(unsaved("locked"))), at(20));
    assert!(matches!(session.apply(Event::StoreReady, at(25)), Effect::Save(..)));
}

/// A journal entry waits for the store as well.
#[test]
fn a_store_that_answers_again_ends_the_wait_for_the_journal() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let mut effect = session.apply(Event::RefreshAsked(None), at(0));
    for second in [0, 2, 6, 14, 30] {
        let now = at(second + second / 10);
        if matches!(effect, Effect::Rest) {
            effect = session.apply(Event::Ticked, now);
        }
        let Effect::Save(ticket, _) = effect else { panic!("{now}: {session:#?}") };
        effect = session.apply(Event::Saved(ticket, Err(unsaved("locked"))), now);
    }
    assert!(matches!(session.apply(Event::Ticked, at(40)), Effect::Rest));
    assert!(matches!(session.apply(Event::StoreReady, at(40)), Effect::Save(..)));
    // A pause that the provider wants is none of the store's business.
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, _) = session.apply(Event::RefreshAsked(None), at(0)) else { panic!() };
    let Effect::Refresh(ticket, _) = session.apply(Event::Saved(ticket, Ok(())), at(0)) else { panic!() };
    let busy = ProviderError::Unavailable { status: 429, retry_after: Some(Duration::from_secs(900)) };
    session.apply(Event::Refreshed(ticket, Err(busy)), at(0));
    assert!(matches!(session.apply(Event::StoreReady, at(40)), Effect::Rest));
}

#[test]
fn a_save_that_fails_is_tried_again_every_minute_at_least() {
    let mut session = Session::signed_in(record(Mode::ChatGpt, HOUR), 3, at(0));
    let mut now = at(0);
    let mut tries = 0;
    while now < at(HOUR / 2) {
        if let Effect::Save(ticket, _) = session.apply(Event::Ticked, now) {
            session.apply(Event::Saved(ticket, Err(unsaved("locked"))), now);
            tries += 1;
        }
        now = session.next_wakeup(now).unwrap();
    }
    assert!(tries >= 30, "{tries} tries in half an hour");
}

#[test]
fn a_daemon_that_stops_saves_with_the_time_that_is_left() {
    let mut session = Session::signed_in(record(Mode::ChatGpt, HOUR), 3, at(0));
    let mut now = at(0);
    while now < at(300) {
        if let Effect::Save(ticket, _) = session.apply(Event::Ticked, now) {
            session.apply(Event::Saved(ticket, Err(unsaved("locked"))), now);
        }
        now = session.next_wakeup(now).unwrap();
    }
    let began = at(280);
    let mut effect = session.apply(Event::Stopping, began);
    for n in 1..20 {
        let Effect::Save(ticket, _) = effect else { panic!("{n}: {session:#?}") };
        let now = later(began, Duration::from_millis(250) * (n - 1));
        session.apply(Event::Saved(ticket, Err(unsaved("locked"))), now);
        assert_eq!(session.next_wakeup(now), Some(later(now, Duration::from_millis(250))));
        effect = session.apply(Event::Ticked, later(now, Duration::from_millis(250)));
    }
}

/// An upstream that refuses everything costs one refresh in five minutes.
#[test]
fn a_fresh_token_that_is_refused_again_is_not_refreshed_at_once() {
    let refresh = |now: u64, ask: Option<u64>| {
        [
            (now, Ask(ask), "journal", Refreshing),
            (now, Saved, "refresh", Refreshing),
            (now, Refreshed(HOUR), "save", Ready),
            (now, Saved, "rest", Ready),
        ]
    };
    let rejected = |now: u64, generation: u64| (now, Ask(Some(generation)), "rest", Ready);
    let mut rows = refresh(60, Some(5)).to_vec();
    rows.extend((0..100).map(|n| rejected(61 + n, 6)));
    rows.push(rejected(359, 6));
    rows.extend(refresh(360, Some(6))); // five minutes later
    rows.push(rejected(361, 7));
    rows.extend(refresh(362, None)); // a plain request always refreshes
    rows.extend(refresh(363, Some(8))); // and the first rejection of what it brought does
    rows.push(rejected(364, 9));
    let session = follow(record(Mode::ChatGpt, HOUR), &rows);
    assert_eq!((session.renewals(), session.credential().generation), (4, 9));
}

/// The rejection waits for the renewal as any request does, and the pause begins when that has succeeded.
#[test]
fn a_rejection_that_fails_to_renew_is_no_rejection_of_what_comes_later() {
    let busy = || Fails(ProviderError::Unavailable { status: 503, retry_after: None });
    follow(
        record(Mode::ChatGpt, HOUR),
        &[
            (60, Ask(Some(5)), "journal", Refreshing),
            (60, Saved, "refresh", Refreshing),
            (60, busy(), "rest", Ready),
            (61, Ask(Some(5)), "rest", Ready), // it waits for the next try
            (63, Ask(Some(5)), "refresh", Refreshing),
            (400, Refreshed(HOUR), "save", Ready),
            (400, Saved, "rest", Ready),
            (401, Ask(Some(6)), "rest", Ready),
            (699, Ask(Some(6)), "rest", Ready),
            (700, Ask(Some(6)), "journal", Refreshing),
        ],
    );
}

#[test]
fn a_rejection_of_another_grants_credential_renews_nothing() {
    for (grant_id, renews) in [(None, true), (Some("grant"), true), (Some("gone"), false)] {
        let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
        let rejected = Rejected { generation: 5, grant_id: grant_id.map(Into::into) };
        let effect = session.apply(Event::RefreshAsked(Some(rejected)), at(60));
        assert_eq!(matches!(effect, Effect::Save(..)), renews, "{grant_id:?}");
    }
}

/// An answer that rotates the refresh token and brings no access token.
#[test]
fn a_refresh_token_that_comes_alone_is_kept_and_spent_after_a_pause() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, _) = session.apply(Event::RefreshAsked(None), at(60)) else { panic!() };
    let Effect::Refresh(ticket, _) = session.apply(Event::Saved(ticket, Ok(())), at(60)) else { panic!() };
    let alone = RefreshAnswer::parse(br#"{"refresh_token":"rt-alone"}"#).unwrap();
    let Effect::Save(ticket, saved) = session.apply(Event::Refreshed(ticket, Ok(alone)), at(61)) else {
        panic!("{session:#?}")
    };
    assert_eq!((refresh_token_of(&saved), saved.journal, saved.generation), ("rt-alone", None, 5));
    assert!(matches!(session.apply(Event::Saved(ticket, Ok(())), at(61)), Effect::Rest), "it waits a little");
    assert_eq!(
        (session.renewals(), session.status(at(61)), session.last_error().is_some()),
        (0, Ready, true)
    );
    let Effect::Save(ticket, journal) = session.apply(Event::Ticked, at(64)) else { panic!("{session:#?}") };
    assert!(journal.journal.is_some());
    let Effect::Refresh(_, token) = session.apply(Event::Saved(ticket, Ok(())), at(64)) else { panic!() };
    assert_eq!(token.expose(), "rt-alone", "the old one is never sent again");
    assert!(session.credential().lasts(at(64)) < Duration::from_secs(DAY));
}

#[test]
fn while_a_move_is_open_the_refresh_token_stays_as_it_is() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(ticket, _) = session
        .apply(Event::Annotated(Annotation::Intent(Some(Intent::RenameTo { name: "b".to_owned() }))), at(1))
    else {
        panic!("{session:#?}")
    };
    session.apply(Event::Saved(ticket, Ok(())), at(1));
    assert!(session.is_pinned() && session.is_settled());
    assert!(matches!(session.apply(Event::RefreshAsked(None), at(2)), Effect::Rest));
    assert!(matches!(session.apply(Event::Ticked, at(2)), Effect::Rest));
    let Effect::Save(ticket, _) = session.apply(intent(None), at(3)) else { panic!("{session:#?}") };
    // What was asked for meanwhile is done now: the journal entry first.
    assert!(matches!(session.apply(Event::Saved(ticket, Ok(())), at(3)), Effect::Save(..)));
}

#[test]
fn a_credential_that_was_accepted_is_renewed_again_when_it_is_refused() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let rejected = |generation| Event::RefreshAsked(Some(Rejected { generation, grant_id: None }));
    let renew = |session: &mut Session, event: Event| {
        let Effect::Save(ticket, _) = session.apply(event, at(60)) else { return false };
        let Effect::Refresh(ticket, _) = session.apply(Event::Saved(ticket, Ok(())), at(60)) else {
            panic!("{session:#?}")
        };
        let Effect::Save(ticket, _) = session.apply(Event::Refreshed(ticket, Ok(answer(7))), at(60)) else {
            panic!("{session:#?}")
        };
        session.apply(Event::Saved(ticket, Ok(())), at(60));
        true
    };
    assert!(renew(&mut session, rejected(5)) && session.is_on_probation());
    assert!(!renew(&mut session, rejected(6)), "it would be refused again");
    session.apply(Event::Accepted(5), at(60));
    assert!(!renew(&mut session, rejected(6)), "that was about the one before");
    session.apply(Event::Accepted(6), at(60));
    assert!(!session.is_on_probation() && renew(&mut session, rejected(6)));
}
