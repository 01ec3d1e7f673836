//! A wall clock that is set, and records that were written under a wrong clock. No renewal stops,
//! and none repeats without end.

use std::time::Duration;

use authd_oauth::{
    AccessToken, Credential, Effect, Event, GrantSecrets, LastError, Mode, ProfileStatus, ProviderError,
    Record, Session, schedule::shifted,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};

use crate::tables::{DAY, HOUR, at, record, refresh_response};

const YEAR: i64 = 365 * 86_400;

fn by(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

/// Sets the clock at this old time, completes the save that follows, and returns the new time.
fn set(session: &mut Session, old: Timestamp, seconds: i64) -> Timestamp {
    let now = shifted(old, by(seconds));
    let Effect::Save(ticket, _) = session.apply(Event::ClockSet(by(seconds)), now) else {
        panic!("the new times are not saved: {session:#?}")
    };
    session.apply(Event::Saved(ticket, Ok(())), now);
    assert!(session.is_settled());
    now
}

#[test]
fn setting_the_clock_moves_all_times() {
    for seconds in [-90, 3_600, -40 * 86_400, YEAR, -20 * YEAR] {
        let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
        let due = session.refresh_at().unwrap();
        let now = set(&mut session, at(60), seconds);
        let Credential { issued_at, expires_at, .. } = &**session.credential();
        assert_eq!(
            (*issued_at, *expires_at),
            (shifted(at(0), by(seconds)), Some(shifted(at(HOUR), by(seconds))))
        );
        assert_eq!(session.refresh_at(), Some(shifted(due, by(seconds))));
        if seconds < 100 * YEAR {
            assert!(matches!(session.apply(Event::Ticked, now), Effect::Wait), "nothing is due early");
            let then = shifted(at(2_960), by(seconds));
            assert!(
                matches!(session.apply(Event::Ticked, then), Effect::Save(..)),
                "it is due at the moved time"
            );
        }
    }
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    assert!(matches!(session.apply(Event::ClockSet(SignedDuration::ZERO), at(0)), Effect::Wait));
    assert!(session.is_settled(), "nothing has changed");
}

/// Waits after a failure of the provider or the store.
#[test]
fn setting_the_clock_does_not_change_a_wait() {
    for seconds in [YEAR, -YEAR] {
        let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
        let Effect::Save(ticket, _) = session.apply(Event::RefreshRequested(None), at(60)) else { panic!() };
        let Effect::Refresh(ticket, _) = session.apply(Event::Saved(ticket, Ok(())), at(60)) else {
            panic!()
        };
        let busy = ProviderError::Unavailable {
            status: 429,
            code: None,
            retry_after: Some(Duration::from_secs(900)),
        };
        session.apply(Event::Refreshed(ticket, Err(busy)), at(60));
        let now = set(&mut session, at(100), seconds);
        assert_eq!(session.next_wakeup(now), Some(shifted(at(960), by(seconds))));
        let Some(LastError::Provider { next_attempt: next, .. }) =
            session.last_error().map(|last_error| &**last_error)
        else {
            panic!()
        };
        assert_eq!(*next, shifted(at(960), by(seconds)));
        assert!(matches!(session.apply(Event::Ticked, shifted(at(959), by(seconds))), Effect::Wait));
        assert!(matches!(session.apply(Event::Ticked, shifted(at(960), by(seconds))), Effect::Refresh(..)));
    }
}

/// The save in flight contains the old times.
#[test]
fn times_moved_during_a_save_are_saved_too() {
    let mut session = Session::signed_in(record(Mode::ChatGpt, HOUR), 3, at(0));
    let Effect::Save(first, _) = session.apply(Event::Ticked, at(0)) else { panic!("{session:#?}") };
    let now = shifted(at(1), by(YEAR));
    assert!(matches!(session.apply(Event::ClockSet(by(YEAR)), now), Effect::Wait) && !session.is_durable());
    let Effect::Save(_, saved) = session.apply(Event::Saved(first, Ok(())), now) else {
        panic!("{session:#?}")
    };
    assert_eq!(saved.grant.issued_at, shifted(at(0), by(YEAR)));
}

/// A time by the old clock that is reported late must not cause four probes a second.
#[test]
fn time_reported_late_does_not_count_as_the_future() {
    let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
    let mut now = shifted(at(100), by(-YEAR));
    set(&mut session, at(100), -YEAR);
    session.apply(Event::Used(at(100)), now);
    session.apply(Event::Resumed, now);
    let mut effect = session.apply(Event::RefreshRequested(None), now);
    let mut probes = 0;
    let end = shifted(now, by(600));
    while now < end {
        if let Effect::Probe(ticket) = effect {
            probes += 1;
            session.apply(Event::Probed(ticket, false), now);
        }
        now = session.next_wakeup(now).unwrap();
        effect = session.apply(Event::Ticked, now);
    }
    assert!(probes < 60, "{probes} probes in ten minutes");
    assert!(probes > 10, "{probes} probes in ten minutes");
    // A renewal that ended under the new clock before the change was reported.
    for seconds in [YEAR, -YEAR] {
        let mut session = Session::restored(record(Mode::ChatGpt, HOUR), 3, at(0));
        let Effect::Save(ticket, _) = session.apply(Event::RefreshRequested(None), at(60)) else { panic!() };
        let Effect::Refresh(ticket, _) = session.apply(Event::Saved(ticket, Ok(())), at(60)) else {
            panic!()
        };
        let now = shifted(at(60), by(seconds));
        let Effect::Save(ticket, _) =
            session.apply(Event::Refreshed(ticket, Ok(refresh_response(HOUR))), now)
        else {
            panic!()
        };
        session.apply(Event::Saved(ticket, Ok(())), now);
        session.apply(Event::ClockSet(by(seconds)), now);
        let left = session.refresh_at().unwrap().duration_since(now);
        assert!(left <= by(3_600), "the next refresh is {left:#} away");
    }
}

fn with_token(mut record: Record, claims: &str) -> Record {
    if let GrantSecrets::ChatGpt(tokens, _) = &mut record.grant.secrets {
        tokens.access_token = AccessToken::new(format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims)));
    }
    record
}

/// A record that was issued a year ahead, for an hour.
fn from_the_future() -> Record {
    let mut record = record(Mode::ChatGpt, HOUR);
    let later = by(YEAR);
    record.grant.issued_at = shifted(at(DAY), later);
    record.routed_at = Some(record.grant.issued_at);
    if let GrantSecrets::ChatGpt(tokens, _) = &mut record.grant.secrets {
        tokens.expires_at = Some(shifted(at(DAY + HOUR), later));
    }
    record
}

#[test]
fn record_from_the_future_delays_nothing() {
    let issued = i64::try_from(DAY).unwrap();
    for (claims, age, left, at_once) in [
        // It was written under a clock that was ahead. The token states the right times.
        (format!(r#"{{"iat":{issued},"exp":{}}}"#, issued + 3_600), 600, 3_000, false),
        (format!(r#"{{"iat":{issued},"exp":{}}}"#, issued + 3_600), 7_200, 0, true),
        // Its lifetime is longer than it seemed by the clock of that time.
        (format!(r#"{{"iat":{issued},"exp":{}}}"#, issued + 7_200), 600, 6_600, false),
        // It was written under a right clock, and this one is behind: its age is unknown.
        (format!(r#"{{"iat":{},"exp":{}}}"#, issued + YEAR, issued + YEAR + 7_200), 600, 7_200, true),
        ("{}".to_owned(), 600, 3_600, true),
        (format!(r#"{{"exp":{}}}"#, issued + YEAR), 600, 3_600, true),
    ] {
        let now = at(DAY + age);
        let mut session = Session::restored(with_token(from_the_future(), &claims), 3, now);
        assert_eq!(session.credential().remaining(now), Duration::from_secs(left), "{claims}");
        assert_eq!((session.credential().issued_at, session.record().routed_at), (now, None));
        let Effect::Save(ticket, saved) = session.apply(Event::Ticked, now) else { panic!("{session:#?}") };
        assert_eq!(
            (saved.grant.issued_at, &saved.journal),
            (now, &None),
            "the corrected times are saved first"
        );
        let next = session.apply(Event::Saved(ticket, Ok(())), now);
        assert_eq!(matches!(next, Effect::Save(..)), at_once && left > 0, "{claims}: {next:?}");
        let latest = session.next_wakeup(now).unwrap_or(now);
        assert!(latest <= at(DAY + age + 2 * HOUR), "no wait of days");
    }
    // Two right clocks may differ by a minute.
    let mut ahead = record(Mode::ChatGpt, HOUR);
    ahead.grant.issued_at = at(60);
    let session = Session::restored(ahead, 3, at(0));
    assert!(session.is_settled() && session.credential().issued_at == at(60));
}

/// An API key does not expire with the tokens that renew it.
#[test]
fn key_from_the_future_is_served_and_its_tokens_are_kept_alive() {
    let mut key = record(Mode::ApiKey, HOUR);
    key.grant.issued_at = shifted(at(0), by(YEAR));
    let mut session = Session::restored(key, 3, at(0));
    let Effect::Save(ticket, _) = session.apply(Event::Ticked, at(0)) else { panic!("{session:#?}") };
    assert!(matches!(session.apply(Event::Saved(ticket, Ok(())), at(0)), Effect::Wait));
    assert_eq!((session.status(at(0)), session.refresh_at()), (ProfileStatus::Ready, Some(at(8 * DAY))));
}
