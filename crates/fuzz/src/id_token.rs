//! What an id token says of its subject, and what is made of it: the mode, and headers for every request.

use authd_oauth::{
    ClientIdentity, Decision, IdToken, Mode, ModePreference, Routing, claims, headers, headers::HeaderInputs,
    plan,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderValue;

/// The bytes as a token, and as the claims in one.
pub fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        understood(text);
    }
    understood(&format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(data)));
}

fn understood(text: &str) {
    let token = IdToken::new(text);
    assert_eq!(format!("{token:?}"), "IdToken([redacted])");
    let Ok(identity) = claims::identity(&token) else {
        // An odd claim makes the identity unreadable, and says nothing against the times.
        let _ = claims::times(text);
        return;
    };
    let said = [&identity.email, &identity.user_id, &identity.account_id, &identity.organization_id];
    for claim in said.into_iter().flatten() {
        assert!(!claim.trim().is_empty(), "an empty claim is none");
        assert!(!claim.contains(char::is_control), "{claim:?} would act on a terminal");
    }
    for wish in [ModePreference::Auto, ModePreference::ChatGpt, ModePreference::ApiKey] {
        let (Decision::ChatGpt { reason } | Decision::TryApiKey { reason, .. }) =
            plan::decide(wish, &identity);
        assert!(!reason.is_empty());
    }
    // Whatever a token claims, the headers that are made of it are headers, one line each.
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
        assert!(HeaderValue::from_str(&value).is_ok(), "{name}: {value:?} is no header");
    }
}
