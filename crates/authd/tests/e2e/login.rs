//! Signing in through the browser: what works, and each way it does not.

use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use authd_sandbox::{Account, Config, Fault, Route, Sandbox};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::{
    support::{AUTHD, daemon, finished, sandbox, start},
    upstream::say,
};

#[tokio::test]
async fn both_kinds_of_account_sign_in_with_their_mode_and_its_reason() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let personal = daemon.sign_in("personal", "plus").await["result"].clone();
    assert_eq!(personal["mode"], "chatgpt", "{personal}");
    assert_eq!(personal["mode_reason"], "plan plus is personal");
    assert_eq!(sandbox.count(Route::ApiKeyExchange), 0, "no exchange is run for a personal plan");
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
async fn a_forced_api_key_is_denied_where_there_is_none_with_the_providers_sentence() {
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
async fn a_refusal_reaches_the_page_and_the_waiting_client() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for (how, told) in [("deny", "refused"), ("no_entitlement", "Codex is not enabled for your workspace")] {
        let (login, url) = start(&daemon, json!({})).await;
        let page = sandbox.browser().refuse(&url, how).await.unwrap();
        assert_eq!(page.status, 400);
        assert!(page.html.contains(told), "{}", page.html);
        let login = finished(&daemon, &login).await;
        assert_eq!(login["state"], "failed");
        assert_eq!(login["error"]["code"], "login_denied");
        assert!(login["error"]["detail"].as_str().unwrap().contains(told), "{login}");
    }
}

#[tokio::test]
async fn a_providers_error_at_the_exchange_reaches_both() {
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
async fn a_wrong_state_changes_nothing_and_the_right_one_works_after_it() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (login, url) = start(&daemon, json!({})).await;
    let back = sandbox.browser().redirect(&url, "plus").await.unwrap();
    let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let forged = back.replace(state, &"x".repeat(state.len()));
    assert_eq!(sandbox.browser().open(&forged).await.unwrap().status, 400);
    assert_eq!(
        daemon.get(&format!("/v1/logins/{}", login["id"].as_str().unwrap())).await["state"],
        "pending"
    );
    assert_eq!(sandbox.count(Route::CodeExchange), 0);
    assert_eq!(sandbox.browser().open(&back).await.unwrap().status, 200);
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    // The same URL once more says so, and redeems nothing again.
    let again = sandbox.browser().open(&back).await.unwrap();
    assert!(again.status == 200 && again.html.contains("already signed in"), "{}", again.html);
    assert_eq!(sandbox.count(Route::CodeExchange), 1);
}

#[tokio::test]
async fn a_code_of_another_attempt_does_not_fit_this_ones_verifier() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (first, first_url) = start(&daemon, json!({"profile": "first"})).await;
    let (_, second_url) = start(&daemon, json!({"profile": "second"})).await;
    let (first_back, second_back) = (
        sandbox.browser().redirect(&first_url, "plus").await.unwrap(),
        sandbox.browser().redirect(&second_url, "plus").await.unwrap(),
    );
    let code = |url: &str| url.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let mixed = first_back.replace(&code(&first_back), &code(&second_back));
    assert_eq!(sandbox.browser().open(&mixed).await.unwrap().status, 400);
    let first = finished(&daemon, &first).await;
    assert_eq!(first["error"]["code"], "login_denied", "{first}");
}

#[tokio::test]
async fn many_logins_are_pending_at_once_and_finish_in_any_order() {
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
async fn somebody_else_under_a_taken_name_gets_the_next_free_one() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    assert_eq!(daemon.sign_in("default", "business").await["result"]["name"], "default-2");
    let again = daemon.sign_in("default", "plus").await["result"].clone();
    assert_eq!((again["name"].as_str(), again["generation"].as_u64()), (Some("default"), Some(2)));
    let (login, url) = start(&daemon, json!({"replace": true})).await;
    daemon.browse(&url, "business").await;
    assert_eq!(finished(&daemon, &login).await["result"]["name"], "default");
}

#[tokio::test]
async fn a_login_survives_a_crash_between_its_url_and_its_callback() {
    let sandbox = sandbox().await;
    // The redirect URI names the port, so it has to be the same again.
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
async fn the_callback_may_be_pasted_and_a_login_called_off() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (login, url) = start(&daemon, json!({})).await;
    let path = format!("/v1/logins/{}", login["id"].as_str().unwrap());
    let back = sandbox.browser().redirect(&url, "plus").await.unwrap();
    let wrong =
        daemon.request("POST", &format!("{path}/callback"), &[], json!({"url": "hello"}).to_string()).await;
    assert_eq!((wrong.status.as_u16(), wrong.json()["code"].as_str()), (400, Some("bad_request")));
    let done = daemon.post(&format!("{path}/callback"), json!({"url": back})).await;
    assert_eq!(done["state"], "succeeded", "{done}");
    let (other, other_url) = start(&daemon, json!({})).await;
    let path = format!("/v1/logins/{}", other["id"].as_str().unwrap());
    assert_eq!(daemon.request("DELETE", &path, &[], "").await.status, 204);
    assert_eq!(daemon.get(&path).await["state"], "cancelled");
    assert_eq!(daemon.browse(&other_url, "plus").await.status, 400);
}

#[tokio::test]
async fn a_provider_that_is_down_during_the_key_exchange_never_changes_the_mode() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    sandbox.faults().push_times(Route::ApiKeyExchange, Fault::status(503, ""), 2);
    let login = daemon.sign_in("work", "business").await;
    assert_eq!(login["result"]["mode"], "api-key", "{login}");
    assert_eq!(sandbox.count(Route::ApiKeyExchange), 3);
}

#[tokio::test]
async fn under_their_real_names_the_hosts_are_reached_with_a_locally_trusted_ca() {
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
    let body = crate::support::question("What is 2+2?").to_string();
    let answer = daemon.request("POST", "/v1/profiles/-/relay/responses", &[], body).await;
    assert!(answer.status.is_success() && answer.text().contains("response.completed"), "{}", answer.text());
}

#[tokio::test]
async fn a_login_cannot_ask_for_a_workspace_that_the_configuration_does_not_accept() {
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
async fn two_workspaces_of_one_person_are_two_profiles_and_one_can_be_insisted_on() {
    let sandbox = sandbox().await;
    let team = Account {
        name: "team".into(),
        account_id: "11111111-2222-4333-8444-555555555555".into(),
        plan: Some("team".into()),
        ..Account::plus()
    };
    sandbox.put_account(team.clone());
    let daemon = daemon(&sandbox).await;
    let mine = daemon.sign_in("default", "plus").await["result"].clone();
    let ours = daemon.sign_in("default", "team").await["result"].clone();
    assert_eq!((&mine["name"], &ours["name"]), (&json!("default"), &json!("default-2")));
    assert_eq!(mine["email"], ours["email"], "it is never the e-mail that tells them apart");
    // Each goes on under its own name.
    assert_eq!(daemon.sign_in("default-2", "team").await["result"]["name"], "default-2");
    assert_eq!(daemon.get("/v1/profiles").await["profiles"].as_array().unwrap().len(), 2);
    let (login, url) = start(&daemon, json!({"profile": "pinned", "workspace": team.account_id})).await;
    assert!(url.contains(&format!("allowed_workspace_id={}", team.account_id)), "{url}");
    // A provider that does not keep to the wish is found out here.
    let unheard = url.replace(&format!("&allowed_workspace_id={}", team.account_id), "");
    let page = daemon.browse(&unheard, "plus").await;
    assert!(page.html.contains(&team.account_id), "{}", page.html);
    let refused = finished(&daemon, &login).await;
    assert_eq!(refused["error"]["code"], "login_denied", "{refused}");
    let (login, url) = start(&daemon, json!({"profile": "pinned", "workspace": team.account_id})).await;
    daemon.browse(&url, "team").await;
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
}

#[tokio::test]
async fn more_logins_than_people_are_refused_until_one_of_them_ends() {
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
async fn a_link_opens_the_authorize_url_once_while_its_login_is_pending() {
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
    let again = sandbox.browser().open(&link).await.unwrap();
    assert!(again.status == 400 && again.html.contains("was used"), "{}", again.html);
    assert!(!again.html.contains(&url));
    // A link that was not used ends with its login.
    let (login, _) = start(&daemon, json!({})).await;
    let link = login["open_url"].as_str().unwrap();
    let path = format!("/v1/logins/{}", login["id"].as_str().unwrap());
    assert_eq!(daemon.request("DELETE", &path, &[], "").await.status, 204);
    assert_eq!(sandbox.browser().open(link).await.unwrap().status, 400);
    // A person who pastes has the browser elsewhere.
    let (login, _) = start(&daemon, json!({"paste": true})).await;
    assert_eq!(login["open_url"], serde_json::Value::Null);
}

#[tokio::test]
async fn logins_that_are_started_at_once_do_not_exceed_the_limit_together() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    // All of them wait for the provider at the same time.
    sandbox.faults().push_times(Route::DeviceCode, Fault::Stall, 300);
    let mut starting = Vec::new();
    for _ in 0..300 {
        starting.push(say(&daemon, "POST /v1/logins", &["Content-Length: 17"]).await);
    }
    for client in &mut starting {
        client.write_all(br#"{"flow":"device"}"#).await.unwrap();
    }
    sandbox.wait_for(Route::DeviceCode, 256).await;
    assert_eq!(daemon.get("/v1/status").await["pending_logins"], 256);
    let refused = daemon.request("POST", "/v1/logins", &[], "{}").await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (429, &json!("too_many_requests")));
    // A client that hangs up gives its place back.
    drop(starting);
    while daemon.get("/v1/status").await["pending_logins"] != 0 {}
    start(&daemon, json!({})).await;
}

#[tokio::test]
async fn the_stored_copy_of_an_ended_login_is_deleted_once_the_store_lets_it() {
    let (sandbox, directory) = (sandbox().await, tempfile::tempdir().unwrap());
    let mood = directory.path().join("mood");
    let control = format!("memory_control = \"{}\"", mood.display());
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&control)).await;
    let deleted = async |result: &str| {
        let figures = daemon.request("GET", "/v1/metrics", &[], "").await.text();
        let is_delete = |line: &&str| line.contains("_count") && line.contains("call=\"delete\"");
        figures.lines().filter(is_delete).any(|line| line.contains(&format!("result=\"{result}\"")))
    };
    let (login, _) = start(&daemon, json!({})).await;
    std::fs::write(&mood, "fail-delete").unwrap();
    let path = format!("/v1/logins/{}", login["id"].as_str().unwrap());
    assert_eq!(daemon.request("DELETE", &path, &[], "").await.status, 204);
    while !deleted("unavailable").await {}
    assert!(!deleted("ok").await);
    std::fs::write(&mood, "well").unwrap();
    while !deleted("ok").await {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
