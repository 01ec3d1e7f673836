//! The providers of the configuration, and the dry check of one.

use std::fs;

use authd_api::{Client, ErrorCode, ProviderCheckBody};
use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use axum::{Router, http::StatusCode, routing::get};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::helpers::{AUTHD, reload, sandbox};

/// A server whose issuer is its origin, and whose path `/mcp` requires a token.
pub(crate) async fn start_provider(changes: Value) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut metadata = json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "registration_endpoint": format!("{url}/register"),
        "code_challenge_methods_supported": ["S256"],
    });
    metadata.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let resource = json!({"resource": format!("{url}/mcp"), "authorization_servers": [url]});
    let document = |value: Value| get(async move || value.to_string());
    let router = Router::new()
        .route("/.well-known/oauth-authorization-server", document(metadata))
        .route("/.well-known/oauth-protected-resource/mcp", document(resource))
        .route("/mcp", get(async || (StatusCode::UNAUTHORIZED, [("www-authenticate", "Bearer")])));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

pub(crate) fn aspect<'a>(check: &'a Value, name: &str) -> &'a Value {
    let aspects = check["aspects"].as_array().unwrap();
    aspects.iter().find(|aspect| aspect["aspect"] == name).unwrap_or_else(|| panic!("{name}: {check}"))
}

#[tokio::test]
async fn providers_are_listed_and_checked_by_name_and_by_url() {
    let (sandbox, url) = (sandbox().await, start_provider(json!({})).await);
    let toml = format!(
        "[providers.lab]\nissuer = '{url}'\nclient_id = 'me'\n[providers.tools]\nmcp = '{url}/mcp'\n\
         [providers.mine]\ntemplate = 'github'\nclient_id = 'me'\n"
    );
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&toml)).await;
    let listed = daemon.get("/v1/providers").await;
    let listed: Vec<String> = listed["providers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one["name"].as_str().unwrap(), one["defined_in"].as_str().unwrap()))
        .collect();
    assert_eq!(
        listed,
        [
            "openai built_in",
            "lab configuration",
            "mine configuration",
            "tools configuration",
            "github template",
            "gitlab template",
            "google template",
            "microsoft template",
        ]
    );
    let check =
        async |provider: &str| daemon.post("/v1/providers/check", json!({"provider": provider})).await;
    let lab = check("lab").await;
    assert_eq!((&lab["ok"], &aspect(&lab, "client id")["detail"]), (&json!(true), &json!("configured")));
    assert_eq!(lab["requests"].as_array().unwrap().len(), 1);
    for mcp in ["tools".to_owned(), format!("{url}/mcp")] {
        let tools = check(&mcp).await;
        assert_eq!(aspect(&tools, "MCP server")["detail"], format!("{url}/mcp"));
        assert_eq!(aspect(&tools, "issuer")["detail"], url);
        assert_eq!(
            aspect(&tools, "client id")["detail"],
            format!("by dynamic registration at {url}/register")
        );
    }
    assert_eq!(aspect(&check(&url).await, "issuer")["detail"], url);
    let mine = check("mine").await;
    assert_eq!(mine["requests"], json!([]), "the endpoints are known");
    assert_eq!(aspect(&mine, "device flow")["detail"], "https://github.com/login/device/code");
    let github = check("github").await;
    assert_eq!(aspect(&github, "client id")["state"], "warning");
    assert!(aspect(&github, "client id")["remedy"].as_str().unwrap().contains("github.com/settings"));
    assert_eq!(check("openai").await["ok"], true);
    let unknown = daemon.request("POST", "/v1/providers/check", &[], r#"{"provider":"slack"}"#).await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["code"]), (404, &json!("provider_unknown")));
}

#[tokio::test]
async fn a_reload_takes_changed_definitions() {
    let sandbox = sandbox().await;
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox)).await;
    let configured = async || {
        let listed = daemon.get("/v1/providers").await;
        let all = listed["providers"].as_array().unwrap().iter();
        all.filter(|one| one["defined_in"] == "configuration")
            .map(|one| one["name"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(configured().await, [] as [Value; 0]);
    let before = fs::read_to_string(daemon.config()).unwrap();
    fs::write(daemon.config(), format!("{before}\n[providers.lab]\nmcp = 'https://rs.example/mcp'\n"))
        .unwrap();
    reload(&daemon).await;
    assert_eq!(configured().await, ["lab"]);
}

#[tokio::test]
async fn a_check_of_a_silent_provider_does_not_delay_the_shutdown() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox)).await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let body = ProviderCheckBody { provider: format!("http://{}", silent.local_addr().unwrap()) };
    let client = Client::new(daemon.socket());
    let check = tokio::spawn(async move { client.check_provider(&body).await });
    let _connection = silent.accept().await.unwrap();
    assert!(daemon.sigterm_and_wait().await.success());
    assert_eq!(check.await.unwrap().unwrap_err().code(), ErrorCode::ShuttingDown);
    assert!(!daemon.log().contains("unfinished work"), "{}", daemon.log());
}

#[tokio::test]
async fn a_failed_check_gives_a_reason_and_changes_nothing() {
    let sandbox = sandbox().await;
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox)).await;
    // The daemon answers once it has the list of profiles. Before, the status changes by itself.
    daemon.get("/v1/profiles").await;
    for (changes, reason) in [
        (json!({"issuer": "https://other.example"}), "belongs to https://other.example, and"),
        (json!({"token_endpoint": "http://as.example/token"}), "token_endpoint is not an https URL"),
        (json!({"code_challenge_methods_supported": []}), "does not offer PKCE with S256"),
    ] {
        let url = start_provider(changes).await;
        let before = daemon.get("/v1/status").await;
        let check = daemon.post("/v1/providers/check", json!({"provider": format!("{url}/mcp")})).await;
        assert_eq!(check["ok"], false);
        let failed = aspect(&check, "discovery");
        assert!(failed["detail"].as_str().unwrap().contains(reason), "{check}");
        assert!(failed["remedy"].is_string(), "{check}");
        assert_eq!(daemon.get("/v1/status").await, before);
    }
    let insecure = daemon.post("/v1/providers/check", json!({"provider": "http://as.example"})).await;
    assert_eq!(insecure["requests"], json!([]));
}
