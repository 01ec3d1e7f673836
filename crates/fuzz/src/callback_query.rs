//! The query of a redirect to the callback server, and the text that a user pastes instead.

use std::time::Duration;

use authd_oauth::{Attempt, Callback, CallbackError, LoginFailure, ModePreference, State};
use jiff::Timestamp;
use url::form_urlencoded::Serializer;

/// Longest text that the parser accepts, in bytes.
const MAX: usize = 8 << 10;

/// Checks the bytes as the query of a redirect, and as a pasted text.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for (result, again) in [
        (Callback::parse(text), Callback::parse(text)),
        (Callback::from_pasted(text), Callback::from_pasted(text)),
    ] {
        let (callback, again) = match (result, again) {
            (Ok(callback), Ok(again)) => (callback, again),
            (Err(error), Err(again)) => {
                assert_eq!(error, again);
                continue;
            }
            different => panic!("the same text has two results: {different:?}"),
        };
        assert!(text.trim().len() <= MAX, "a text above the limit was accepted");
        assert!(again.state() == callback.state());
        // The debug format contains neither the code nor the state.
        let expected = match &callback {
            Callback::Code(..) => "Code(AuthorizationCode([redacted]), State([redacted]))".to_owned(),
            Callback::Refused(refusal, _) => format!("Refused({refusal:?}, State([redacted]))"),
            Callback::Empty(_) => "Empty(State([redacted]))".to_owned(),
        };
        assert_eq!(format!("{callback:?}"), expected);
        check_round_trip(&callback);
        check_acceptance(callback);
    }
    // A pasted query has the same result as the query.
    let is_query = text.contains("state=") && !text.contains(['?', '#', '"', '\'']) && text.trim() == text;
    if is_query {
        let (query, pasted) = (Callback::parse(text), Callback::from_pasted(text));
        assert_eq!(query.map(|c| c.state().clone()), pasted.map(|c| c.state().clone()));
    }
}

/// A parsed callback that is serialized as a query has the same result.
fn check_round_trip(callback: &Callback) {
    let mut query = Serializer::new(String::new());
    query.append_pair("state", callback.state().as_str());
    match callback {
        Callback::Code(code, _) => query.append_pair("code", code.expose()),
        Callback::Refused(refusal, _) => query.append_pair("error", refusal.code.as_str()),
        Callback::Empty(_) => &mut query,
    };
    let query = query.finish();
    match (Callback::parse(&query), callback) {
        (Ok(Callback::Code(code, state)), Callback::Code(old_code, old_state)) => {
            assert_eq!(code.expose(), old_code.expose());
            assert!(is_same(&state, old_state));
        }
        (Ok(Callback::Refused(refusal, state)), Callback::Refused(old, old_state)) => {
            assert_eq!(refusal.code, old.code);
            assert!(is_same(&state, old_state));
        }
        (Ok(Callback::Empty(state)), Callback::Empty(old_state)) => assert!(is_same(&state, old_state)),
        // Percent encoding makes a query up to three times as long. An empty state counts as
        // missing.
        (Err(CallbackError::TooLong), _) => assert!(query.len() > MAX),
        (Err(CallbackError::NoState), _) => assert!(callback.state().as_str().is_empty()),
        different => panic!("{different:?}"),
    }
}

/// Whether the states are equal, except for a suffix that each parse removes.
fn is_same(new: &State, old: &State) -> bool {
    old.as_str().starts_with(new.as_str())
}

/// An attempt returns its verifier only for a code, before it expires.
fn check_acceptance(callback: Callback) {
    let now = Timestamp::UNIX_EPOCH;
    let attempt = |lifetime| {
        Attempt::new("http://localhost:1455/auth/callback".into(), ModePreference::Auto, None, now, lifetime)
    };
    let has_code = matches!(callback, Callback::Code(..));
    match attempt(Duration::from_secs(600)).accept(callback, now) {
        Ok(exchange) => assert!(has_code && !exchange.code.expose().is_empty()),
        Err(failure) => {
            assert!(!has_code && failure != LoginFailure::Expired, "{failure:?}");
            let sentence = failure.sentence();
            assert!(!sentence.is_empty() && sentence.len() < 200, "{sentence}");
            assert!(!sentence.contains(char::is_control), "{sentence}");
        }
    }
}
