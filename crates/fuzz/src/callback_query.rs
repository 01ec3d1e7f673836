//! What a browser brings back to the callback server, and what a person pastes instead.

use std::time::Duration;

use authd_oauth::{Attempt, Callback, CallbackError, LoginFailure, ModePreference, State};
use jiff::Timestamp;
use url::form_urlencoded::Serializer;

/// The longest text that may be taken for a callback.
const MAX: usize = 8 << 10;

/// The bytes as a redirect's query, and as a pasted text.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for (read, again) in [
        (Callback::parse(text), Callback::parse(text)),
        (Callback::from_pasted(text), Callback::from_pasted(text)),
    ] {
        let (callback, again) = match (read, again) {
            (Ok(callback), Ok(again)) => (callback, again),
            (Err(error), Err(again)) => {
                assert_eq!(error, again);
                continue;
            }
            different => panic!("the same text, read twice: {different:?}"),
        };
        assert!(text.trim().len() <= MAX, "a text longer than any callback was taken for one");
        assert!(again.state() == callback.state());
        // Neither the code nor the state is ever shown, whatever they are.
        let shown = match &callback {
            Callback::Code(..) => "Code(AuthorizationCode([redacted]), State([redacted]))".to_owned(),
            Callback::Refused(refusal, _) => format!("Refused({refusal:?}, State([redacted]))"),
            Callback::Empty(_) => "Empty(State([redacted]))".to_owned(),
        };
        assert_eq!(format!("{callback:?}"), shown);
        written_again(&callback);
        accepted_only_with_a_code(callback);
    }
    // A pasted query means what the query means.
    let is_query = text.contains("state=") && !text.contains(['?', '#', '"', '\'']) && text.trim() == text;
    if is_query {
        let (typed, pasted) = (Callback::parse(text), Callback::from_pasted(text));
        assert_eq!(typed.map(|c| c.state().clone()), pasted.map(|c| c.state().clone()));
    }
}

/// What was understood, written as a query of our own, is understood the same.
fn written_again(callback: &Callback) {
    let mut query = Serializer::new(String::new());
    query.append_pair("state", callback.state().as_str());
    match callback {
        Callback::Code(code, _) => query.append_pair("code", code.expose()),
        Callback::Refused(refusal, _) => query.append_pair("error", refusal.code.as_str()),
        Callback::Empty(_) => &mut query,
    };
    let query = query.finish();
    match (Callback::parse(&query), callback) {
        (Ok(Callback::Code(code, state)), Callback::Code(before, was)) => {
            assert_eq!(code.expose(), before.expose());
            assert!(same(&state, was));
        }
        (Ok(Callback::Refused(refusal, state)), Callback::Refused(before, was)) => {
            assert_eq!(refusal.code, before.code);
            assert!(same(&state, was));
        }
        (Ok(Callback::Empty(state)), Callback::Empty(was)) => assert!(same(&state, was)),
        // Percent signs make a query three times as long as what it says; an empty state is none.
        (Err(CallbackError::TooLong), _) => assert!(query.len() > MAX),
        (Err(CallbackError::NoState), _) => assert!(callback.state().as_str().is_empty()),
        different => panic!("{different:?}"),
    }
}

/// The same state, but for the suffix that may stand behind one and is taken off once at each reading.
fn same(now: &State, was: &State) -> bool {
    was.as_str().starts_with(now.as_str())
}

/// An attempt gives its verifier for a code, in its time, and for nothing else.
fn accepted_only_with_a_code(callback: Callback) {
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
