//! The daemon's metrics and log lines, which contain no secrets and no names of users.

use authd_sandbox::{
    Fault, Route,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;

use crate::helpers::{AUTHD, daemon, sandbox};

#[tokio::test]
async fn metrics_count_requests_and_refreshes_without_profile_names() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("private-name", "plus").await;
    daemon.get("/v1/profiles/private-name/headers").await;
    daemon.get("/v1/profiles/-/headers").await;
    daemon.post("/v1/profiles/-/refresh", json!({})).await;
    sandbox.faults().push(Route::Refresh, Fault::Garbage);
    daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
    daemon.request("GET", "/v1/profiles/unknown/headers", &[], "").await;
    daemon.request("BREW", "/v1/somewhere", &[], "").await;

    let response = daemon.request("GET", "/v1/metrics", &[], "").await;
    assert_eq!(response.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = response.text();
    for line in [
        r#"authd_requests_total{route="/v1/profiles/{profile}/headers",method="GET",code="200"} 2"#,
        r#"authd_requests_total{route="/v1/profiles/{profile}/headers",method="GET",code="404"} 1"#,
        r#"authd_requests_total{route="other",method="other",code="404"} 1"#,
        r#"authd_credentials_total{from="cache"} 2"#,
        r#"authd_refreshes_total{result="ok"} 1"#,
        r#"authd_refreshes_total{result="garbled"} 1"#,
        r#"authd_profiles{state="ready"} 1"#,
        r#"authd_token_age_seconds{which="oldest"} "#,
        r#"authd_store_call_seconds_bucket{le="+Inf",call="save",result="ok"} "#,
        "authd_pending_logins 0",
        "# UNIT authd_start_time_seconds seconds",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line}\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(!text.contains("private-name") && !text.contains('@'), "a label names a user:\n{text}");
    for secret in sandbox.issued_secrets() {
        assert!(!text.contains(secret.as_str()), "a label contains a secret");
    }
}

#[tokio::test]
async fn an_error_response_has_the_request_id_of_its_log_line() {
    let sandbox = sandbox().await;
    let daemon =
        TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).env("RUST_LOG", "authd=debug")).await;
    let refused = daemon.request("GET", "/v1/profiles/unknown", &[], "").await;
    let id = refused.header("authd-request").to_owned();
    let second = daemon.request("GET", "/v1/profiles/unknown", &[], "").await;
    assert_ne!(second.header("authd-request"), id);
    let log = daemon.log();
    assert!(log.contains(&format!("id={id}")) && log.contains("request refused status=404"), "{log}");
    let success = daemon.request("GET", "/v1/status", &[], "").await;
    assert_eq!(success.header("authd-request"), "", "only error responses have an id");
}

#[tokio::test]
async fn a_provider_failure_is_logged_with_its_request_id() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::Refresh, Fault::status(503, "a provider's own words"));
    let failed = daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
    let line = format!(
        "WARN request failed id={} route=\"/v1/profiles/{{profile}}/refresh\" status=503",
        failed.header("authd-request")
    );
    let log = daemon.log();
    let line = log.lines().find(|found| found.contains(&line)).unwrap_or_else(|| panic!("{line}\n{log}"));
    let detail = failed.json()["detail"].as_str().unwrap().to_owned();
    assert!(line.contains("code=\"provider_unreachable\"") && line.contains(&detail), "{line}");
    let refused = daemon.request("GET", "/v1/profiles/unknown", &[], "").await;
    assert!(!daemon.log().contains(&format!("id={}", refused.header("authd-request"))), "{}", daemon.log());
}
