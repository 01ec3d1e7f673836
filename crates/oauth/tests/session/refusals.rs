//! Rejections that do not end a grant: they are retried with a growing pause, and told.

use std::time::Duration;

use authd_oauth::{
    Effect, ErrorCode, Event, LastError, Mode,
    ProfileStatus::{self, Expired, Ready, Refreshing},
    ProviderError, Session,
};
use jiff::Timestamp;

use crate::{
    model::{refresh_token_of, rejected_for_now},
    tables::{
        Action::{Exchanged, Fails, Refreshed, Request, RequestRefresh, Saved, Tick},
        HOUR, at, follow, record, refresh_response,
    },
};

/// The longest pause between two attempts, with its jitter.
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 60);

/// The number of rejections in a row, and whether a sign-in is suggested.
fn told(session: &Session) -> (u32, bool) {
    match session.last_error().map(|error| &**error) {
        Some(error @ LastError::Provider { refusals, .. }) => (*refusals, error.suggests_sign_in()),
        _ => (0, false),
    }
}

/// Waits for the next attempt. Returns its ticket, the token that it sends, and its time.
fn next_attempt(session: &mut Session) -> (u64, String, Timestamp) {
    let mut now = session.next_wakeup(at(0)).unwrap();
    loop {
        match session.apply(Event::Ticked, now) {
            Effect::Refresh(ticket, token) => return (ticket, token.expose().to_owned(), now),
            Effect::Save(ticket, _) => drop(session.apply(Event::Saved(ticket, Ok(())), now)),
            effect => assert!(matches!(effect, Effect::Wait), "{effect:?}"),
        }
        now = session.next_wakeup(now).unwrap();
    }
}

/// A session whose first refresh was rejected for now with this code at second 5000.
fn refused(code: &str) -> Session {
    let rows = [
        (5_000, Request(60), "journal", Expired),
        (5_000, Saved, "refresh", Expired),
        (5_000, Fails(rejected_for_now(code)), "wait", Expired),
        (5_000, Request(60), "wait", Expired), // a client does not shorten the pause
        (5_001, RequestRefresh(None), "wait", Expired),
    ];
    follow(record(Mode::ChatGpt, HOUR), &rows)
}

#[test]
fn rejected_token_is_sent_again_with_a_growing_pause_and_works_after_any_number_of_rejections() {
    for rejections in [1, 6, 300] {
        let mut session = refused("token_expired");
        let token = refresh_token_of(session.record()).to_owned();
        let mut before = at(5_000);
        let mut pauses = Vec::new();
        for rejection in 2..=rejections {
            let (ticket, sent, now) = next_attempt(&mut session);
            assert_eq!(sent, token);
            pauses.push(Duration::try_from(now.duration_since(before)).unwrap());
            before = now;
            session.apply(Event::Refreshed(ticket, Err(rejected_for_now("token_expired"))), now);
            assert_eq!(told(&session), (rejection, rejection >= 6));
            assert_eq!((session.status(now), &session.record().ended), (Expired, &None));
        }
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_PAUSE), "{pauses:?}");
        assert!(pauses.iter().skip(8).all(|pause| *pause >= LONGEST_PAUSE / 2), "{pauses:?}");
        let (ticket, _, now) = next_attempt(&mut session);
        let Effect::Save(ticket, saved) =
            session.apply(Event::Refreshed(ticket, Ok(refresh_response(HOUR))), now)
        else {
            panic!("{session:#?}")
        };
        session.apply(Event::Saved(ticket, Ok(())), now);
        assert_eq!(refresh_token_of(&saved), "rt-new");
        assert_eq!((session.status(now), session.last_error()), (ProfileStatus::Ready, None));
    }
}

#[test]
fn only_a_token_that_is_called_invalid_for_a_while_suggests_a_sign_in() {
    for (code, suggests) in [
        ("token_expired", true),
        ("invalid_refresh_token", true),
        ("session_ended", true),
        ("invalid_client", false),
        ("unsupported_country_region_territory", false),
        ("coined_later", false),
    ] {
        let mut session = refused(code);
        for _ in 0..20 {
            let (ticket, _, now) = next_attempt(&mut session);
            session.apply(Event::Refreshed(ticket, Err(rejected_for_now(code))), now);
        }
        assert_eq!(told(&session), (21, suggests), "{code}");
        // Another failure in between starts the count again.
        let (ticket, _, now) = next_attempt(&mut session);
        let error = ProviderError::Unavailable { status: 503, code: None, retry_after: None };
        session.apply(Event::Refreshed(ticket, Err(error)), now);
        assert_eq!(told(&session), (0, false), "{code}");
    }
}

#[test]
fn exchange_that_is_rejected_for_another_reason_than_its_id_token_is_retried() {
    for (status, code, ends) in [
        (403, "unsupported_country_region_territory", false),
        (400, "invalid_client", false),
        (404, "unknown", false),
        (401, "invalid_subject_token", true),
        (400, "invalid_subject_token", true),
        (401, "unknown", true),
    ] {
        let rejection = ProviderError::Rejected { status, code: ErrorCode::new(code) };
        let after = if ends { ("save", ProfileStatus::LoginRequired) } else { ("wait", Ready) };
        let mut rows = vec![
            (60, RequestRefresh(Some(5)), "journal", Refreshing),
            (60, Saved, "refresh", Refreshing),
            (61, Refreshed(HOUR), "save", Ready),
            (61, Saved, "exchange", Refreshing),
            (62, Fails(rejection), after.0, after.1),
        ];
        if !ends {
            rows.push((66, Tick, "exchange", Refreshing));
            rows.push((66, Exchanged, "save", Ready));
        }
        let session = follow(record(Mode::ApiKey, HOUR), &rows);
        assert_eq!(session.record().ended.is_some(), ends, "{status} {code}");
    }
}
