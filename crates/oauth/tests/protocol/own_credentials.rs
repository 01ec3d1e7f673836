//! What the answer to a request with a user's own credential proves: accept, refuse, or try later.

use authd_oauth::{
    AccessToken, ApiKey, Authority, Identity, ProviderError,
    own_credential::{Answer, CheckError, CheckedToken, KeyState, TokenCheck, api_key, token, whoami},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

const HTML: &str = "<!doctype html><title>Welcome</title>";

fn now() -> Timestamp {
    "2026-11-27T08:00:00Z".parse().unwrap()
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let pair = |(name, value): &(&str, &str)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap())
    };
    let headers: HeaderMap = headers.iter().map(pair).collect();
    Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: body.to_owned().into() }
}

/// The kind of an outcome, in a word.
fn verdict<T>(result: &Result<T, CheckError>) -> &'static str {
    match result {
        Ok(_) => "accepted",
        Err(CheckError::Rejected(_)) => "rejected",
        Err(CheckError::Inconclusive { .. }) => "inconclusive",
        Err(CheckError::Failed(ProviderError::Unavailable { .. })) => "unavailable",
        Err(CheckError::Failed(ProviderError::InvalidResponse { .. })) => "invalid",
        Err(CheckError::Failed(_)) => "failed",
    }
}

fn user() -> Value {
    json!({"email": "a@b.example", "chatgpt_user_id": "user-1", "chatgpt_account_id": "acc-1",
        "chatgpt_plan_type": "Enterprise", "chatgpt_account_is_fedramp": true})
}

#[test]
fn whoami_names_the_user_of_the_token() {
    let identity = whoami(&answer(200, &[], &user().to_string()), now()).unwrap();
    let expected = Identity {
        email: Some("a@b.example".into()),
        plan: Some(authd_oauth::Plan::new("enterprise")),
        user_id: Some("user-1".into()),
        account_id: Some("acc-1".into()),
        fedramp: true,
        ..Identity::default()
    };
    assert_eq!(identity, expected);
    let mut without_email = user();
    without_email["email"] = Value::Null;
    assert_eq!(whoami(&answer(200, &[], &without_email.to_string()), now()).unwrap().email, None);
}

#[test]
fn whoami_of_an_unknown_form_says_nothing() {
    for field in ["chatgpt_user_id", "chatgpt_account_id", "chatgpt_plan_type", "chatgpt_account_is_fedramp"]
    {
        let mut changed = user();
        changed.as_object_mut().unwrap().remove(field);
        assert_eq!(verdict(&whoami(&answer(200, &[], &changed.to_string()), now())), "invalid", "{field}");
        changed[field] = json!(7);
        assert_eq!(verdict(&whoami(&answer(200, &[], &changed.to_string()), now())), "invalid", "{field}");
    }
    for id in ["", " ", "a\nb"] {
        let mut changed = user();
        changed["chatgpt_account_id"] = json!(id);
        assert_eq!(verdict(&whoami(&answer(200, &[], &changed.to_string()), now())), "invalid", "{id:?}");
    }
    let error = json!({"error": {"message": "no", "code": "invalid_token"}}).to_string();
    for (status, body, expected) in [
        (401, error.as_str(), "rejected"),
        (401, "", "rejected"),
        (401, HTML, "rejected"),
        (403, &error, "rejected"),
        (403, HTML, "invalid"),
        (404, &error, "invalid"),
        (404, HTML, "invalid"),
        (400, &error, "invalid"),
        (302, "", "invalid"),
        (200, HTML, "invalid"),
        (200, "{}", "invalid"),
        (429, &error, "unavailable"),
        (500, &error, "unavailable"),
        (503, HTML, "unavailable"),
    ] {
        assert_eq!(verdict(&whoami(&answer(status, &[], body), now())), expected, "{status} {body}");
    }
}

#[test]
fn key_is_known_if_the_answer_depends_on_it() {
    let error = |code: Value, message: &str| json!({"error": {"code": code, "message": message}}).to_string();
    let scopes = error(Value::Null, "You have insufficient permissions. Missing scopes: model.read.");
    let key = ApiKey::new("sk-1");
    for (status, body, expected) in [
        (200, r#"{"object": "list", "data": []}"#.to_owned(), Ok(KeyState::Ready)),
        (200, "[]".to_owned(), Ok(KeyState::Ready)),
        (200, HTML.to_owned(), Err("invalid")),
        (200, "7".to_owned(), Err("invalid")),
        (401, scopes.clone(), Ok(KeyState::Restricted)),
        (403, scopes.clone(), Ok(KeyState::Restricted)),
        (403, error("insufficient_permissions".into(), ""), Ok(KeyState::Restricted)),
        (401, error("invalid_api_key".into(), "Incorrect API key provided."), Err("rejected")),
        (403, error("unsupported_country_region_territory".into(), ""), Err("rejected")),
        (403, HTML.to_owned(), Err("invalid")),
        (400, scopes.clone(), Err("invalid")),
        (404, error("not_found".into(), ""), Err("invalid")),
        (429, error("insufficient_quota".into(), ""), Ok(KeyState::OutOfQuota)),
        (429, error("rate_limit_exceeded".into(), ""), Err("unavailable")),
        (429, HTML.to_owned(), Err("unavailable")),
        (401, error("insufficient_quota".into(), ""), Err("rejected")),
        (500, scopes.clone(), Err("unavailable")),
    ] {
        let found = api_key(&key, &answer(status, &[], &body), now());
        let short = found.as_ref().map_err(|_| verdict(&found)).copied();
        assert_eq!(short, expected, "{status} {body}");
    }
    // The access token of a ChatGPT login lacks the scopes, too.
    let jwt = ApiKey::new(jwt(4_000_000_000));
    assert_eq!(verdict(&api_key(&jwt, &answer(401, &[], &scopes), now())), "rejected");
}

/// A JWT that expires then.
fn jwt(exp: i64) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(json!({"exp": exp}).to_string()))
}

fn lab() -> Authority {
    Authority {
        provider: "lab".to_owned(),
        base_url: Some("https://lab.example".to_owned()),
        ..Authority::default()
    }
}

fn checks() -> [TokenCheck; 4] {
    let url = || "https://lab.example/x".to_owned();
    [
        TokenCheck::CheckUrl(url()),
        TokenCheck::Userinfo(url()),
        TokenCheck::Mcp(url()),
        TokenCheck::BaseUrl(url()),
    ]
}

fn check(check: &TokenCheck, answer: &Answer) -> Result<CheckedToken, CheckError> {
    token(check, &AccessToken::new("opaque"), answer, &lab(), now())
}

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

#[test]
fn token_of_a_defined_provider_is_judged_by_the_status() {
    let error = json!({"error": "invalid_token"}).to_string();
    for (status, body, expected) in [
        (401, "", "rejected"),
        (401, HTML, "rejected"),
        (403, error.as_str(), "rejected"),
        (403, r#"{"message": "API rate limit exceeded"}"#, "invalid"),
        (429, "", "unavailable"),
        (408, "", "unavailable"),
        (500, HTML, "unavailable"),
        (407, "", "invalid"),
        (301, "", "inconclusive"),
        (400, &error, "inconclusive"),
        (404, "", "inconclusive"),
        (405, &error, "inconclusive"),
    ] {
        for way in checks() {
            assert_eq!(
                verdict(&check(&way, &answer(status, &[JSON], body))),
                expected,
                "{way:?} {status} {body}"
            );
        }
    }
}

#[test]
fn success_counts_only_in_the_form_of_what_was_asked() {
    let html = ("content-type", "text/html");
    let stream = ("content-type", "text/event-stream");
    let [check_url, userinfo, mcp, base_url] = checks();
    for (way, header, body, expected) in [
        (&check_url, JSON, "{}", "accepted"),
        (&check_url, JSON, r#"{"active": false}"#, "rejected"),
        (&check_url, JSON, r#"{"revoked": true, "active": true}"#, "rejected"),
        (&check_url, html, HTML, "invalid"),
        (&userinfo, JSON, r#"{"sub": "user-1"}"#, "accepted"),
        (&userinfo, JSON, "{}", "invalid"),
        (&mcp, JSON, "", "accepted"),
        (&mcp, stream, "", "accepted"),
        (&mcp, html, "", "invalid"),
        (&base_url, JSON, "", "accepted"),
        (&base_url, html, HTML, "inconclusive"),
    ] {
        assert_eq!(
            verdict(&check(way, &answer(200, &[header], body))),
            expected,
            "{way:?} {header:?} {body}"
        );
    }
}

#[test]
fn check_url_states_the_user_in_several_forms() {
    let [check_url, ..] = checks();
    for (body, user_id, email) in [
        (json!({"sub": "u1", "id": 7}), Some("u1"), None),
        // GitLab's description of a token: `id` is that of the token.
        (json!({"id": 7, "user_id": 24, "name": "ci"}), Some("24"), None),
        (json!({"id": 7, "name": "ci"}), None, None),
        // GitHub's description of a user.
        (json!({"id": 9, "login": "octocat", "email": null}), Some("9"), None),
        (json!({"id": 9, "username": "me", "email": "a@b.example"}), Some("9"), Some("a@b.example")),
        (json!({"sub": "a\u{1b}[31m", "email": 7}), None, None),
        (json!([1]), None, None),
    ] {
        let identity = check(&check_url, &answer(200, &[JSON], &body.to_string())).unwrap().identity;
        assert_eq!((identity.user_id.as_deref(), identity.email.as_deref()), (user_id, email), "{body}");
        assert_eq!(identity.realm.as_deref(), Some("lab https://lab.example"));
    }
}

#[test]
fn earliest_stated_expiry_counts_unless_it_is_over() {
    let github = |text| ("github-authentication-token-expiration", text);
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let [check_url, ..] = checks();
    for (headers, body, expected) in [
        (vec![JSON], json!({}), None),
        (vec![github("2026-12-31 08:00:00 UTC")], json!({}), at("2026-12-31T08:00:00Z")),
        (vec![github("2026-12-31 08:00:00 +0200")], json!({}), at("2026-12-31T06:00:00Z")),
        (vec![github("2026-12-31 08:00:00 -0700")], json!({}), at("2026-12-31T15:00:00Z")),
        (vec![github("soon")], json!({}), None),
        (vec![JSON], json!({"expires_at": "2026-12-24"}), at("2026-12-24T00:00:00Z")),
        (vec![JSON], json!({"expires_at": "2026-12-24T10:00:00+01:00"}), at("2026-12-24T09:00:00Z")),
        (vec![JSON], json!({"expires_at": null}), None),
        (vec![JSON], json!({"expires_at": "never"}), None),
        (
            vec![github("2026-12-31 08:00:00 UTC")],
            json!({"expires_at": "2026-12-24"}),
            at("2026-12-24T00:00:00Z"),
        ),
        // The server accepts the token, so the clock of this machine is wrong.
        (vec![JSON], json!({"expires_at": "2026-11-01"}), None),
    ] {
        let checked = check(&check_url, &answer(200, &headers, &body.to_string())).unwrap();
        assert_eq!(checked.expires_at, expected, "{headers:?} {body}");
    }
    let of_jwt =
        |exp| token(&check_url, &AccessToken::new(jwt(exp)), &answer(200, &[JSON], "{}"), &lab(), now());
    assert_eq!(of_jwt(4_000_000_000).unwrap().expires_at, Timestamp::from_second(4_000_000_000).ok());
    assert_eq!(of_jwt(1).unwrap().expires_at, None);
}
