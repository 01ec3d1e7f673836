//! Scopes that a server asks for, and that the grant of a profile lacks.

use authd_api::{ErrorCode, Problem};
use authd_broker::ProfileSnapshot;
use authd_oauth::definition::{MAX_SCOPES, is_scope};

/// Why these are no scopes that a server can have asked for.
pub(in crate::http) fn invalid_scopes(scopes: &[String]) -> Option<Problem> {
    let invalid = |detail: &str| Some(Problem::new(ErrorCode::BadRequest, detail));
    if scopes.len() > MAX_SCOPES {
        return invalid(&format!("a report names at most {MAX_SCOPES} scopes"));
    }
    if !scopes.iter().all(|scope| is_scope(scope)) {
        return invalid("a scope is one word of printable ASCII, without quotes and backslashes");
    }
    None
}

/// Why a report of missing scopes had no effect; `None` if the profile needs a sign-in now.
pub(in crate::http) fn missing_scopes(snapshot: &ProfileSnapshot, reported: &[String]) -> Option<Problem> {
    let name = &snapshot.name;
    let conflict = |detail: String| Problem::new(ErrorCode::Conflict, detail).about(name);
    let Some(authority) = &snapshot.credential.authority else {
        let detail = format!("profile \"{name}\" is of OpenAI, whose sign-in has fixed scopes");
        return Some(
            conflict(detail).hint("name a profile of another provider; list them: authctl profiles"),
        );
    };
    if reported.iter().any(|scope| authority.missing_scopes.contains(scope)) {
        return None;
    }
    let detail = format!(
        "a new sign-in would not help: the last one of profile \"{name}\" requested these scopes already: {}",
        reported.join(" ")
    );
    let granted = reported.iter().all(|scope| authority.scopes.contains(scope));
    Some(conflict(detail).hint(if granted {
        "the provider granted them: the server refuses for another reason, for example the user's own rights"
    } else {
        "the provider did not grant all of them: its administrator or the user's rights decide"
    }))
}
