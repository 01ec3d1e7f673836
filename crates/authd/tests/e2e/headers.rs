//! Ready headers, refreshes, the relay, and what is refused at the socket.

use std::time::Duration;

use authd_sandbox::{
    Account, Config, Fault, Route, Routing, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::{AUTHD, daemon, finished, names, question, sandbox, start, value};

#[tokio::test]
async fn both_header_lists_are_those_of_the_contract() {
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
    assert_eq!(value(&personal, "version"), "0.34.0");
    assert!(value(&personal, "User-Agent").starts_with("codex_cli_rs/0.34.0 ("));
    assert!(personal["responses_url"].as_str().unwrap().ends_with("/backend-api/codex/responses"));
    assert!(personal["expires_at"].is_string());
    let work = daemon.get("/v1/profiles/work/headers").await;
    assert_eq!(names(&work), ["Authorization", "version", "OpenAI-Organization", "OpenAI-Project"]);
    assert!(value(&work, "Authorization").starts_with("Bearer sk-"));
    assert!(work["expires_at"].is_null());
}

#[tokio::test]
async fn an_etag_saves_the_answer_and_a_refresh_changes_it() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let first = daemon.request("GET", "/v1/profiles/-/headers", &[], "").await;
    assert_eq!(first.header("cache-control"), "no-store");
    let etag = first.header("etag").to_owned();
    let same = daemon.request("GET", "/v1/profiles/-/headers", &[("If-None-Match", &etag)], "").await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    let profile = daemon.post("/v1/profiles/-/refresh", json!({})).await;
    assert_eq!(profile["generation"], 2);
    let other = daemon.request("GET", "/v1/profiles/-/headers", &[("If-None-Match", &etag)], "").await;
    assert_eq!(other.status, 200);
    // Somebody reports the old generation: it is replaced already.
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
async fn an_expired_token_costs_a_herd_one_refresh() {
    let accounts = [Account::plus().with_lifetime(Duration::from_secs(2))];
    let sandbox = Sandbox::start(Config::with_accounts(accounts)).await.unwrap();
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.put_account(Account::plus());
    let expires = daemon.get("/v1/profiles/-").await["expires_at"].as_str().unwrap().to_owned();
    while daemon.get("/v1/profiles/-").await["state"] != "expired" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asks = (0..1_000).map(|_| daemon.request("GET", "/v1/profiles/-/headers", &[], ""));
    for answer in futures_util::future::join_all(asks).await {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.json()["expires_at"].as_str().unwrap() > expires.as_str());
    }
    assert_eq!(sandbox.count(Route::Refresh), 1);
    let figures = daemon.request("GET", "/v1/metrics", &[], "").await.text();
    assert!(figures.contains("authd_credentials_total{from=\"renewal\"} 1000\n"), "{figures}");
}

#[tokio::test]
async fn the_relay_streams_and_after_a_401_refreshes_and_tries_again() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    for (profile, route) in [("default", Route::ChatGptResponses), ("work", Route::ApiResponses)] {
        let body = question("What is 17+25?").to_string();
        let own = [("Authorization", "Bearer of-the-client"), ("X-Own", "kept")];
        let answer =
            daemon.request("POST", &format!("/v1/profiles/{profile}/relay/responses"), &own, body).await;
        assert!(answer.status.is_success(), "{}", answer.text());
        assert!(
            answer.text().contains("42") && answer.text().contains("response.completed"),
            "{}",
            answer.text()
        );
        let seen = sandbox.requests_of(route).pop().unwrap();
        assert_eq!(seen.header("x-own"), Some("kept"));
        assert_ne!(seen.header("authorization"), Some("Bearer of-the-client"));
    }
    sandbox.expire_access_tokens();
    let body = question("2+2").to_string();
    let answer = daemon.request("POST", "/v1/profiles/default/relay/responses", &[], body).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    assert_eq!(sandbox.count(Route::Refresh), 1);
    let me = daemon.request("GET", "/v1/profiles/default/relay-backend/me", &[], "").await;
    assert!(me.status.is_success(), "{}", me.text());
    let none = daemon.request("GET", "/v1/profiles/work/relay-backend/me", &[], "").await;
    assert_eq!(none.json()["code"], "conflict");
    let climbing = daemon.request("GET", "/v1/profiles/default/relay/%2e%2e/me", &[], "").await;
    assert_eq!(climbing.json()["code"], "bad_request");
}

#[tokio::test]
async fn a_dead_refresh_token_is_tried_once_and_says_what_to_do() {
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
    // What is valid still is served.
    assert_eq!(daemon.request("GET", "/v1/profiles/-/headers", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_lost_answer_loses_no_valid_token_and_is_told_honestly() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::Refresh, Fault::DropAfterCommit);
    // The stored token is tried once more when the network answers, and the caller waits for that.
    let lost = daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await.json();
    assert_eq!(lost["code"], "login_required", "{lost}");
    let told = lost["detail"].as_str().unwrap();
    assert!(told.contains("the answer to a refresh was lost at"), "{told}");
    assert_eq!(sandbox.count(Route::Refresh), 2);
    assert_eq!(daemon.request("GET", "/v1/profiles/-/headers", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_key_of_ones_own_is_kept_and_forgotten() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let key = json!({"api_key": sandbox.issue_api_key("business")}).to_string();
    let put = daemon.request("PUT", "/v1/profiles/own/api-key", &[], key).await;
    assert_eq!(put.json()["mode"], "api-key", "{}", put.text());
    let nothing = daemon.request("POST", "/v1/profiles/own/refresh", &[], "{}").await;
    assert_eq!(nothing.json()["code"], "conflict");
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
    let taken = daemon.request("PATCH", "/v1/profiles/home", &[], r#"{"name":"work"}"#).await;
    assert_eq!(taken.json()["code"], "conflict");
    assert_eq!(daemon.request("DELETE", "/v1/profiles/home?revoke=true", &[], "").await.status, 204);
    assert_eq!(sandbox.count(Route::Revoke), 1);
}

/// Method, path, headers, body, and the code of the problem that answers them.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Vec<u8>, &'a str);

#[tokio::test]
async fn the_socket_serves_no_web_page_and_bad_input_changes_nothing() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let large = vec![b'x'; (1 << 20) + 1];
    let cases: [Case<'_>; 12] = [
        ("GET", "/v1/status", &[("Origin", "http://evil.example")], vec![], "forbidden"),
        ("GET", "/v1/status", &[("Referer", "http://evil.example/")], vec![], "forbidden"),
        ("GET", "/v1/nothing", &[], vec![], "not_found"),
        ("PUT", "/v1/status", &[], vec![], "method_not_allowed"),
        ("POST", "/v1/logins", &[], b"{".to_vec(), "bad_request"),
        ("POST", "/v1/logins", &[], br#"{"profil":"x"}"#.to_vec(), "bad_request"),
        ("POST", "/v1/logins", &[], br#"{"profile":"UPPER"}"#.to_vec(), "bad_request"),
        ("POST", "/v1/logins", &[], large, "too_large"),
        ("GET", "/v1/profiles/nobody/headers", &[], vec![], "profile_unknown"),
        ("GET", "/v1/profiles/-/headers?min_ttl=x", &[], vec![], "bad_request"),
        ("GET", "/v1/logins/lg_none", &[], vec![], "login_unknown"),
        ("PATCH", "/v1/profiles/-", &[], b"{}".to_vec(), "bad_request"),
    ];
    for (method, path, headers, body, code) in cases {
        let answer = daemon.request(method, path, headers, body).await;
        let problem = answer.json();
        assert_eq!(problem["code"], code, "{method} {path}: {problem}");
        assert_eq!(problem["status"], answer.status.as_u16());
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(!answer.header("authd-version").is_empty());
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
    daemon.request("POST", "/v1/profiles/default/relay/responses", &[], question("2+2").to_string()).await;
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

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// The old sign-in's token may know nothing of the new one's workspace.
#[tokio::test]
async fn a_new_sign_ins_workspace_is_asked_for_with_its_own_token() {
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
async fn a_workspace_with_a_host_of_its_own_is_routed_there() {
    let sandbox = sandbox().await;
    // The workspace's own host is the same stand-in, under its other name.
    let port = sandbox.address().port();
    let own = format!("http://localhost:{port}");
    let routing = Some(Routing { backend_origin: own.clone(), region: "eu".into() });
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
        assert_eq!(base.starts_with(&own), routed, "a host that nobody named gets no token: {base}");
        let body = question("What is 2+2?").to_string();
        let answer = daemon.request("POST", "/v1/profiles/-/relay/responses", &[], body).await;
        assert!(answer.status.is_success(), "{}", answer.text());
        // It is asked daily, however often the daemon is started.
        let asked = sandbox.count(Route::WhamAccountsCheck);
        daemon.restart().await;
        daemon.post("/v1/profiles/-/refresh", json!({})).await;
        assert_eq!(sandbox.count(Route::WhamAccountsCheck), asked);
    }
}

#[tokio::test]
async fn a_reload_that_changes_the_headers_changes_their_tag() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let path = "/v1/profiles/-/headers";
    let tag = daemon.request("GET", path, &[], "").await.header("etag").to_owned();
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), format!("{config}\n[client]\noriginator = 'another'\n")).unwrap();
    daemon.signal(rustix::process::Signal::HUP);
    let mut now = daemon.get(path).await;
    while value(&now, "originator") != "another" {
        now = daemon.get(path).await;
    }
    let asked = daemon.request("GET", path, &[("If-None-Match", &tag)], "").await;
    assert_eq!((asked.status.as_u16(), &asked.json()), (200, &now));
    assert_eq!(now["generation"], 1, "the credential is the same");
    let tag = asked.header("etag").to_owned();
    assert_eq!(daemon.request("GET", path, &[("If-None-Match", &tag)], "").await.status, 304);
}

/// As if the profile's credential had been issued that long ago; the daemon must not run.
async fn age(daemon: &TestDaemon, past: Duration) {
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
    // The store's thread gives the state directory back when it ends.
    while authd_store::StateDir::open(daemon.state()).is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_wish_that_cannot_be_met_is_refused_and_the_old_token_goes_to_whoever_has_none() {
    let accounts = [Account::plus().with_lifetime(Duration::from_secs(3600))];
    let sandbox = Sandbox::start(Config::with_accounts(accounts)).await.unwrap();
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    daemon.sigterm_and_wait().await;
    age(&daemon, Duration::from_secs(1800)).await;
    daemon.start_again().await;
    // A new token would last 5400 s, this one lasts 3600.
    let (wish, usual) = ("/v1/profiles/-/headers?min_ttl=4000", "/v1/profiles/-/headers");
    let ask = async |path: &str| daemon.request("GET", path, &[], "").await;
    sandbox.faults().push_times(Route::Refresh, Fault::status(503, ""), usize::MAX);
    let refused = ask(wish).await;
    assert_eq!(refused.json()["code"], "provider_unreachable", "{}", refused.text());
    assert_ne!(refused.header("retry-after"), "");
    for met in [usual, "/v1/profiles/-/headers?min_ttl=3000"] {
        assert_eq!(ask(met).await.json()["generation"], 1, "{met}");
    }
    sandbox.faults().clear();
    sandbox.expire_refresh_tokens();
    let mut refused = ask(wish).await.json();
    while refused["code"] == "provider_unreachable" {
        refused = ask(wish).await.json();
    }
    assert_eq!(refused["code"], "login_required", "{refused}");
    assert_eq!(ask(usual).await.json()["generation"], 1);
}
