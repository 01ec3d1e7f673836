//! Headers of a profile, refreshes, the relay, and requests that the socket refuses.

use std::time::Duration;

use authd_oauth::CODEX_VERSION;
use authd_sandbox::{
    Account, Config, Fault, Route, Routing, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::helpers::{AUTHD, daemon, finished, names, responses_request, sandbox, start, value};

#[tokio::test]
async fn each_mode_has_the_documented_headers_in_order() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).env("OPENAI_ORGANIZATION", "org-1");
    let daemon = TestDaemon::start(config.env("OPENAI_PROJECT", "proj-1")).await;
    daemon.sign_in("personal", "plus").await;
    daemon.sign_in("work", "business").await;
    let personal = daemon.get("/v1/profiles/personal/headers").await;
    let order = [
        "Authorization",
        "chatgpt-account-id",
        "version",
        "OpenAI-Organization",
        "OpenAI-Project",
        "originator",
        "User-Agent",
    ];
    assert_eq!(names(&personal), order);
    assert_eq!(value(&personal, "chatgpt-account-id"), Account::plus().account_id);
    assert_eq!(value(&personal, "version"), CODEX_VERSION);
    assert!(value(&personal, "User-Agent").starts_with(&format!("codex_cli_rs/{CODEX_VERSION} (")));
    assert!(personal["responses_url"].as_str().unwrap().ends_with("/backend-api/codex/responses"));
    assert!(personal["expires_at"].is_string());
    let work = daemon.get("/v1/profiles/work/headers").await;
    assert_eq!(names(&work), ["Authorization", "version", "OpenAI-Organization", "OpenAI-Project"]);
    assert!(value(&work, "Authorization").starts_with("Bearer sk-"));
    assert!(work["expires_at"].is_null());
}

#[tokio::test]
async fn a_matching_etag_gives_304_until_a_refresh() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let first = daemon.request("GET", "/v1/profiles/-/headers", &[], "").await;
    assert_eq!(first.header("cache-control"), "no-store");
    let etag = first.header("etag").to_owned();
    let unchanged = daemon.request("GET", "/v1/profiles/-/headers", &[("If-None-Match", &etag)], "").await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
    let profile = daemon.post("/v1/profiles/-/refresh", json!({})).await;
    assert_eq!(profile["generation"], 2);
    let changed = daemon.request("GET", "/v1/profiles/-/headers", &[("If-None-Match", &etag)], "").await;
    assert_eq!(changed.status, 200);
    // A client reports the old generation, which is replaced already.
    daemon.post("/v1/profiles/-/refresh", json!({"rejected_generation": 1})).await;
    assert_eq!(sandbox.count(Route::Refresh), 1);
}

#[tokio::test]
async fn a_restart_needs_no_new_login() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    let before = daemon.get("/v1/profiles/-/headers").await;
    daemon.restart().await;
    assert_eq!(daemon.get("/v1/profiles/-/headers").await, before);
    daemon.post("/v1/profiles/-/refresh", json!({})).await;
    daemon.kill9().await;
    daemon.start_again().await;
    assert_eq!(daemon.get("/v1/profiles/-/headers").await["generation"], 2);
    daemon.post("/v1/profiles/-/refresh", json!({})).await;
    assert_eq!(daemon.get("/v1/status").await["store"]["kind"], "file");
}

#[tokio::test]
async fn a_thousand_requests_for_an_expired_token_share_one_refresh() {
    let accounts = [Account::plus().with_lifetime(Duration::from_secs(2))];
    let sandbox = Sandbox::start(Config::with_accounts(accounts)).await.unwrap();
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.put_account(Account::plus());
    let expires = daemon.get("/v1/profiles/-").await["expires_at"].as_str().unwrap().to_owned();
    while daemon.get("/v1/profiles/-").await["state"] != "expired" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let requests = (0..1_000).map(|_| daemon.request("GET", "/v1/profiles/-/headers", &[], ""));
    for response in futures_util::future::join_all(requests).await {
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(response.json()["expires_at"].as_str().unwrap() > expires.as_str());
    }
    assert_eq!(sandbox.count(Route::Refresh), 1);
    let metrics = daemon.request("GET", "/v1/metrics", &[], "").await.text();
    let count = |source: &str| {
        let line = format!("authd_credentials_total{{from=\"{source}\"}} ");
        metrics.lines().find_map(|text| text.strip_prefix(&*line)?.parse::<u32>().ok()).unwrap()
    };
    // A request that arrives after the refresh gets the credential from memory.
    assert_eq!((count("renewal") + count("cache"), count("nowhere")), (1_000, 0), "{metrics}");
    assert!(count("renewal") > 0, "{metrics}");
}

#[tokio::test]
async fn the_relay_refreshes_after_a_401_and_retries() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    for (profile, route) in [("default", Route::ChatGptResponses), ("work", Route::ApiResponses)] {
        let body = responses_request("What is 17+25?").to_string();
        let headers = [("Authorization", "Bearer of-the-client"), ("X-Own", "kept")];
        let response =
            daemon.request("POST", &format!("/v1/profiles/{profile}/relay/responses"), &headers, body).await;
        assert!(response.status.is_success(), "{}", response.text());
        assert!(
            response.text().contains("42") && response.text().contains("response.completed"),
            "{}",
            response.text()
        );
        let request = sandbox.requests_of(route).pop().unwrap();
        assert_eq!(request.header("x-own"), Some("kept"));
        assert_ne!(request.header("authorization"), Some("Bearer of-the-client"));
    }
    sandbox.expire_access_tokens();
    let body = responses_request("2+2").to_string();
    let response = daemon.request("POST", "/v1/profiles/default/relay/responses", &[], body).await;
    assert!(response.status.is_success(), "{}", response.text());
    assert_eq!(sandbox.count(Route::Refresh), 1);
    let me = daemon.request("GET", "/v1/profiles/default/relay-backend/me", &[], "").await;
    assert!(me.status.is_success(), "{}", me.text());
    let none = daemon.request("GET", "/v1/profiles/work/relay-backend/me", &[], "").await;
    assert_eq!(none.json()["code"], "conflict");
    let traversal = daemon.request("GET", "/v1/profiles/default/relay/%2e%2e/me", &[], "").await;
    assert_eq!(traversal.json()["code"], "bad_request");
}

#[tokio::test]
async fn a_dead_refresh_token_is_sent_once_and_the_error_names_the_command() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.expire_refresh_tokens();
    let refused = daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
    assert_eq!(refused.status, 409, "{}", refused.text());
    let problem = refused.json();
    assert_eq!(problem["code"], "login_required");
    assert_eq!(problem["hint"], "run: authctl login default");
    assert!(problem["detail"].as_str().unwrap().contains("expired"), "{problem}");
    daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
    assert_eq!(sandbox.count(Route::Refresh), 1, "one attempt, no loop");
    // The access token is still valid, so it is served.
    assert_eq!(daemon.request("GET", "/v1/profiles/-/headers", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_lost_refresh_response_is_explained_and_the_valid_token_served() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::Refresh, Fault::DropAfterCommit);
    // The daemon sends the stored token once more, and the caller waits for the result.
    let lost = daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await.json();
    assert_eq!(lost["code"], "login_required", "{lost}");
    let detail = lost["detail"].as_str().unwrap();
    assert!(detail.contains("the response to the refresh at") && detail.contains("was lost"), "{detail}");
    assert_eq!(sandbox.count(Route::Refresh), 2);
    assert_eq!(daemon.request("GET", "/v1/profiles/-/headers", &[], "").await.status, 200);
}

#[tokio::test]
async fn an_own_api_key_is_stored_and_deleted() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let key = json!({"api_key": sandbox.issue_api_key("business")}).to_string();
    let put = daemon.request("PUT", "/v1/profiles/own/api-key", &[], key).await;
    assert_eq!(put.json()["mode"], "api-key", "{}", put.text());
    let refused = daemon.request("POST", "/v1/profiles/own/refresh", &[], "{}").await;
    assert_eq!(refused.json()["code"], "conflict");
    let bad = daemon.request("PUT", "/v1/profiles/own/api-key", &[], r#"{"api_key":"a b"}"#).await;
    assert_eq!(bad.json()["code"], "bad_request");
    assert_eq!(daemon.request("DELETE", "/v1/profiles/own", &[], "").await.status, 204);
    assert_eq!(daemon.request("GET", "/v1/profiles/own", &[], "").await.json()["code"], "profile_unknown");
}

#[tokio::test]
async fn profiles_are_renamed_made_default_and_revoked() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let renamed = daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"home"}"#).await;
    assert_eq!(
        (renamed.json()["name"].as_str(), renamed.json()["default"].as_bool()),
        (Some("home"), Some(true))
    );
    daemon.request("PATCH", "/v1/profiles/work", &[], r#"{"default":true}"#).await;
    daemon.restart().await;
    assert_eq!(daemon.get("/v1/profiles").await["default"], "work");
    assert_eq!(daemon.request("GET", "/v1/profiles/home/headers", &[], "").await.status, 200);
    let conflict = daemon.request("PATCH", "/v1/profiles/home", &[], r#"{"name":"work"}"#).await;
    assert_eq!(conflict.json()["code"], "conflict");
    assert_eq!(daemon.request("DELETE", "/v1/profiles/home?revoke=true", &[], "").await.status, 204);
    assert_eq!(sandbox.count(Route::Revoke), 1);
}

/// Method, path, headers and body of a request, and the code of the expected problem.
type RefusalCase<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Vec<u8>, &'a str);

#[tokio::test]
async fn requests_of_web_pages_and_invalid_requests_are_refused() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let large = vec![b'x'; (1 << 20) + 1];
    let cases: [RefusalCase<'_>; 13] = [
        ("GET", "/v1/status", &[("Origin", "http://evil.example")], vec![], "forbidden"),
        ("GET", "/v1/status", &[("Referer", "http://evil.example/")], vec![], "forbidden"),
        ("GET", "/v1/status", &[("Sec-Fetch-Site", "cross-site")], vec![], "forbidden"),
        ("GET", "/v1/nothing", &[], vec![], "not_found"),
        ("PUT", "/v1/status", &[], vec![], "method_not_allowed"),
        ("POST", "/v1/logins", &[], b"{".to_vec(), "bad_request"),
        ("POST", "/v1/logins", &[], br#"{"profil":"x"}"#.to_vec(), "bad_request"),
        ("POST", "/v1/logins", &[], br#"{"profile":"UPPER"}"#.to_vec(), "bad_request"),
        ("POST", "/v1/logins", &[], large, "too_large"),
        ("GET", "/v1/profiles/unknown/headers", &[], vec![], "profile_unknown"),
        ("GET", "/v1/profiles/-/headers?min_ttl=x", &[], vec![], "bad_request"),
        ("GET", "/v1/logins/lg_none", &[], vec![], "login_unknown"),
        ("PATCH", "/v1/profiles/-", &[], b"{}".to_vec(), "bad_request"),
    ];
    for (method, path, headers, body, code) in cases {
        let response = daemon.request(method, path, headers, body).await;
        let problem = response.json();
        assert_eq!(problem["code"], code, "{method} {path}: {problem}");
        assert_eq!(problem["status"], response.status.as_u16());
        assert_eq!(response.header("content-type"), "application/problem+json");
        assert!(!response.header("authd-version").is_empty());
    }
    let unknown = daemon.request("POST", "/v1/logins", &[], r#"{"profil":"x"}"#).await;
    assert!(unknown.json()["detail"].as_str().unwrap().contains("profil"), "{}", unknown.text());
    assert_eq!(daemon.get("/v1/profiles").await["profiles"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn no_issued_secret_is_ever_logged() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file").env("RUST_LOG", "trace");
    let mut daemon = TestDaemon::start(config).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    daemon.post("/v1/profiles/default/refresh", json!({})).await;
    sandbox.faults().push(Route::Refresh, Fault::Garbage);
    daemon.request("POST", "/v1/profiles/default/refresh", &[], "{}").await;
    daemon
        .request("POST", "/v1/profiles/default/relay/responses", &[], responses_request("2+2").to_string())
        .await;
    daemon.sigterm_and_wait().await;
    let (log, secrets) = (daemon.log(), sandbox.issued_secrets());
    assert!(secrets.len() > 8 && log.len() > 200);
    for secret in &secrets {
        assert!(!log.contains(secret.as_str()), "a secret is in the log");
    }
    for entry in walk(&daemon.state()) {
        let content = std::fs::read(&entry).unwrap();
        for secret in &secrets {
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "a secret is in {}", entry.display());
        }
    }
}

pub(crate) fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// The token of the old login may not give access to the workspace of the new one.
#[tokio::test]
async fn a_new_logins_routing_is_fetched_with_its_own_token() {
    let sandbox = sandbox().await;
    let routing = Some(Routing { backend_origin: "https://eu.chatgpt.com".into(), region: "eu".into() });
    sandbox.put_account(Account { routing, ..Account::business_without_organization() });
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.wait_for(Route::WhamAccountsCheck, 1).await;
    let (login, url) = start(&daemon, json!({"replace": true})).await;
    daemon.browse(&url, "business-without-organization").await;
    assert_eq!(finished(&daemon, &login).await["result"]["name"], "default");
    while !daemon.get("/v1/profiles/-/headers").await["base_url"].as_str().unwrap().starts_with("https://eu.")
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_go_to_the_workspaces_host_only_if_it_is_configured() {
    let sandbox = sandbox().await;
    // The workspace's host is the same sandbox under another name.
    let port = sandbox.address().port();
    let workspace_url = format!("http://localhost:{port}");
    let routing = Some(Routing { backend_origin: workspace_url.clone(), region: "eu".into() });
    sandbox.put_account(Account { routing, ..Account::plus() });
    let toml = format!("workspace_hosts = [\"localhost:{port}\"]");
    for (toml, routed) in [(toml.as_str(), true), ("", false)] {
        let config = TestDaemonConfig::new(AUTHD, &sandbox).provider(toml).store("file");
        let mut daemon = TestDaemon::start(config).await;
        daemon.sign_in("default", "plus").await;
        let mut headers = daemon.get("/v1/profiles/-/headers").await;
        while headers["headers"]
            .as_array()
            .unwrap()
            .iter()
            .all(|pair| pair[0] != "x-openai-account-routing-override")
        {
            headers = daemon.get("/v1/profiles/-/headers").await;
        }
        assert_eq!(value(&headers, "x-openai-account-routing-override"), "eu");
        let base = headers["base_url"].as_str().unwrap();
        assert_eq!(
            base.starts_with(&workspace_url),
            routed,
            "a host outside the configuration gets no token: {base}"
        );
        let body = responses_request("What is 2+2?").to_string();
        let response = daemon.request("POST", "/v1/profiles/-/relay/responses", &[], body).await;
        assert!(response.status.is_success(), "{}", response.text());
        // The routing is fetched daily, however often the daemon starts.
        let checks = sandbox.count(Route::WhamAccountsCheck);
        daemon.restart().await;
        daemon.post("/v1/profiles/-/refresh", json!({})).await;
        assert_eq!(sandbox.count(Route::WhamAccountsCheck), checks);
    }
}

/// Sets back the issue time of the profile's credential. The daemon must not run.
async fn make_older(daemon: &TestDaemon, past: Duration) {
    let key = authd_store::KeySource {
        credentials_directory: None,
        passphrase_file: None,
        key_file: daemon.state().join("store.key"),
    };
    let config = authd_store::Config {
        kind: authd_store::StorePreference::File,
        service: String::new(),
        key,
        deadline: Duration::from_secs(20),
        memory_control: None,
    };
    let state_dir = authd_store::StateDir::open(daemon.state()).unwrap();
    let (store, key) = (authd_store::Store::open(config, state_dir), authd_store::Key::profile("default"));
    let record = store.load(&key).await.unwrap().unwrap();
    let mut record: serde_json::Value = serde_json::from_str(record.expose_secret()).unwrap();
    let issued: jiff::Timestamp = record["issued_at"].as_str().unwrap().parse().unwrap();
    record["issued_at"] = json!(issued - past);
    store.save(&key, "", record.to_string().into()).await.unwrap();
    drop(store);
    // The store's thread releases the state directory when it ends.
    while authd_store::StateDir::open(daemon.state()).is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_min_ttl_that_no_token_has_is_refused_and_other_requests_are_served() {
    let accounts = [Account::plus().with_lifetime(Duration::from_secs(3600))];
    let sandbox = Sandbox::start(Config::with_accounts(accounts)).await.unwrap();
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    daemon.sigterm_and_wait().await;
    make_older(&daemon, Duration::from_secs(1800)).await;
    daemon.start_again().await;
    // A new token would last 5400 s, this one lasts 3600.
    let (long_ttl, any_ttl) = ("/v1/profiles/-/headers?min_ttl=4000", "/v1/profiles/-/headers");
    let get = async |path: &str| daemon.request("GET", path, &[], "").await;
    sandbox.faults().push_times(Route::Refresh, Fault::status(503, ""), usize::MAX);
    let refused = get(long_ttl).await;
    assert_eq!(refused.json()["code"], "provider_unreachable", "{}", refused.text());
    assert_ne!(refused.header("retry-after"), "");
    for path in [any_ttl, "/v1/profiles/-/headers?min_ttl=3000"] {
        assert_eq!(get(path).await.json()["generation"], 1, "{path}");
    }
    sandbox.faults().clear();
    sandbox.expire_refresh_tokens();
    let mut refused = get(long_ttl).await.json();
    while refused["code"] == "provider_unreachable" {
        refused = get(long_ttl).await.json();
    }
    assert_eq!(refused["code"], "login_required", "{refused}");
    assert_eq!(get(any_ttl).await.json()["generation"], 1);
}
