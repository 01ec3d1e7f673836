//! Refusals of the provider: which end a login, what the user is told, and the provider's code.

use std::time::Duration;

use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

use crate::helpers::{AUTHD, daemon, finished, sandbox, start};

const REGION: &str = "unsupported_country_region_territory";

/// An error of the auth server with this code.
fn error(status: u16, code: &str) -> Fault {
    Fault::status(status, json!({"error": {"code": code, "message": "no"}}).to_string())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_refresh_that_is_refused_for_now_keeps_the_login_and_shows_why() {
    for (body, code, told) in [
        (r#"{"error":{"code":"token_expired"}}"#, "token_expired", "authctl login"),
        (r#"{"error":{"code":"invalid_refresh_token"}}"#, "invalid_refresh_token", "authctl login"),
        (
            r#"{"error":{"message":"Your session has ended. Please log in again."}}"#,
            "session_ended",
            "authctl login",
        ),
        (r#"{"error":"invalid_client"}"#, "invalid_client", "authctl doctor"),
    ] {
        let sandbox = sandbox().await;
        let daemon = daemon(&sandbox).await;
        daemon.sign_in("default", "plus").await;
        sandbox.faults().push(Route::Refresh, Fault::status(400, body));
        let refused = daemon.request("POST", "/v1/profiles/-/refresh", &[], "").await;
        let problem = refused.json();
        assert_eq!((refused.status.as_u16(), text(&problem, "code")), (502, "provider_refused"), "{problem}");
        assert_eq!(text(&problem, "provider_code"), code, "{problem}");
        assert!(text(&problem, "detail").contains(&format!("({code})")), "{problem}");
        assert!(text(&problem, "hint").contains(told), "{problem}");
        assert!(problem["retry_after"].is_u64(), "{problem}");
        let profile = daemon.get("/v1/profiles/default").await;
        assert_eq!(
            (&profile["state"], text(&profile["last_error"], "provider_code")),
            (&json!("ready"), code)
        );
        daemon.get("/v1/profiles/-/headers").await;
        // The same token works at the next attempt.
        sandbox.wait_for(Route::Refresh, 2).await;
        daemon.post("/v1/profiles/-/refresh", json!({})).await;
        assert_eq!(daemon.get("/v1/profiles/default").await["last_error"], Value::Null);
    }
}

/// Hooks and users hear of a token that the provider keeps calling invalid. The login is kept.
#[tokio::test]
async fn a_refusal_that_lasts_requires_a_sign_in_and_keeps_the_login() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let body = json!({"error": {"code": "token_expired"}}).to_string();
    // The shortest pause, so that six answers take twelve seconds.
    let refused = Fault::Status { status: 400, body, retry_after: Some(0) };
    sandbox.faults().push_times(Route::Refresh, refused, 7);
    daemon.request("POST", "/v1/profiles/-/refresh", &[], "").await;
    sandbox.wait_for(Route::Refresh, 6).await;
    let problem = daemon.request("POST", "/v1/profiles/-/refresh", &[], "").await.json();
    assert_eq!(
        (text(&problem, "code"), text(&problem, "provider_code")),
        ("login_required", "token_expired")
    );
    assert!(text(&problem, "hint").contains("authctl login default"), "{problem}");
    assert_eq!(daemon.get("/v1/profiles/default").await["state"], "ready");
    sandbox.wait_for(Route::Refresh, 8).await;
    daemon.post("/v1/profiles/-/refresh", json!({})).await;
    assert_eq!(daemon.get("/v1/profiles/default").await["last_error"], Value::Null);
}

#[tokio::test]
async fn a_refusal_that_ends_the_login_shows_the_code() {
    for (status, code) in [(400, "invalid_grant"), (401, "token_expired"), (400, "refresh_token_reused")] {
        let sandbox = sandbox().await;
        let daemon = daemon(&sandbox).await;
        daemon.sign_in("default", "plus").await;
        sandbox.faults().push(Route::Refresh, error(status, code));
        let problem = daemon.request("POST", "/v1/profiles/-/refresh", &[], "").await.json();
        assert_eq!((text(&problem, "code"), text(&problem, "provider_code")), ("login_required", code));
        assert!(text(&problem, "detail").contains(code), "{problem}");
    }
}

#[tokio::test]
async fn the_code_of_a_refused_exchange_is_in_the_problem_and_on_the_page() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for (fault, code) in [
        (error(400, "token_exchange_user_error"), "token_exchange_user_error"),
        (error(403, REGION), REGION),
        (error(503, "server_is_overloaded"), "server_is_overloaded"),
        (error(400, "<b>Bold</b>"), ""),
    ] {
        sandbox.faults().push(Route::CodeExchange, fault);
        let (login, url) = start(&daemon, json!({})).await;
        let page = daemon.browse(&url, "plus").await;
        assert!(page.html.contains(code) && !page.html.contains("<b>"), "{}", page.html);
        // Further steps are not part of the command.
        assert!(!page.html.contains("<code>authctl login;"), "{}", page.html);
        let problem = finished(&daemon, &login).await["error"].clone();
        assert_eq!(text(&problem, "provider_code"), code, "{problem}");
    }
    for choice in ["deny", "no_entitlement"] {
        let (login, url) = start(&daemon, json!({})).await;
        sandbox.browser().refuse(&url, choice).await.unwrap();
        assert_eq!(finished(&daemon, &login).await["error"]["provider_code"], "access_denied", "{choice}");
    }
}

#[tokio::test]
async fn the_region_rule_is_named_at_every_call_to_the_provider() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let check = |problem: &Value| {
        assert!(text(problem, "detail").contains("country, region or territory"), "{problem}");
        assert!(text(problem, "hint").contains("VPN"), "{problem}");
        assert_eq!(text(problem, "provider_code"), REGION, "{problem}");
    };
    let device = json!({"flow": "device"});
    sandbox.faults().push(Route::DeviceCode, error(403, REGION));
    check(&daemon.request("POST", "/v1/logins", &[], device.to_string()).await.json());
    sandbox.faults().push(Route::DevicePoll, error(403, REGION));
    let login = daemon.post("/v1/logins", device).await;
    check(&finished(&daemon, &login).await["error"]);
    // The plan of this account leads to an API key, which is not silently left out.
    for route in [Route::CodeExchange, Route::ApiKeyExchange] {
        sandbox.faults().push(route, error(403, REGION));
        let (login, url) = start(&daemon, json!({})).await;
        daemon.browse(&url, "business").await;
        check(&finished(&daemon, &login).await["error"]);
    }
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::Revoke, error(403, REGION));
    let kept = daemon.request("DELETE", "/v1/profiles/default?revoke=true", &[], "").await.json();
    assert_eq!(text(&kept, "provider_code"), REGION, "{kept}");
    sandbox.faults().push(Route::Refresh, error(403, REGION));
    check(&daemon.request("POST", "/v1/profiles/-/refresh", &[], "").await.json());
    assert_eq!(daemon.get("/v1/profiles/default").await["state"], "ready");
}

#[tokio::test]
async fn device_login_that_is_not_enabled_names_the_settings_page() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for fault in [
        Fault::status(404, ""),
        Fault::status(404, "<html><title>Not Found</title></html>"),
        error(404, "not_found"),
        error(403, "device_code_disabled"),
    ] {
        sandbox.faults().push(Route::DeviceCode, fault);
        let problem = daemon.request("POST", "/v1/logins", &[], r#"{"flow":"device"}"#).await.json();
        assert_eq!(text(&problem, "code"), "login_denied", "{problem}");
        assert!(text(&problem, "detail").contains("not enabled for this account"), "{problem}");
        assert!(text(&problem, "hint").contains("Settings → Security"), "{problem}");
    }
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_in_a_device_login() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let limited = |retry_after| Fault::Status { status: 429, body: String::new(), retry_after };
    sandbox.faults().push(Route::DeviceCode, limited(Some(1)));
    sandbox.faults().push(Route::DeviceCode, limited(None));
    let login = daemon.post("/v1/logins", json!({"flow": "device"})).await;
    assert_eq!(sandbox.count(Route::DeviceCode), 3);
    sandbox.faults().push(Route::DevicePoll, limited(Some(1)));
    assert!(sandbox.approve_device(text(&login, "user_code"), "plus"));
    sandbox.wait_for(Route::CodeExchange, 1).await;
    // A longer limit than the caller can wait for is told.
    sandbox.faults().push(Route::DeviceCode, limited(Some(1_800)));
    let refused = daemon.request("POST", "/v1/logins", &[], r#"{"flow":"device"}"#).await;
    let problem = refused.json();
    assert_eq!((text(&problem, "code"), &problem["retry_after"]), ("provider_unreachable", &json!(1_800)));
    assert_eq!(refused.header("retry-after"), "1800");
    assert!(text(&problem, "hint").contains("30 min"), "{problem}");
}

#[tokio::test]
async fn a_device_login_lasts_as_long_as_the_provider_states() {
    for (stated, minutes) in [(Some(Duration::from_secs(300)), 5.0), (None, 15.0)] {
        let config = Config { device_lifetime: stated, ..Config::with_accounts(Account::presets()) };
        let sandbox = Sandbox::start(config).await.unwrap();
        let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox)).await;
        let login = daemon.post("/v1/logins", json!({"flow": "device"})).await;
        let [started, expires] =
            ["created_at", "expires_at"].map(|field| text(&login, field).parse::<jiff::Timestamp>().unwrap());
        let lasts = expires.duration_since(started).as_secs_f64() / 60.0;
        assert!((lasts - minutes).abs() < 0.5, "{lasts} {login}");
    }
}
