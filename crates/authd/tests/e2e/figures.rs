//! What the daemon counts, and what it never tells in doing so.

use authd_sandbox::{
    Fault, Route,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;

use crate::support::{AUTHD, daemon, sandbox};

#[tokio::test]
async fn what_happened_is_counted_and_nobody_is_named() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("somebody", "plus").await;
    daemon.get("/v1/profiles/somebody/headers").await;
    daemon.get("/v1/profiles/-/headers").await;
    daemon.post("/v1/profiles/-/refresh", json!({})).await;
    sandbox.faults().push(Route::Refresh, Fault::Garbage);
    daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
    daemon.request("GET", "/v1/profiles/nobody/headers", &[], "").await;
    daemon.request("BREW", "/v1/somewhere", &[], "").await;

    let answer = daemon.request("GET", "/v1/metrics", &[], "").await;
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text();
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
    assert!(!text.contains("somebody") && !text.contains('@'), "a label names somebody:\n{text}");
    for secret in sandbox.issued_secrets() {
        assert!(!text.contains(secret.as_str()), "a label holds a secret");
    }
}

#[tokio::test]
async fn a_refusal_has_the_number_that_the_log_has() {
    let sandbox = sandbox().await;
    let daemon =
        TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).env("RUST_LOG", "authd=debug")).await;
    let refused = daemon.request("GET", "/v1/profiles/nobody", &[], "").await;
    let number = refused.header("authd-request").to_owned();
    let again = daemon.request("GET", "/v1/profiles/nobody", &[], "").await;
    assert_ne!(again.header("authd-request"), number);
    let log = daemon.log();
    assert!(log.contains(&format!("id={number}")) && log.contains("refused status=404"), "{log}");
    let fine = daemon.request("GET", "/v1/status", &[], "").await;
    assert_eq!(fine.header("authd-request"), "", "only refusals have one");
}

#[tokio::test]
async fn a_failure_that_is_not_the_clients_is_in_the_log_with_its_number() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::Refresh, Fault::status(503, "a provider's own words"));
    let failed = daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
    let line = format!(
        "WARN failed id={} route=\"/v1/profiles/{{profile}}/refresh\" status=503",
        failed.header("authd-request")
    );
    let log = daemon.log();
    let line = log.lines().find(|found| found.contains(&line)).unwrap_or_else(|| panic!("{line}\n{log}"));
    let detail = failed.json()["detail"].as_str().unwrap().to_owned();
    assert!(line.contains("code=\"provider_unreachable\"") && line.contains(&detail), "{line}");
    let refused = daemon.request("GET", "/v1/profiles/nobody", &[], "").await;
    assert!(!daemon.log().contains(&format!("id={}", refused.header("authd-request"))), "{}", daemon.log());
}
