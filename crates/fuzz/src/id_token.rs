//! Id tokens, and what is derived from their claims: the mode, and the headers of requests.

use authd_oauth::{
    ClientIdentity, Decision, IdToken, Mode, ModePreference, Routing, claims, headers, headers::HeaderInputs,
    mode_decision,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;

/// Checks the bytes as a token, and as the claims of a token.
pub fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        check_token(text);
    }
    check_token(&format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(data)));
}

fn check_token(text: &str) {
    let token = IdToken::new(text);
    assert_eq!(format!("{token:?}"), "IdToken([redacted])");
    let Ok(identity) = claims::identity(&token) else {
        // An invalid claim of the identity does not make the times invalid.
        let _ = claims::times(text);
        return;
    };
    let texts = [&identity.email, &identity.user_id, &identity.account_id, &identity.organization_id];
    for claim in texts.into_iter().flatten() {
        assert!(!claim.trim().is_empty(), "an empty claim must be missing");
        assert!(!claim.contains(char::is_control), "{claim:?} contains control characters");
    }
    for preference in [ModePreference::Auto, ModePreference::ChatGpt, ModePreference::ApiKey] {
        let (Decision::ChatGpt { reason } | Decision::TryApiKey { reason, .. }) =
            mode_decision::decide(preference, &identity);
        assert!(!reason.is_empty());
    }
    // Headers are valid for any claims, and have one line.
    let client = ClientIdentity {
        originator: "codex_cli_rs".into(),
        version: "0.34.0".into(),
        user_agent: "codex_cli_rs/0.34.0".into(),
    };
    let (routing, organization, project) =
        (Routing::default(), identity.organization_id.as_deref(), identity.project_id.as_deref());
    let facts = HeaderInputs {
        mode: Mode::ChatGpt,
        identity: &identity,
        client: &client,
        routing: &routing,
        organization,
        project,
    };
    for (name, value) in headers::build(&facts) {
        assert!(HeaderValue::from_str(&value).is_ok(), "{name}: {value:?} is not a valid header");
    }
}
