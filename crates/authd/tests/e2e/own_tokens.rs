//! Tokens of the user's own at defined providers: how each is checked, what it states, and how it
//! ends.

use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    authorization_server::AuthorizationServer,
    bearer_profile::Server,
    helpers::{AUTHD, sandbox, value},
    own_credentials::put_token,
};

const TOKEN: &str = "glpat-7f3a9c";

async fn daemon_with(definition: &str) -> (authd_sandbox::Sandbox, TestDaemon) {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).toml(&format!("[providers.lab]\n{definition}"));
    let daemon = TestDaemon::start(config).await;
    (sandbox, daemon)
}

/// Stores the token of the provider `lab`.
async fn put(daemon: &TestDaemon) -> (u16, Value) {
    put_token(daemon, "lab", json!({"token": TOKEN, "provider": "lab"})).await
}

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[tokio::test]
async fn check_url_states_the_user_and_the_expiry() {
    let server = Server::start().await;
    let url = &server.url;
    let definition = format!("issuer = '{url}'\nbase_url = '{url}/api'\ncheck_url = '{url}/self'");
    let (_sandbox, daemon) = daemon_with(&definition).await;
    let body = json!({"id": 7, "user_id": 24, "expires_at": "2099-12-31"}).to_string();
    server.answer((JSON, body.clone()));
    let (status, stored) = put(&daemon).await;
    assert_eq!(status, 200, "{stored}");
    let bearer = format!("Bearer {TOKEN}");
    // The issuer is not asked for its metadata.
    assert_eq!(server.requests(), [("GET /self".to_owned(), bearer.clone())]);
    assert!(server.last_header("user-agent").is_none_or(|agent| agent.starts_with("authd/")));
    for (field, expected) in [
        ("name", json!("lab")),
        ("default", json!(false)),
        ("state", json!("ready")),
        ("mode", json!("bearer")),
        ("provider", json!("lab")),
        ("own_credential", json!(true)),
        ("expires_at", json!("2099-12-31T00:00:00Z")),
        ("refresh_at", Value::Null),
    ] {
        assert_eq!(stored[field], expected, "{field} in {stored}");
    }
    assert_eq!(value(&daemon.get("/v1/profiles/lab/headers").await, "Authorization"), bearer);
    assert!(daemon.request("GET", "/v1/profiles/lab/relay/x", &[], "").await.status.is_success());
    assert_eq!(server.requests(), [("GET /api/x".to_owned(), bearer)]);
    // The same user's next token replaces it, without the name of the provider.
    server.answer((JSON, body));
    assert_eq!(put_token(&daemon, "lab", json!({"token": "glpat-2"})).await.0, 200);
    // Another user's does not.
    let before = daemon.get("/v1/profiles").await;
    server.answer((JSON, json!({"user_id": 25}).to_string()));
    let (status, problem) = put_token(&daemon, "lab", json!({"token": "glpat-3"})).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("conflict")), "{problem}");
    // And no credential of OpenAI, which is not sent to the other provider either.
    server.requests();
    let (status, problem) = put_token(&daemon, "lab", json!({"token": "at-1"})).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("conflict")), "{problem}");
    let (status, problem) = put_token(&daemon, "lab", json!({"token": "at-1", "provider": "openai"})).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("conflict")), "{problem}");
    assert_eq!((daemon.get("/v1/profiles").await, server.requests()), (before, vec![]));
    let revoked = daemon.request("DELETE", "/v1/profiles/lab?revoke=true", &[], "").await.json();
    assert!(revoked["detail"].as_str().unwrap().contains("revoke it at the provider"), "{revoked}");
}

#[tokio::test]
async fn header_of_github_states_the_expiry() {
    let server = Server::start().await;
    let url = &server.url;
    let (_sandbox, daemon) =
        daemon_with(&format!("template = 'github'\ncheck_url = '{url}/user'\nbase_url = '{url}'")).await;
    let expiration = ("github-authentication-token-expiration", "2099-12-31 08:00:00 UTC");
    server.answer(([JSON[0], expiration], json!({"id": 9, "login": "octocat"}).to_string()));
    let (status, stored) = put(&daemon).await;
    assert_eq!((status, &stored["expires_at"]), (200, &json!("2099-12-31T08:00:00Z")), "{stored}");
}

#[tokio::test]
async fn expired_token_needs_another_one() {
    let server = Server::start().await;
    let (_sandbox, daemon) =
        daemon_with(&format!("issuer = '{0}'\ncheck_url = '{0}/self'", server.url)).await;
    let expires_at = authd_broker::now() + jiff::SignedDuration::from_millis(700);
    server.answer((JSON, json!({"expires_at": expires_at}).to_string()));
    assert_eq!(put(&daemon).await.0, 200);
    while daemon.get("/v1/profiles/lab").await["state"] != "login_required" {
        tokio::task::yield_now().await;
    }
    let problem = daemon.request("GET", "/v1/profiles/lab/headers", &[], "").await.json();
    assert_eq!(problem["code"], "login_required", "{problem}");
    assert_eq!(problem["hint"], "run: authctl login lab --with-token < FILE");
}

#[tokio::test]
async fn answer_decides_whether_the_token_is_stored() {
    let server = Server::start().await;
    let (_sandbox, daemon) =
        daemon_with(&format!("issuer = '{0}'\ncheck_url = '{0}/self'", server.url)).await;
    for (status, code, hint) in [
        (401, "login_denied", "create another token"),
        (404, "conflict", "check_url"),
        (302, "conflict", "check_url"),
        (429, "provider_unreachable", "try again"),
        (500, "provider_unreachable", "try again"),
    ] {
        server.answer((StatusCode::from_u16(status).unwrap(), JSON, "{}"));
        let (_, problem) = put(&daemon).await;
        assert_eq!(problem["code"], code, "{status}: {problem}");
        assert!(problem["hint"].as_str().unwrap().contains(hint), "{status}: {problem}");
        assert!(!problem.to_string().contains(TOKEN), "{problem}");
    }
    assert_eq!(daemon.get("/v1/profiles").await["profiles"], json!([]));
}

#[tokio::test]
async fn issuer_is_asked_for_its_userinfo_endpoint() {
    let server = AuthorizationServer::start(json!({"userinfo_endpoint": "URL/userinfo"})).await;
    let sandbox = sandbox().await;
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&server.definition())).await;
    server.answer("/userinfo", 401, json!({"error": "invalid_token"}));
    let (status, problem) = put(&daemon).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("login_denied")), "{problem}");
    server.answer("/userinfo", 200, json!({"sub": "user-1", "email": "user@lab.example"}));
    let (status, stored) = put(&daemon).await;
    assert_eq!((status, &stored["email"]), (200, &json!("user@lab.example")), "{stored}");
    assert_eq!((&stored["issuer"], server.registrations()), (&json!(server.url), 0));
    // A browser login of the same user replaces the token.
    let (login, url) = crate::helpers::start(&daemon, json!({"profile": "lab", "provider": "lab"})).await;
    sandbox.browser().open(&url).await.unwrap();
    let login = crate::helpers::finished(&daemon, &login).await;
    assert_eq!((&login["state"], &login["result"]["name"]), (&json!("succeeded"), &json!("lab")), "{login}");
    assert_eq!(login["result"]["own_credential"], Value::Null);
}

#[tokio::test]
async fn mcp_server_is_asked_to_initialize() {
    let server = Server::start().await;
    let (_sandbox, daemon) = daemon_with(&format!("mcp = '{}/mcp'", server.url)).await;
    server.challenge(StatusCode::UNAUTHORIZED, "Bearer");
    let (status, problem) = put(&daemon).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("login_denied")), "{problem}");
    server.requests();
    server.answer(([JSON[0], ("mcp-session-id", "s1")], "{}"));
    let (status, stored) = put(&daemon).await;
    assert_eq!(
        (status, &stored["state"], &stored["expires_at"]),
        (200, &json!("ready"), &Value::Null),
        "{stored}"
    );
    let bearer = format!("Bearer {TOKEN}");
    // The session that the check has opened is ended.
    assert_eq!(
        server.requests(),
        [("POST /mcp".to_owned(), bearer.clone()), ("DELETE /mcp".to_owned(), bearer)]
    );
    assert_eq!(server.last_header("mcp-session-id").as_deref(), None, "requests were taken");
    let headers = daemon.get("/v1/profiles/lab/headers").await;
    assert_eq!(headers["base_url"], format!("{}/mcp", server.url));
}

#[tokio::test]
async fn base_url_is_used_if_nothing_else_is_known() {
    let server = Server::start().await;
    let url = &server.url;
    let endpoints = format!("authorize_url = '{url}/authorize'\ntoken_url = '{url}/token'\nclient_id = 'me'");
    let (_sandbox, daemon) = daemon_with(&format!("{endpoints}\nbase_url = '{url}/api'")).await;
    server.answer((JSON, "{}"));
    let (status, stored) = put(&daemon).await;
    assert_eq!(status, 200, "{stored}");
    assert_eq!(server.requests(), [("GET /api".to_owned(), format!("Bearer {TOKEN}"))]);
    let (_sandbox, daemon) = daemon_with(&endpoints).await;
    let (status, problem) = put(&daemon).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("conflict")), "{problem}");
    assert!(problem["hint"].as_str().unwrap().starts_with("set check_url in the provider's definition"));
    assert_eq!(server.requests(), [], "no token is sent");
}
