//! Personal access tokens and API keys of the user: checked at the provider before they are stored.

use std::fs;

use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

use crate::{
    headers::walk,
    helpers::{AUTHD, daemon, names, responses_request, sandbox, value},
};

/// Stores a token under this name. Returns the status and the body of the response.
pub(crate) async fn put_token(daemon: &TestDaemon, profile: &str, body: Value) -> (u16, Value) {
    let path = format!("/v1/profiles/{profile}/token");
    let reply = daemon.request("PUT", &path, &[], body.to_string()).await;
    (reply.status.as_u16(), reply.json())
}

async fn put_key(daemon: &TestDaemon, profile: &str, body: Value) -> (u16, Value) {
    let path = format!("/v1/profiles/{profile}/api-key");
    let reply = daemon.request("PUT", &path, &[], body.to_string()).await;
    (reply.status.as_u16(), reply.json())
}

async fn relay(daemon: &TestDaemon, profile: &str) -> u16 {
    let path = format!("/v1/profiles/{profile}/relay/responses");
    daemon.request("POST", &path, &[], responses_request("2+2").to_string()).await.status.as_u16()
}

#[tokio::test]
async fn personal_access_token_is_a_chatgpt_profile_that_is_never_refreshed() {
    let fedramp = Account { fedramp: true, ..Account::business() };
    let sandbox = Sandbox::start(Config::with_accounts([fedramp.clone()])).await.unwrap();
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    let token = sandbox.issue_personal_access_token("business");
    let (status, stored) = put_token(&daemon, "-", json!({"token": format!("{token}\n")})).await;
    assert_eq!(status, 200, "{stored}");
    let whoami = sandbox.requests_of(Route::Whoami).pop().unwrap();
    assert_eq!(whoami.header("authorization"), Some(format!("Bearer {token}").as_str()));
    assert_eq!(whoami.header("originator"), Some("codex_cli_rs"));
    assert!(whoami.header("user-agent").unwrap().starts_with("codex_cli_rs/"));
    for (field, expected) in [
        ("name", json!("default")),
        ("default", json!(true)),
        ("state", json!("ready")),
        ("mode", json!("chatgpt")),
        ("mode_reason", json!("it is a personal access token")),
        ("email", json!(fedramp.email)),
        ("plan", json!(fedramp.plan)),
        ("account_id", json!(fedramp.account_id)),
        ("expires_at", Value::Null),
        ("refresh_at", Value::Null),
        ("own_credential", json!(true)),
        ("note", Value::Null),
    ] {
        assert_eq!(stored[field], expected, "{field} in {stored}");
    }
    for _ in 0..2 {
        let headers = daemon.get("/v1/profiles/-/headers?min_ttl=3600").await;
        assert_eq!(value(&headers, "Authorization"), format!("Bearer {token}"));
        assert_eq!(value(&headers, "chatgpt-account-id"), fedramp.account_id);
        assert!(names(&headers).contains(&"X-OpenAI-Fedramp".to_owned()), "{headers}");
        assert_eq!(relay(&daemon, "default").await, 200);
        // The record survives, and nothing is asked again.
        daemon.restart().await;
    }
    let refused = daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await.json();
    assert_eq!(refused["code"], "conflict");
    assert_eq!(refused["hint"], "run: authctl login default --with-token < FILE");
    let revoked = daemon.request("DELETE", "/v1/profiles/default?revoke=true", &[], "").await.json();
    assert_eq!(revoked["code"], "conflict", "{revoked}");
    assert!(revoked["detail"].as_str().unwrap().contains("revoke it at the provider"), "{revoked}");
    let count = |route| sandbox.count(route);
    assert_eq!((count(Route::Whoami), count(Route::Refresh), count(Route::Revoke)), (1, 0, 0));
    assert_eq!(daemon.request("DELETE", "/v1/profiles/default", &[], "").await.status, 204);
}

#[tokio::test]
async fn token_that_is_not_accepted_changes_nothing() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let good = sandbox.issue_personal_access_token("plus");
    put_token(&daemon, "ci", json!({"token": good})).await;
    let before = daemon.get("/v1/profiles").await;
    let revoked = sandbox.issue_personal_access_token("plus");
    sandbox.revoke_personal_access_token(&revoked);
    let other = sandbox.issue_personal_access_token("plus");
    let cases = [
        (json!({"token": revoked}), None, (409, "login_denied"), "the provider rejects this token"),
        (json!({"token": "at-unknown"}), None, (409, "login_denied"), "the provider rejects this token"),
        (json!({"token": other}), Some(Fault::Unauthorized), (409, "login_denied"), "rejects this token"),
        (json!({"token": other}), Some(Fault::Garbage), (503, "provider_unreachable"), "not the provider's"),
        (json!({"token": other}), Some(Fault::status(200, "{}")), (503, "provider_unreachable"), "the user"),
        (json!({"token": other}), Some(Fault::status(503, "")), (503, "provider_unreachable"), "status 503"),
        (
            json!({"token": other}),
            Some(Fault::status(404, "{}")),
            (503, "provider_unreachable"),
            "status 404",
        ),
        (
            json!({"token": other}),
            Some(Fault::DropBeforeCommit),
            (503, "provider_unreachable"),
            "did not answer",
        ),
        (json!({"token": "sk-proj-x"}), None, (400, "bad_request"), "begins with at-"),
        (json!({"token": "eyJ.eyJ.c2ln"}), None, (400, "bad_request"), "begins with at-"),
        (json!({"token": "at- x"}), None, (400, "bad_request"), "one word"),
        (json!({"token": ""}), None, (400, "bad_request"), "one word"),
        (json!({}), None, (400, "bad_request"), "missing field"),
        (json!({"token": other, "provider": "nowhere"}), None, (404, "provider_unknown"), "no provider"),
    ];
    for (body, fault, (status, code), detail) in cases {
        for profile in ["ci", "new"] {
            if let Some(fault) = &fault {
                sandbox.faults().push(Route::Whoami, fault.clone());
            }
            let (found, problem) = put_token(&daemon, profile, body.clone()).await;
            assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{body} {problem}");
            let text = problem["detail"].as_str().unwrap();
            // `ci` exists, so its own provider is another one than that of the request.
            assert!(text.contains(detail) || body["provider"].is_string(), "{problem}");
            assert!(code != "login_denied" || text.ends_with("nothing is stored"), "{problem}");
            assert!(problem["hint"].is_string() || code == "bad_request", "{problem}");
            assert_eq!(problem["retry_after"].is_u64(), code == "provider_unreachable", "{problem}");
            assert!(!problem.to_string().contains("at-unknown"), "{problem}");
        }
    }
    assert_eq!(daemon.get("/v1/profiles").await, before);
    sandbox.pause().await;
    let (status, problem) = put_token(&daemon, "ci", json!({"token": other})).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("provider_unreachable")), "{problem}");
    assert_eq!(daemon.get("/v1/profiles").await, before);
}

#[tokio::test]
async fn profile_of_another_account_is_replaced_on_request_only() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let before = daemon.get("/v1/profiles/default").await;
    let others = sandbox.issue_personal_access_token("business");
    let (status, problem) = put_token(&daemon, "default", json!({"token": others})).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("conflict")), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("--replace"), "{problem}");
    assert_eq!(daemon.get("/v1/profiles/default").await, before);
    // The token of the same account replaces the sign-in, and one token the other.
    for generation in [2, 3] {
        let own = sandbox.issue_personal_access_token("plus");
        let (status, stored) = put_token(&daemon, "default", json!({"token": own})).await;
        assert_eq!((status, &stored["generation"]), (200, &json!(generation)), "{stored}");
        assert_eq!(
            value(&daemon.get("/v1/profiles/-/headers").await, "Authorization"),
            format!("Bearer {own}")
        );
    }
    let (status, stored) = put_token(&daemon, "default", json!({"token": others, "replace": true})).await;
    assert_eq!((status, &stored["email"]), (200, &json!(Account::business().email)), "{stored}");
    // A sign-in of the same account replaces the token, too.
    let login = daemon.sign_in("default", "business").await;
    assert_eq!(login["result"]["name"], "default");
    assert_eq!(login["result"]["own_credential"], Value::Null, "{login}");
}

#[tokio::test]
async fn token_of_a_workspace_that_is_not_accepted_is_refused() {
    let sandbox = sandbox().await;
    let config = format!("[login]\nworkspaces = ['{}']", Account::business().account_id);
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&config)).await;
    let personal = sandbox.issue_personal_access_token("plus");
    let (status, problem) = put_token(&daemon, "ci", json!({"token": personal})).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("login_denied")), "{problem}");
    let business = sandbox.issue_personal_access_token("business");
    assert_eq!(put_token(&daemon, "ci", json!({"token": business})).await.0, 200);
}

#[tokio::test]
async fn rejection_of_a_stored_token_is_told_with_the_command() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let token = sandbox.issue_personal_access_token("plus");
    put_token(&daemon, "ci", json!({"token": token})).await;
    assert_eq!(relay(&daemon, "ci").await, 200);
    sandbox.revoke_personal_access_token(&token);
    assert_eq!(relay(&daemon, "ci").await, 401);
    let profile = daemon.get("/v1/profiles/ci").await;
    assert_eq!((&profile["state"], &profile["last_error"]["code"]), (&json!("ready"), &json!("conflict")));
    let hint = profile["last_error"]["hint"].as_str().unwrap();
    assert!(hint.ends_with("run: authctl login ci --with-token < FILE"), "{profile}");
    assert_eq!(sandbox.count(Route::Refresh), 0);
    let next = sandbox.issue_personal_access_token("plus");
    let (_, stored) = put_token(&daemon, "ci", json!({"token": next})).await;
    assert_eq!((&stored["state"], &stored["last_error"]), (&json!("ready"), &Value::Null), "{stored}");
    assert_eq!(relay(&daemon, "ci").await, 200);
}

#[tokio::test]
async fn codex_gets_the_token_in_the_form_that_it_writes_itself() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let token = sandbox.issue_personal_access_token("plus");
    put_token(&daemon, "ci", json!({"token": token})).await;
    let home = daemon.dir().join("codex");
    fs::create_dir(&home).unwrap();
    let file = home.join("auth.json");
    let form = json!({"OPENAI_API_KEY": null, "personal_access_token": token});
    let read = |file| serde_json::from_str::<Value>(&fs::read_to_string(file).unwrap()).unwrap();
    let body = json!({"home": home}).to_string();
    let installed = daemon.request("PUT", "/v1/profiles/ci/codex", &[], body.clone()).await;
    assert_eq!((installed.status.as_u16(), read(&file)), (200, form.clone()), "{}", installed.text());
    let removed = daemon.request("DELETE", "/v1/profiles/-/codex", &[], body).await;
    assert!(removed.status.is_success() && !file.exists(), "{}", removed.text());
    let body = json!({"target": "codex", "path": file}).to_string();
    let exported = daemon.request("POST", "/v1/profiles/ci/export", &[], body).await;
    assert_eq!((exported.status.as_u16(), read(&file)), (200, form), "{}", exported.text());
    assert_eq!(daemon.get("/v1/profiles").await["profiles"], json!([]), "Codex has it now");
    let body = json!({"source": "codex", "path": file}).to_string();
    let imported = daemon.request("POST", "/v1/import", &[], body).await.json();
    assert_eq!(imported["code"], "conflict", "{imported}");
    assert!(imported["hint"].as_str().unwrap().contains("--with-token"), "{imported}");
}

#[tokio::test]
async fn api_key_is_stored_if_the_provider_knows_it() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let key = sandbox.issue_api_key("business");
    let (status, stored) = put_key(&daemon, "ci", json!({"api_key": key})).await;
    assert_eq!((status, &stored["note"], &stored["own_credential"]), (200, &Value::Null, &json!(true)));
    let models = sandbox.requests_of(Route::ApiModels).pop().unwrap();
    assert_eq!(models.header("authorization"), Some(format!("Bearer {key}").as_str()));
    let restricted = sandbox.issue_restricted_api_key("business");
    let (status, stored) = put_key(&daemon, "ci", json!({"api_key": restricted})).await;
    let note = stored["note"].as_str().unwrap();
    assert!(status == 200 && note.contains("restricted"), "{stored}");
    let before = daemon.get("/v1/profiles").await;
    let quota = json!({"error": {"code": "insufficient_quota", "message": "…"}}).to_string();
    let limit = json!({"error": {"code": "rate_limit_exceeded", "message": "…"}}).to_string();
    for (key, fault, status, code) in [
        ("sk-unknown", None, 409, "login_denied"),
        ("at-token", None, 400, "bad_request"),
        (&*key, Some(Fault::status(429, limit)), 503, "provider_unreachable"),
        (&*key, Some(Fault::status(500, "")), 503, "provider_unreachable"),
        (&*key, Some(Fault::Garbage), 503, "provider_unreachable"),
        (&*key, Some(Fault::DropBeforeCommit), 503, "provider_unreachable"),
    ] {
        if let Some(fault) = fault {
            sandbox.faults().push(Route::ApiModels, fault);
        }
        let (found, problem) = put_key(&daemon, "ci", json!({"api_key": key})).await;
        assert_eq!((found, problem["code"].as_str()), (status, Some(code)), "{problem}");
        assert_eq!(daemon.get("/v1/profiles").await, before);
    }
    sandbox.faults().push(Route::ApiModels, Fault::status(429, quota));
    let (status, stored) = put_key(&daemon, "ci", json!({"api_key": key})).await;
    assert!(status == 200 && stored["note"].as_str().unwrap().contains("quota"), "{stored}");
    // Without the check nothing is sent.
    let sent = sandbox.count(Route::ApiModels);
    let (status, _) = put_key(&daemon, "ci", json!({"api_key": "sk-unknown", "check": false})).await;
    assert_eq!((status, sandbox.count(Route::ApiModels)), (200, sent));
}

#[tokio::test]
async fn api_key_replaces_the_profile_of_an_account_on_request_only() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "business").await;
    let key = sandbox.issue_api_key("business");
    let (status, problem) = put_key(&daemon, "default", json!({"api_key": key})).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("conflict")), "{problem}");
    let (status, stored) = put_key(&daemon, "default", json!({"api_key": key, "replace": true})).await;
    assert_eq!((status, &stored["mode"], &stored["email"]), (200, &json!("api-key"), &Value::Null));
}

#[tokio::test]
async fn no_credential_of_the_user_is_logged_or_stored_in_the_clear() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file").env("RUST_LOG", "trace");
    let mut daemon = TestDaemon::start(config).await;
    let token = json!({"token": sandbox.issue_personal_access_token("plus")});
    let key = json!({"api_key": sandbox.issue_api_key("business")});
    for (fault, expected) in [(Some(Fault::Unauthorized), 409), (Some(Fault::Garbage), 503), (None, 200)] {
        if let Some(fault) = fault {
            sandbox.faults().push(Route::Whoami, fault.clone());
            sandbox.faults().push(Route::ApiModels, fault);
        }
        assert_eq!(put_token(&daemon, "token", token.clone()).await.0, expected);
        assert_eq!(put_key(&daemon, "key", key.clone()).await.0, expected);
    }
    assert_eq!(relay(&daemon, "token").await, 200);
    daemon.sigterm_and_wait().await;
    let (log, secrets) = (daemon.log(), sandbox.issued_secrets());
    assert!(secrets.len() == 2 && log.len() > 200);
    let files = walk(&daemon.state()).into_iter().map(|path| fs::read(path).unwrap());
    let written: Vec<u8> = files.flatten().chain(log.into_bytes()).collect();
    for secret in &secrets {
        assert!(
            !written.windows(secret.len()).any(|window| window == secret.as_bytes()),
            "a secret is written"
        );
    }
}
