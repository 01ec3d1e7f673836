//! Logins in the browser: successes and failures.

use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use authd_sandbox::{Account, Config, Fault, Route, Sandbox};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::{
    helpers::{AUTHD, daemon, finished, sandbox, start},
    upstream::send_head,
};

#[tokio::test]
async fn each_kind_of_account_gets_its_mode_and_a_reason() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let personal = daemon.sign_in("personal", "plus").await["result"].clone();
    assert_eq!(personal["mode"], "chatgpt", "{personal}");
    assert_eq!(personal["mode_reason"], "plan plus is personal");
    assert_eq!(sandbox.count(Route::ApiKeyExchange), 0, "a personal plan needs no exchange");
    let work = daemon.sign_in("work", "business").await["result"].clone();
    assert_eq!(work["mode"], "api-key", "{work}");
    assert_eq!(work["state"], "ready");
    assert!(work["expires_at"].is_null());
    let bare = daemon.sign_in("bare", "business-without-organization").await["result"].clone();
    assert_eq!(bare["mode"], "chatgpt");
    let reason = bare["mode_reason"].as_str().unwrap();
    assert!(reason.contains("missing organization_id"), "{reason}");
    let profiles = daemon.get("/v1/profiles").await;
    assert_eq!(profiles["default"], "personal");
    assert_eq!(profiles["profiles"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_forced_api_key_mode_fails_with_the_providers_reason() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (login, url) = start(&daemon, json!({"mode": "api-key"})).await;
    let page = daemon.browse(&url, "business-without-organization").await;
    assert!(page.html.contains("missing organization_id"), "{}", page.html);
    let login = finished(&daemon, &login).await;
    assert_eq!(login["error"]["code"], "login_denied", "{login}");
    assert!(login["error"]["detail"].as_str().unwrap().contains("missing organization_id"));
    assert_eq!(daemon.get("/v1/profiles").await["profiles"], json!([]));
}

#[tokio::test]
async fn a_denied_login_is_explained_on_the_page_and_to_the_client() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for (choice, reason) in
        [("deny", "denied"), ("no_entitlement", "Codex is not enabled for your workspace")]
    {
        let (login, url) = start(&daemon, json!({})).await;
        let page = sandbox.browser().refuse(&url, choice).await.unwrap();
        assert_eq!(page.status, 400);
        assert!(page.html.contains(reason), "{}", page.html);
        let login = finished(&daemon, &login).await;
        assert_eq!(login["state"], "failed");
        assert_eq!(login["error"]["code"], "login_denied");
        assert!(login["error"]["detail"].as_str().unwrap().contains(reason), "{login}");
    }
}

#[tokio::test]
async fn an_error_of_the_code_exchange_reaches_the_page_and_the_client() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let body = r#"{"error":{"message":"Invalid request. Please try again later.","code":"token_exchange_user_error"}}"#;
    sandbox.faults().push(Route::CodeExchange, Fault::status(400, body));
    let (login, url) = start(&daemon, json!({})).await;
    let page = daemon.browse(&url, "plus").await;
    assert!(page.html.contains("could not be completed"), "{}", page.html);
    assert_eq!(finished(&daemon, &login).await["error"]["code"], "login_denied");
}

#[tokio::test]
async fn a_callback_with_a_wrong_state_changes_nothing() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (login, url) = start(&daemon, json!({})).await;
    let callback_url = sandbox.browser().redirect(&url, "plus").await.unwrap();
    let state = callback_url.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let forged = callback_url.replace(state, &"x".repeat(state.len()));
    assert_eq!(sandbox.browser().open(&forged).await.unwrap().status, 400);
    assert_eq!(
        daemon.get(&format!("/v1/logins/{}", login["id"].as_str().unwrap())).await["state"],
        "pending"
    );
    assert_eq!(sandbox.count(Route::CodeExchange), 0);
    assert_eq!(sandbox.browser().open(&callback_url).await.unwrap().status, 200);
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    // The page of a repeated callback names the login, and the code is not redeemed again.
    let repeated = sandbox.browser().open(&callback_url).await.unwrap();
    assert!(repeated.status == 200 && repeated.html.contains("already signed in"), "{}", repeated.html);
    assert_eq!(sandbox.count(Route::CodeExchange), 1);
}

#[tokio::test]
async fn a_code_of_another_attempt_is_refused() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (first, first_url) = start(&daemon, json!({"profile": "first"})).await;
    let (_, second_url) = start(&daemon, json!({"profile": "second"})).await;
    let (first_callback, second_callback) = (
        sandbox.browser().redirect(&first_url, "plus").await.unwrap(),
        sandbox.browser().redirect(&second_url, "plus").await.unwrap(),
    );
    let code = |url: &str| url.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let mixed = first_callback.replace(&code(&first_callback), &code(&second_callback));
    assert_eq!(sandbox.browser().open(&mixed).await.unwrap().status, 400);
    let first = finished(&daemon, &first).await;
    assert_eq!(first["error"]["code"], "login_denied", "{first}");
}

#[tokio::test]
async fn several_pending_logins_finish_in_any_order() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (first, first_url) = start(&daemon, json!({"profile": "first"})).await;
    let (second, second_url) = start(&daemon, json!({"profile": "second"})).await;
    assert_eq!(daemon.get("/v1/status").await["pending_logins"], 2);
    daemon.browse(&second_url, "business").await;
    daemon.browse(&first_url, "plus").await;
    assert_eq!(finished(&daemon, &second).await["result"]["name"], "second");
    assert_eq!(finished(&daemon, &first).await["result"]["email"], Account::plus().email);
    assert_eq!(daemon.get("/v1/status").await["pending_logins"], 0);
}

#[tokio::test]
async fn another_user_under_a_used_name_gets_the_next_free_name() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    assert_eq!(daemon.sign_in("default", "business").await["result"]["name"], "default-2");
    let repeated = daemon.sign_in("default", "plus").await["result"].clone();
    assert_eq!((repeated["name"].as_str(), repeated["generation"].as_u64()), (Some("default"), Some(2)));
    let (login, url) = start(&daemon, json!({"replace": true})).await;
    daemon.browse(&url, "business").await;
    assert_eq!(finished(&daemon, &login).await["result"]["name"], "default");
}

#[tokio::test]
async fn a_pending_login_survives_a_crash() {
    let sandbox = sandbox().await;
    // The redirect URI contains the port, so the new daemon must have the same one.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file");
    let mut daemon = TestDaemon::start(config).await;
    let toml = std::fs::read_to_string(daemon.config())
        .unwrap()
        .replace("ports = [0]", &format!("ports = [{port}]"));
    std::fs::write(daemon.config(), toml).unwrap();
    daemon.restart().await;
    let (login, url) = start(&daemon, json!({})).await;
    daemon.kill9().await;
    daemon.start_again().await;
    let page = daemon.browse(&url, "plus").await;
    assert_eq!(page.status, 200, "{}", page.html);
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
}

#[tokio::test]
async fn a_callback_url_can_be_pasted_and_a_login_cancelled() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (login, url) = start(&daemon, json!({})).await;
    let path = format!("/v1/logins/{}", login["id"].as_str().unwrap());
    let callback_url = sandbox.browser().redirect(&url, "plus").await.unwrap();
    let wrong =
        daemon.request("POST", &format!("{path}/callback"), &[], json!({"url": "hello"}).to_string()).await;
    assert_eq!((wrong.status.as_u16(), wrong.json()["code"].as_str()), (400, Some("bad_request")));
    let done = daemon.post(&format!("{path}/callback"), json!({"url": callback_url})).await;
    assert_eq!(done["state"], "succeeded", "{done}");
    let (other, other_url) = start(&daemon, json!({})).await;
    let path = format!("/v1/logins/{}", other["id"].as_str().unwrap());
    assert_eq!(daemon.request("DELETE", &path, &[], "").await.status, 204);
    assert_eq!(daemon.get(&path).await["state"], "cancelled");
    assert_eq!(daemon.browse(&other_url, "plus").await.status, 400);
}

#[tokio::test]
async fn a_failed_key_exchange_is_retried_and_does_not_change_the_mode() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    sandbox.faults().push_times(Route::ApiKeyExchange, Fault::status(503, ""), 2);
    let login = daemon.sign_in("work", "business").await;
    assert_eq!(login["result"]["mode"], "api-key", "{login}");
    assert_eq!(sandbox.count(Route::ApiKeyExchange), 3);
}

#[tokio::test]
async fn the_providers_real_hosts_are_reached_with_a_locally_trusted_ca() {
    let config = Config {
        tls: Some(authd_sandbox::Tls::generate().unwrap()),
        ..Config::with_accounts(Account::presets())
    };
    let sandbox = Sandbox::start(config).await.unwrap();
    let daemon = daemon(&sandbox).await;
    assert!(
        !std::fs::read_to_string(daemon.config()).unwrap().contains("[provider]"),
        "nothing is overridden"
    );
    let (login, url) = start(&daemon, json!({})).await;
    assert!(url.starts_with("https://auth.openai.com/oauth/authorize?"), "{url}");
    daemon.browse(&url, "plus").await;
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    let headers = daemon.get("/v1/profiles/-/headers").await;
    assert_eq!(headers["base_url"], "https://chatgpt.com/backend-api/codex");
    let body = crate::helpers::responses_request("What is 2+2?").to_string();
    let response = daemon.request("POST", "/v1/profiles/-/relay/responses", &[], body).await;
    assert!(
        response.status.is_success() && response.text().contains("response.completed"),
        "{}",
        response.text()
    );
}

#[tokio::test]
async fn a_login_for_a_workspace_outside_the_configuration_is_refused() {
    let sandbox = sandbox().await;
    let (plus, business) = (Account::plus().account_id, Account::business().account_id);
    let toml = format!("[login]\nworkspaces = [{plus:?}]");
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&toml)).await;
    for flow in ["browser", "device"] {
        let body = json!({"flow": flow, "workspace": business}).to_string();
        let refused = daemon.request("POST", "/v1/logins", &[], body).await;
        assert_eq!(refused.json()["code"], "login_denied", "{}", refused.text());
        assert!(refused.text().contains("workspaces in [login]"), "{}", refused.text());
    }
    let (login, url) = start(&daemon, json!({"workspace": plus})).await;
    daemon.browse(&url, "plus").await;
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
}

#[tokio::test]
async fn two_workspaces_of_one_user_are_two_profiles_and_a_login_can_require_one() {
    let sandbox = sandbox().await;
    let team = Account {
        name: "team".into(),
        account_id: "11111111-2222-4333-8444-555555555555".into(),
        plan: Some("team".into()),
        ..Account::plus()
    };
    sandbox.put_account(team.clone());
    let daemon = daemon(&sandbox).await;
    let plus_profile = daemon.sign_in("default", "plus").await["result"].clone();
    let team_profile = daemon.sign_in("default", "team").await["result"].clone();
    assert_eq!((&plus_profile["name"], &team_profile["name"]), (&json!("default"), &json!("default-2")));
    assert_eq!(plus_profile["email"], team_profile["email"], "the e-mail does not distinguish them");
    // A repeated login keeps its profile.
    assert_eq!(daemon.sign_in("default-2", "team").await["result"]["name"], "default-2");
    assert_eq!(daemon.get("/v1/profiles").await["profiles"].as_array().unwrap().len(), 2);
    let (login, url) = start(&daemon, json!({"profile": "pinned", "workspace": team.account_id})).await;
    assert!(url.contains(&format!("allowed_workspace_id={}", team.account_id)), "{url}");
    // If the provider ignores the required workspace, the daemon refuses the login.
    let unrestricted = url.replace(&format!("&allowed_workspace_id={}", team.account_id), "");
    let page = daemon.browse(&unrestricted, "plus").await;
    assert!(page.html.contains(&team.account_id), "{}", page.html);
    let refused = finished(&daemon, &login).await;
    assert_eq!(refused["error"]["code"], "login_denied", "{refused}");
    let (login, url) = start(&daemon, json!({"profile": "pinned", "workspace": team.account_id})).await;
    daemon.browse(&url, "team").await;
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
}

#[tokio::test]
async fn logins_over_the_limit_are_refused_until_one_ends() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (first, _) = start(&daemon, json!({})).await;
    for _ in 1..256 {
        start(&daemon, json!({})).await;
    }
    let refused = daemon.request("POST", "/v1/logins", &[], "{}").await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (429, &json!("too_many_requests")));
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=600).contains(&seconds), "the first one ends by itself: {seconds}");
    let path = format!("/v1/logins/{}", first["id"].as_str().unwrap());
    assert_eq!(daemon.request("DELETE", &path, &[], "").await.status, 204);
    start(&daemon, json!({})).await;
}

#[tokio::test]
async fn an_open_url_works_once_while_its_login_is_pending() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (login, url) = start(&daemon, json!({})).await;
    let link = login["open_url"].as_str().unwrap().to_owned();
    assert!(link.starts_with("http://localhost:") && link.contains("/go/"), "{link}");
    assert!(link.rsplit('/').next().unwrap().len() >= 22, "128 bits or more: {link}");
    sandbox.set_next_account(Some("plus"));
    let page = sandbox.browser().open(&link).await.unwrap();
    assert_eq!(page.status, 200, "{}", page.html);
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    let repeated = sandbox.browser().open(&link).await.unwrap();
    assert!(repeated.status == 400 && repeated.html.contains("was used"), "{}", repeated.html);
    assert!(!repeated.html.contains(&url));
    // An unused link ends with its login.
    let (login, _) = start(&daemon, json!({})).await;
    let link = login["open_url"].as_str().unwrap();
    let path = format!("/v1/logins/{}", login["id"].as_str().unwrap());
    assert_eq!(daemon.request("DELETE", &path, &[], "").await.status, 204);
    assert_eq!(sandbox.browser().open(link).await.unwrap().status, 400);
    // A user who pastes the callback has the browser on another machine.
    let (login, _) = start(&daemon, json!({"paste": true})).await;
    assert_eq!(login["open_url"], serde_json::Value::Null);
}

#[tokio::test]
async fn logins_that_start_at_the_same_time_do_not_exceed_the_limit() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    // All of these wait for the provider.
    sandbox.faults().push_times(Route::DeviceCode, Fault::Stall, 300);
    let mut starting = Vec::new();
    for _ in 0..300 {
        starting.push(send_head(&daemon, "POST /v1/logins", &["Content-Length: 17"]).await);
    }
    for client in &mut starting {
        client.write_all(br#"{"flow":"device"}"#).await.unwrap();
    }
    sandbox.wait_for(Route::DeviceCode, 256).await;
    assert_eq!(daemon.get("/v1/status").await["pending_logins"], 256);
    let refused = daemon.request("POST", "/v1/logins", &[], "{}").await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (429, &json!("too_many_requests")));
    // A disconnected client frees its slot.
    drop(starting);
    while daemon.get("/v1/status").await["pending_logins"] != 0 {}
    start(&daemon, json!({})).await;
}

#[tokio::test]
async fn the_deletion_of_an_ended_logins_record_is_repeated_until_it_succeeds() {
    let (sandbox, directory) = (sandbox().await, tempfile::tempdir().unwrap());
    let control_file = directory.path().join("control");
    let control = format!("memory_control = \"{}\"", control_file.display());
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&control)).await;
    let deleted = async |result: &str| {
        let metrics = daemon.request("GET", "/v1/metrics", &[], "").await.text();
        let is_delete = |line: &&str| line.contains("_count") && line.contains("call=\"delete\"");
        metrics.lines().filter(is_delete).any(|line| line.contains(&format!("result=\"{result}\"")))
    };
    let (login, _) = start(&daemon, json!({})).await;
    std::fs::write(&control_file, "fail-delete").unwrap();
    let path = format!("/v1/logins/{}", login["id"].as_str().unwrap());
    assert_eq!(daemon.request("DELETE", &path, &[], "").await.status, 204);
    while !deleted("unavailable").await {}
    assert!(!deleted("ok").await);
    std::fs::write(&control_file, "well").unwrap();
    while !deleted("ok").await {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
