use authd_api::ProfileName;
use authd_oauth::{
    AccessToken, ApiKey, Grant, GrantSecrets, Record, Session, Tokens,
    quota::{Limit, Percent},
};

use super::*;
use crate::snapshot::RenderContext;

const MAX_AGE: Duration = Duration::from_secs(300);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + seconds).unwrap()
}

/// The snapshot of a grant.
fn snapshot(grant: Grant, generation: u64) -> ProfileSnapshot {
    let grant_id = format!("grant-{generation}").into();
    let session = Session::restored(Record::new(grant, grant_id, generation), 1, at(0));
    ProfileSnapshot::of(&ProfileName::first(), &session, &Arc::new(RenderContext::of_openai()), None)
}

/// The snapshot of a user whose token expires after two hours.
fn signed_in(user: Option<&str>, generation: u64) -> ProfileSnapshot {
    let identity = Identity { user_id: user.map(Into::into), ..Identity::default() };
    let access_token = AccessToken::new("token");
    let tokens = Tokens { access_token, refresh_token: None, expires_at: Some(at(7200)) };
    let secrets = GrantSecrets::ChatGpt(tokens, None);
    let grant = Grant { identity: Arc::new(identity), secrets, ..Grant::own_key(ApiKey::new(""), "", at(0)) };
    snapshot(grant, generation)
}

/// A reading of one window at this time, which starts again after an hour.
fn reading(seconds: i64, used: f64) -> QuotaReading {
    let window = QuotaWindow {
        limit: Limit::Account,
        seconds: Some(18_000),
        used: Percent::new(used).unwrap(),
        resets_at: Some(at(3600)),
        as_of: at(seconds),
    };
    QuotaReading { as_of: Some(at(seconds)), windows: vec![window], ..QuotaReading::default() }
}

/// A state with a reading of this account at second 0.
fn known(snapshot: &ProfileSnapshot) -> QuotaState {
    let mut state = QuotaState::default();
    state.belongs_to(snapshot);
    assert!(state.update(reading(0, 40.0), 10, at(0)).has_changed);
    state
}

fn busy(seconds: u64) -> ProviderError {
    ProviderError::Unavailable { status: 429, code: None, retry_after: Some(Duration::from_secs(seconds)) }
}

#[test]
fn reading_is_used_until_it_is_too_old_or_its_window_is_over() {
    let user = signed_in(Some("user"), 1);
    let mut state = known(&user);
    for (now, max_age, is_current) in [
        (0, 0, true),
        (299, 300, true),
        (301, 300, false),
        (29, 0, false),
        (3599, 9999, true),
        (3600, 9999, false),
    ] {
        let needs = state.needs_request(&user, Duration::from_secs(max_age), at(now));
        assert_eq!(needs, !is_current, "after {now} s, with max_age {max_age}");
    }
    // A caller cannot have newer figures than one request in 30 seconds gives.
    let view = state.view(&user, Duration::ZERO, at(29));
    assert!(!view.stale && view.failure.is_none(), "{view:?}");
    let view = state.view(&user, MAX_AGE, at(3600));
    assert!(view.stale && view.reading.is_some(), "{view:?}");
    // After the clock was set back, the age of the reading is not known.
    assert!(state.needs_request(&user, MAX_AGE, at(-10)));
    // Only a changed figure is a change.
    assert!(!state.update(reading(5, 40.0), 10, at(5)).has_changed);
    assert!(state.update(reading(6, 41.0), 10, at(6)).has_changed);
    assert!(!state.needs_request(&user, MAX_AGE, at(305)));
}

#[test]
fn requests_keep_their_distance() {
    let user = signed_in(Some("user"), 1);
    let mut state = QuotaState::default();
    assert!(state.needs_request(&user, MAX_AGE, at(0)));
    state.begin_request(&user, at(0));
    state.replace(reading(0, 40.0), 10, at(0));
    let next = |state: &QuotaState, user: &ProfileSnapshot, from: i64| {
        (from..from + 7200).find(|second| state.needs_request(user, Duration::ZERO, at(*second)))
    };
    assert_eq!(next(&state, &user, 1), Some(30));
    let mut now = 30;
    for pause in [60, 120, 240, 480, 900, 900] {
        state.begin_request(&user, at(now));
        state.fail_request(busy(0));
        assert_eq!(next(&state, &user, now + 1), Some(now + pause));
        now += pause;
    }
    // The token of a refresh may be accepted where the old one was not.
    assert!(state.needs_request(&signed_in(Some("user"), 2), MAX_AGE, at(now - 800)));
    let QuotaView { stale, failure, .. } = state.view(&user, MAX_AGE, at(now - 1));
    assert!(
        stale && matches!(failure, Some(QuotaFailure::Provider(_, until)) if until == at(now)),
        "{failure:?}"
    );
    // A success ends the pauses, and a clock that was set back does not make them longer.
    state.begin_request(&user, at(now));
    state.fail_request(busy(0));
    assert!(state.needs_request(&user, Duration::ZERO, at(now - 1)));
    state.replace(reading(now, 1.0), 10, at(now));
    assert_eq!(next(&state, &user, now + 1), Some(now + 30));
}

#[test]
fn expired_token_gives_the_last_reading_with_the_reason() {
    let user = signed_in(Some("user"), 1);
    let state = known(&user);
    assert!(!state.needs_request(&user, MAX_AGE, at(7200)));
    let view = state.view(&user, MAX_AGE, at(7200));
    assert!(view.stale && view.reading.is_some(), "{view:?}");
    assert!(matches!(view.failure, Some(QuotaFailure::NoToken)), "{view:?}");
}

#[test]
fn another_account_has_none_of_it() {
    let (user, other) = (signed_in(Some("user"), 1), signed_in(Some("other"), 2));
    let mut state = known(&user);
    state.begin_request(&user, at(0));
    state.fail_request(busy(600));
    assert!(state.view(&other, MAX_AGE, at(1)).reading.is_none());
    assert!(state.needs_request(&other, MAX_AGE, at(1)), "the pause is that of the other account");
    let again = signed_in(Some("user"), 3);
    assert!(state.view(&again, MAX_AGE, at(1)).reading.is_some(), "another sign-in of the same account");
    let key = snapshot(Grant::own_key(ApiKey::new("sk-test"), "own key", at(0)), 4);
    let view = state.view(&key, MAX_AGE, at(1));
    assert!(matches!(view.failure, Some(QuotaFailure::NoQuota(Mode::ApiKey))) && view.reading.is_none());
    assert!(!state.needs_request(&key, MAX_AGE, at(1)));
    state.belongs_to(&other);
    assert!(state.view(&again, MAX_AGE, at(1)).reading.is_none());
    // Users without an id are told apart by their sign-in.
    let (unnamed, unnamed_too) = (signed_in(None, 5), signed_in(None, 6));
    let state = known(&unnamed);
    assert!(state.view(&unnamed, MAX_AGE, at(1)).reading.is_some());
    assert!(state.view(&unnamed_too, MAX_AGE, at(1)).reading.is_none());
}

#[test]
fn pause_after_failures_doubles_and_honours_retry_after() {
    for (failures, requested, pause) in [
        (1, 0, 60),
        (2, 0, 120),
        (5, 0, 900),
        (u32::MAX, 0, 900),
        (1, 30, 60),
        (1, 300, 300),
        (9, 99_999, 3600),
    ] {
        let seconds = failure_pause(failures, &busy(requested)).as_secs();
        assert_eq!(seconds, pause, "{failures} failures, {requested} s requested");
    }
}
