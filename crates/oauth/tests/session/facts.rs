//! What defined providers do differently: they do not rotate, state no lifetime or another one,
//! narrow the scopes, and refuse a refresh token for a while.

use std::{sync::Arc, time::Duration};

use authd_oauth::{
    Effect, Event, GrantSecrets, LastError, Mode,
    ProfileStatus::{Expired, LoginRequired, Ready, Refreshing, Unsaved},
    ProviderError, Record, RefreshResponse, Session,
};
use jiff::SignedDuration;

use crate::{
    model::{refresh_token_of, rejected_for_now, rejected_with, scopes_of},
    tables::{
        Action::{self, Fails, Probed, Refreshed, Request, RequestRefresh, SaveFails, Saved, Stop, Tick},
        DAY, HOUR, Row, at, follow, record,
    },
};

/// The record of a token of this lifetime, if it is known.
fn bearer(lifetime: Option<u64>) -> Record {
    let mut record = record(Mode::Bearer, lifetime.unwrap_or(HOUR));
    if let GrantSecrets::Bearer(grant) = &mut record.grant.secrets {
        grant.tokens.expires_at = lifetime.map(at);
    }
    record
}

fn refused() -> Action {
    Fails(rejected_with("invalid_grant"))
}

/// A refresh at second 2960 of an hour, which the provider refuses.
const REFUSED_EARLY: fn() -> Vec<Row> = || {
    vec![
        (2_960, Tick, "journal", Refreshing),
        (2_960, Saved, "refresh", Refreshing),
        (2_961, refused(), "save", Ready),
        (2_961, Saved, "wait", Ready),
    ]
};

/// Follows an early refusal and then these rows.
fn after_early_refusal(rows: &[Row]) -> Session {
    follow(bearer(Some(HOUR)), &[&REFUSED_EARLY()[..], rows].concat())
}

/// The code of an early refusal, if that is the last error.
fn told(session: &Session) -> Option<&str> {
    match session.last_error().map(|error| &**error) {
        Some(LastError::EarlyRefusal(code)) => Some(code.as_str()),
        _ => None,
    }
}

#[test]
fn token_that_is_refused_early_is_served_until_it_expires_and_sent_once_more_then() {
    let session = after_early_refusal(&[
        (2_970, Tick, "wait", Ready),
        (2_970, Request(900), "wait", Ready), // a client gets the error, not a wait
        (3_599, Tick, "wait", Ready),
        (3_600, Tick, "journal", Expired),
        (3_600, Saved, "refresh", Expired),
    ]);
    assert_eq!((told(&session), &session.record().ended), (Some("invalid_grant"), &None));
    let again = |last: Row| {
        let mut rows = vec![(3_600, Tick, "journal", Expired), (3_600, Saved, "refresh", Expired)];
        rows.push(last);
        after_early_refusal(&rows)
    };
    let ended = again((3_601, refused(), "save", LoginRequired));
    assert_eq!(ended.record().ended.clone().unwrap().answer_lost_at, None, "every response arrived");
    let renewed = again((3_601, Refreshed(HOUR), "save", Expired));
    assert_eq!((renewed.last_error(), refresh_token_of(renewed.record())), (None, "rt-new"));
}

#[test]
fn early_refusal_is_published_as_the_next_attempt_and_ends_the_waiting() {
    let mut session = after_early_refusal(&[]);
    assert_eq!((session.refresh_at(), session.next_wakeup(at(2_961))), (Some(at(HOUR)), Some(at(HOUR))));
    session.apply(Event::CredentialRequested(Duration::from_secs(900)), at(2_962));
    assert!(!session.is_pending(at(2_962)) && session.is_settled());
    // Shortly before the expiry, the pause after a failure counts.
    let rows = [
        (3_599, RequestRefresh(None), "journal", Refreshing),
        (3_599, Saved, "refresh", Refreshing),
        (3_599, refused(), "save", Ready),
        (3_599, Saved, "wait", Ready),
        (3_600, Tick, "wait", Expired),
        (3_602, Tick, "journal", Expired),
    ];
    follow(bearer(Some(HOUR)), &rows);
}

#[test]
fn upstream_that_rejects_the_token_makes_the_next_refusal_final() {
    for (rejected_first, row) in [
        (true, (2_961, refused(), "save", LoginRequired)),
        (false, (2_961, RequestRefresh(Some(5)), "journal", Refreshing)), // at once, not after the pause
    ] {
        let session = if rejected_first {
            let rows = [
                (2_960, RequestRefresh(Some(5)), "journal", Refreshing),
                (2_960, Saved, "refresh", Refreshing),
                row,
            ];
            follow(bearer(Some(HOUR)), &rows)
        } else {
            let rows = [
                row,
                (2_961, Saved, "refresh", Refreshing),
                (2_961, refused(), "save", LoginRequired),
                (2_962, Saved, "wait", LoginRequired),
                (3_600, Tick, "wait", LoginRequired),
            ];
            after_early_refusal(&rows)
        };
        assert!(session.flags().spent && session.record().ended.is_some());
        let again = Session::restored(session.record().clone(), 3, at(2_970));
        assert_eq!(again.status(at(2_970)), LoginRequired, "a restart does not forget it");
    }
}

/// Otherwise every 401 would be a refresh, whatever the provider answers.
#[test]
fn rejection_shortens_the_pause_after_an_early_refusal_once() {
    let busy = || Fails(ProviderError::Unavailable { status: 503, code: None, retry_after: None });
    after_early_refusal(&[
        (2_961, RequestRefresh(Some(5)), "journal", Refreshing),
        (2_961, Saved, "refresh", Refreshing),
        (2_961, busy(), "wait", Ready),
        (2_962, RequestRefresh(Some(5)), "wait", Ready),
        (2_966, Tick, "refresh", Refreshing),
    ]);
}

#[test]
fn caller_may_request_the_refresh_that_was_refused_early() {
    let session = after_early_refusal(&[
        (2_961, RequestRefresh(None), "wait", Ready), // the pause after a failure
        (2_970, RequestRefresh(None), "journal", Refreshing),
        (2_970, Saved, "refresh", Refreshing),
        (2_971, refused(), "save", Ready),
        (2_971, Saved, "wait", Ready),
    ]);
    assert_eq!(told(&session), Some("invalid_grant"));
}

#[test]
fn journal_entry_ends_with_an_early_refusal_unless_a_response_was_lost() {
    let session = after_early_refusal(&[]);
    assert_eq!(session.record().journal, None);
    let lost = Fails(ProviderError::NoResponse { detail: String::new() });
    let rows = [
        (2_960, Tick, "journal", Refreshing),
        (2_960, Saved, "refresh", Refreshing),
        (2_961, lost, "wait", Ready),
        (2_964, Tick, "probe", Ready),
        (2_964, Probed(true), "refresh", Refreshing),
        (2_964, refused(), "journal", Ready), // the entry for the lost response stays
        (2_964, Saved, "wait", Ready),
        (3_600, Tick, "journal", Expired),
        (3_600, Saved, "refresh", Expired),
        (3_600, refused(), "save", LoginRequired),
    ];
    let session = follow(bearer(Some(HOUR)), &rows);
    assert_eq!(session.record().ended.clone().unwrap().answer_lost_at, Some(at(2_960)));
}

#[test]
fn store_that_fails_does_not_hide_an_early_refusal_for_long() {
    let rows = [
        (2_960, Tick, "journal", Refreshing),
        (2_960, Saved, "refresh", Refreshing),
        (2_961, refused(), "save", Ready),
        (2_961, SaveFails, "wait", Unsaved),
        (2_964, Tick, "save", Unsaved),
        (2_964, Saved, "wait", Ready),
    ];
    let session = follow(bearer(Some(HOUR)), &rows);
    assert_eq!(told(&session), Some("invalid_grant"));
    after_early_refusal(&[(3_000, Stop, "wait", Ready), (3_600, Tick, "wait", Expired)]);
}

/// A wait that is counted from the old time would end hours too early or too late.
#[test]
fn attempt_after_an_early_refusal_moves_with_the_clock() {
    for by in [-DAY.cast_signed(), 30 * DAY.cast_signed()] {
        let mut session = after_early_refusal(&[]);
        let by = SignedDuration::from_secs(by);
        let now = at(2_970).checked_add(by).unwrap();
        session.apply(Event::ClockSet(by), now);
        assert_eq!(session.refresh_at(), Some(at(HOUR).checked_add(by).unwrap()), "{by}");
        assert_eq!(told(&session), Some("invalid_grant"));
    }
}

#[test]
fn sign_in_forgets_an_early_refusal() {
    let mut session = after_early_refusal(&[]);
    session.apply(Event::SignedIn(Box::new(bearer(Some(HOUR)).grant), "next".into()), at(2_970));
    assert_eq!(session.last_error(), None);
    assert!(session.refresh_at().is_some_and(|due| due < at(HOUR)));
}

#[test]
fn refusal_without_the_code_of_the_protocol_ends_no_grant() {
    for code in ["invalid_client", "unauthorized_client", "invalid_scope", "refresh_token_reused"] {
        let rows = [
            (4_000, Tick, "journal", Expired),
            (4_000, Saved, "refresh", Expired),
            (4_001, Fails(rejected_for_now(code)), "wait", Expired),
            (4_004, Tick, "refresh", Expired),
        ];
        follow(bearer(Some(HOUR)), &rows);
    }
}

/// The network works, so no probe is needed, and the file may be there at the next attempt.
#[test]
fn refresh_whose_client_secret_cannot_be_read_is_tried_again() {
    let rows = [
        (4_000, Tick, "journal", Expired),
        (4_000, Saved, "refresh", Expired),
        (4_001, Fails(ProviderError::NoClientSecret { detail: String::new() }), "wait", Expired),
        (4_002, Request(60), "wait", Expired),
        (4_004, Tick, "refresh", Expired),
    ];
    let session = follow(bearer(Some(HOUR)), &rows);
    assert_eq!(session.record().ended, None);
}

/// A refresh that answers with this body, and the record that is saved then.
fn refreshed(mut session: Session, body: &str) -> (Session, Record) {
    let Effect::Save(ticket, _) = session.apply(Event::RefreshRequested(None), at(60)) else { panic!() };
    let Effect::Refresh(ticket, _) = session.apply(Event::Saved(ticket, Ok(())), at(60)) else { panic!() };
    let response = RefreshResponse::parse_bearer(body.as_bytes()).unwrap();
    let Effect::Save(ticket, saved) = session.apply(Event::Refreshed(ticket, Ok(response)), at(60)) else {
        panic!("{session:#?}")
    };
    session.apply(Event::Saved(ticket, Ok(())), at(60));
    (session, *saved)
}

#[test]
fn response_without_a_refresh_token_keeps_the_old_one() {
    let session = Session::restored(bearer(Some(HOUR)), 3, at(0));
    let before = refresh_token_of(session.record()).to_owned();
    let (session, saved) = refreshed(session, r#"{"access_token":"at-2","expires_in":60}"#);
    assert_eq!((refresh_token_of(&saved), session.credential().generation), (&*before, 6));
    let (_, saved) = refreshed(session, r#"{"access_token":"at-3","refresh_token":"rt-3","expires_in":60}"#);
    assert_eq!(refresh_token_of(&saved), "rt-3");
}

#[test]
fn token_of_unknown_lifetime_is_renewed_on_request_and_after_a_rejection_only() {
    for (request, renews) in [
        (Tick, false),
        (Request(999_999), false),
        (RequestRefresh(None), true),
        (RequestRefresh(Some(5)), true),
    ] {
        let (does, status) = if renews { ("journal", Refreshing) } else { ("wait", Ready) };
        let session = follow(bearer(None), &[(400 * DAY, request, does, status)]);
        assert_eq!((session.refresh_at(), session.credential().expires_at), (None, None));
    }
    // The newest response decides whether the lifetime is known.
    let session = Session::restored(bearer(Some(HOUR)), 3, at(0));
    let (session, _) = refreshed(session, r#"{"access_token":"at-2"}"#);
    assert_eq!((session.refresh_at(), session.next_wakeup(at(60))), (None, None));
    let (session, _) = refreshed(session, r#"{"access_token":"at-3","expires_in":3600}"#);
    assert!(session.refresh_at().is_some());
}

#[test]
fn early_refusal_of_a_token_of_unknown_lifetime_waits_for_a_rejection() {
    follow(
        bearer(None),
        &[
            (60, RequestRefresh(None), "journal", Refreshing),
            (60, Saved, "refresh", Refreshing),
            (60, refused(), "save", Ready),
            (60, Saved, "wait", Ready),
            (99 * DAY, Tick, "wait", Ready),
            (99 * DAY, RequestRefresh(Some(5)), "journal", Refreshing),
            (99 * DAY, Saved, "refresh", Refreshing),
            (99 * DAY, refused(), "save", LoginRequired),
        ],
    );
}

#[test]
fn short_token_is_renewed_at_half_of_its_life() {
    let rows = [
        (29, Tick, "wait", Ready),
        (30, Tick, "journal", Refreshing),
        (30, Saved, "refresh", Refreshing),
        (31, Refreshed(60), "save", Ready),
        (31, Saved, "wait", Ready),
        (60, Tick, "wait", Ready),
        (61, Tick, "journal", Refreshing),
    ];
    follow(bearer(Some(60)), &rows);
}

#[test]
fn narrower_scopes_of_a_response_are_recorded_and_published() {
    let session = Session::restored(bearer(Some(HOUR)), 3, at(0));
    let (session, saved) = refreshed(session, r#"{"access_token":"a","scope":"read write"}"#);
    assert_eq!(scopes_of(&saved)[0], ["read", "write"]);
    let (session, saved) = refreshed(session, r#"{"access_token":"b","scope":"read"}"#);
    assert_eq!(scopes_of(&saved)[0], ["read"]);
    assert_eq!(session.credential().authority.as_ref().unwrap().scopes, ["read"]);
    let (_, saved) = refreshed(session, r#"{"access_token":"c"}"#);
    assert_eq!(scopes_of(&saved)[0], ["read"], "an absent scope says that nothing has changed");
}

fn missing(session: &mut Session, grant_id: Option<&str>, seconds: u64) -> Effect {
    let event = Event::ScopesMissing(grant_id.map(Into::into), vec!["write".to_owned()]);
    session.apply(event, at(seconds))
}

#[test]
fn missing_scopes_survive_a_refresh_a_restart_and_a_change_of_the_clock() {
    let mut session = Session::restored(bearer(Some(HOUR)), 3, at(0));
    let Effect::Save(ticket, saved) = missing(&mut session, Some("grant"), 1) else { panic!() };
    assert_eq!(scopes_of(&saved)[1], ["write"]);
    session.apply(Event::Saved(ticket, Ok(())), at(1));
    let (_, saved) = refreshed(session, r#"{"access_token":"a","refresh_token":"b","scope":"read"}"#);
    let text = saved.to_text();
    let mut session = Session::restored(Record::from_text(&text).unwrap(), 4, at(60));
    session.apply(Event::ClockSet(SignedDuration::from_secs(-40)), at(20));
    assert_eq!(
        (session.status(at(20)), scopes_of(session.record())[1]),
        (LoginRequired, &["write".to_owned()][..])
    );
    session.apply(Event::SignedIn(Box::new(bearer(Some(HOUR)).grant), "next".into()), at(21));
    assert_eq!(scopes_of(session.record())[1], [] as [String; 0]);
    assert_ne!(session.status(at(21)), LoginRequired);
}

#[test]
fn missing_scopes_count_for_the_grant_that_lacks_them() {
    let mut session = Session::restored(bearer(Some(HOUR)), 3, at(0));
    assert!(matches!(missing(&mut session, Some("gone"), 1), Effect::Wait));
    assert_eq!(session.status(at(1)), Ready);
    let mut key = Session::restored(record(Mode::ApiKey, HOUR), 3, at(0));
    assert!(matches!(missing(&mut key, None, 1), Effect::Wait), "another mode has no scopes");
}

/// A token must not be sent to the server of another grant.
#[test]
fn token_keeps_its_authorization_server_until_the_next_sign_in_is_saved() {
    let mut session = Session::restored(bearer(Some(HOUR)), 3, at(0));
    let mut next = bearer(Some(HOUR)).grant;
    if let GrantSecrets::Bearer(grant) = &mut next.secrets {
        Arc::make_mut(&mut grant.authority).base_url = Some("https://other.example".to_owned());
    }
    session.apply(Event::SignedIn(Box::new(next), "next".into()), at(1));
    missing(&mut session, Some("next"), 2);
    let credential = session.credential();
    assert_eq!(&*credential.grant_id, "grant");
    assert_eq!(credential.authority.as_ref().unwrap().base_url, None);
    assert_eq!(scopes_of(session.record())[1], ["write"]);
}
