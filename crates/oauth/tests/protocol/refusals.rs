//! What the codes of the standards mean in the answers to each request.

use std::{collections::HashSet, time::Duration};

use authd_oauth::{
    Attempt, Callback, ErrorCode, LoginFailure, ModePreference,
    OauthRequest::{
        self, Authorize, Exchange, PollDevice, PushAuthorization, Refresh, Register, Revoke, StartDevice,
    },
    Refusal, SignInClient, SignInPlan,
};
use jiff::Timestamp;

/// RFC 6749, section 4.1.2.1.
const AUTHORIZATION: [&str; 7] = [
    "invalid_request",
    "unauthorized_client",
    "access_denied",
    "unsupported_response_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
];

/// RFC 6749, section 5.2.
const TOKEN: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// `OpenID` Connect Core, section 3.1.2.6.
const OPENID: [&str; 9] = [
    "interaction_required",
    "login_required",
    "account_selection_required",
    "consent_required",
    "invalid_request_uri",
    "invalid_request_object",
    "request_not_supported",
    "request_uri_not_supported",
    "registration_not_supported",
];

/// RFC 7591, section 3.2.2.
const REGISTRATION: [&str; 4] = [
    "invalid_redirect_uri",
    "invalid_client_metadata",
    "invalid_software_statement",
    "unapproved_software_statement",
];

/// Each request, the codes of its standards, and those of single providers.
fn codes() -> Vec<(OauthRequest, Vec<&'static str>)> {
    // RFC 8707, section 2, for every request that names a resource.
    let target = &["invalid_target"][..];
    vec![
        (Authorize, [&AUTHORIZATION[..], &OPENID, target].concat()),
        // RFC 9126, section 2.3: the codes of the authorization request and of the token endpoint.
        (
            PushAuthorization,
            [&AUTHORIZATION[..], &["invalid_client", "invalid_redirect_uri"], target].concat(),
        ),
        (Exchange, [&TOKEN[..], target, &["bad_verification_code", "redirect_uri_mismatch"]].concat()),
        // RFC 8628, section 3.2, has those of the token endpoint.
        (
            StartDevice,
            vec![
                "invalid_request",
                "invalid_client",
                "unauthorized_client",
                "invalid_scope",
                "invalid_target",
                "device_flow_disabled",
            ],
        ),
        // RFC 8628, section 3.5.
        (
            PollDevice,
            [&TOKEN[..], &["authorization_pending", "slow_down", "access_denied", "expired_token"], target]
                .concat(),
        ),
        (Register, [&REGISTRATION[..], &["access_denied", "invalid_token"]].concat()),
        (Refresh, [&TOKEN[..], target, &["bad_refresh_token"]].concat()),
        // RFC 7009, section 2.2.1.
        (Revoke, [&TOKEN[..2], &["unsupported_token_type"]].concat()),
    ]
}

fn refusal(request: OauthRequest, code: &str) -> Refusal {
    Refusal { request, code: ErrorCode::new(code) }
}

#[test]
fn every_code_of_the_standards_has_a_sentence_and_a_remedy() {
    for (request, codes) in codes() {
        for code in codes {
            let refusal = refusal(request, code);
            let (sentence, remedy) = (refusal.to_string(), refusal.remedy());
            assert!(
                sentence.ends_with(&format!(" ({code})")) && sentence.len() > code.len() + 20,
                "{sentence}"
            );
            assert!(remedy.is_some_and(|remedy| remedy.len() > 20), "{request:?} {code}");
        }
    }
}

#[test]
fn one_code_means_different_things_in_answers_to_different_requests() {
    for (code, requests) in [
        ("invalid_grant", &[Exchange, PollDevice, Refresh][..]),
        ("unauthorized_client", &[Exchange, StartDevice, Refresh]),
        ("invalid_request", &[Authorize, Exchange]),
        ("invalid_scope", &[Authorize, Refresh]),
        ("access_denied", &[Authorize, Register]),
    ] {
        let sentences: HashSet<_> = requests.iter().map(|of| refusal(*of, code).to_string()).collect();
        assert_eq!(sentences.len(), requests.len(), "{code}: {sentences:?}");
    }
}

#[test]
fn failed_sign_in_says_what_was_refused() {
    for (request, sentence) in [
        (Authorize, "the provider denied the sign-in: the provider does not know a scope"),
        (Exchange, "the provider rejected the authorization code: the provider does not know a scope"),
        (PollDevice, "the provider ended the device login: the provider does not know a scope"),
    ] {
        let failure = LoginFailure::Refused(refusal(request, "invalid_scope"));
        assert!(failure.sentence().starts_with(sentence), "{failure}");
        assert_eq!(failure.code(), Some("invalid_scope"));
        assert!(failure.remedy().contains("--scope"), "{}", failure.remedy());
    }
}

/// The built-in provider keeps its texts.
#[test]
fn refusal_in_the_redirect_is_explained_for_a_defined_provider_only() {
    let now = Timestamp::UNIX_EPOCH;
    let attempt = || Attempt::new(String::new(), ModePreference::Auto, None, now, Duration::from_secs(60));
    let client = SignInClient { plan: SignInPlan::default(), secret: None };
    for (code, is_explained) in [("invalid_scope", true), ("coined_later", true), ("access_denied", false)] {
        let callback = || Callback::parse(&format!("error={code}&state=s")).unwrap();
        let built_in = attempt().accept(callback(), now).unwrap_err();
        assert_eq!(built_in, LoginFailure::Denied(ErrorCode::new(code)));
        let defined = attempt().at(client.clone()).accept(callback(), now).unwrap_err();
        assert_eq!(matches!(defined, LoginFailure::Refused(_)), is_explained, "{defined:?}");
    }
}

#[test]
fn unknown_code_is_told_as_it_is() {
    for (code, sentence) in [("coined_later", "coined_later"), ("<script>", "no reason was given")] {
        let refusal = refusal(Exchange, code);
        assert_eq!((&*refusal.explained(), refusal.remedy()), (sentence, None));
    }
}

/// The rows of the table in docs/providers.md: codes, requests, sentence and remedy.
fn table() -> String {
    let mut meanings: Vec<(&str, String, &str, Vec<&str>)> = Vec::new();
    for (request, codes) in codes() {
        let request_name = match request {
            Authorize => "authorization",
            PushAuthorization => "pushed authorization",
            Exchange => "code exchange",
            StartDevice => "device login",
            PollDevice => "device poll",
            Register => "registration",
            Refresh => "refresh",
            Revoke => "revocation",
        };
        for code in codes {
            let refusal = refusal(request, code);
            let sentence = refusal.to_string().replace(&format!(" ({code})"), "");
            let remedy = refusal.remedy().unwrap();
            match meanings.iter_mut().find(|it| (it.0, &it.1, it.2) == (code, &sentence, remedy)) {
                Some((.., requests)) => requests.push(request_name),
                None => meanings.push((code, sentence, remedy, vec![request_name])),
            }
        }
    }
    let mut rows: Vec<(Vec<&str>, String)> = Vec::new();
    for (code, sentence, remedy, requests) in meanings {
        let rest = format!("{} | {sentence} | {remedy}", requests.join(", "));
        match rows.iter_mut().find(|row| row.1 == rest) {
            Some((codes, _)) => codes.push(code),
            None => rows.push((vec![code], rest)),
        }
    }
    rows.iter().map(|(codes, rest)| format!("| `{}` | {rest} |\n", codes.join("`, `"))).collect()
}

#[test]
fn documentation_has_the_table() {
    let documentation = include_str!("../../../../docs/providers.md");
    let table = table();
    assert!(documentation.contains(&table), "docs/providers.md must contain:\n{table}");
}
