//! The routing of a workspace after a failed request for it.

use authd_sandbox::{Account, Config, Fault, Route, Routing, Sandbox, test_daemon::TestDaemon};
use serde_json::{Value, json};

use crate::helpers::{daemon, names};

/// A workspace with a region, signed in while every request for its routing fails.
async fn signed_in_with(fault: Fault) -> (Sandbox, TestDaemon) {
    let routing = Some(Routing { backend_origin: "https://eu.chatgpt.com".into(), region: "eu".into() });
    let config = Config::with_accounts([Account { routing, ..Account::plus() }]);
    let sandbox = Sandbox::start(config).await.unwrap();
    sandbox.faults().push_times(Route::WhamAccountsCheck, fault, usize::MAX);
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    (sandbox, daemon)
}

/// Reads the profile until it has a routing error, or none.
async fn routing_error(daemon: &TestDaemon, is_expected: bool) -> Value {
    loop {
        let profile = daemon.get("/v1/profiles/default").await;
        if profile["routing_error"].is_object() == is_expected {
            return profile["routing_error"].clone();
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until the region is in the headers.
async fn wait_for_region(daemon: &TestDaemon) {
    while !names(&daemon.get("/v1/profiles/default/headers").await)
        .contains(&"x-openai-account-routing-override".to_owned())
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_failed_request_is_repeated_within_seconds_and_shown_meanwhile() {
    for fault in [
        Fault::status(503, ""),
        Fault::status(404, r#"{"detail":"Not Found"}"#),
        Fault::Garbage,
        Fault::DropBeforeCommit,
    ] {
        let (sandbox, daemon) = signed_in_with(fault.clone()).await;
        let error = routing_error(&daemon, true).await;
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.starts_with("the workspace's region was not received: "), "{fault:?}: {error}");
        assert!(error["retry_after"].as_u64().is_some_and(|seconds| seconds <= 3), "{error}");
        let profile = daemon.get("/v1/profiles/default").await;
        assert_eq!((&profile["state"], &profile["last_error"]), (&json!("ready"), &Value::Null));
        let findings = daemon.get("/v1/diagnosis").await["findings"].take();
        let finding =
            findings.as_array().unwrap().iter().find(|finding| finding["check"] == "profile default");
        assert_eq!(finding.unwrap()["state"], "warning", "{findings}");
        // The next attempt comes after two seconds, and succeeds.
        sandbox.faults().clear();
        routing_error(&daemon, false).await;
        wait_for_region(&daemon).await;
    }
}

#[tokio::test]
async fn a_refresh_repeats_a_failed_request_at_once() {
    let busy = Fault::Status { status: 429, body: String::new(), retry_after: Some(3600) };
    let (sandbox, daemon) = signed_in_with(busy).await;
    let error = routing_error(&daemon, true).await;
    assert!(error["retry_after"].as_u64().is_some_and(|seconds| seconds > 3000), "{error}");
    assert_eq!(sandbox.count(Route::WhamAccountsCheck), 1);
    sandbox.faults().clear();
    daemon.post("/v1/profiles/default/refresh", json!({})).await;
    routing_error(&daemon, false).await;
    wait_for_region(&daemon).await;
    assert_eq!(sandbox.count(Route::WhamAccountsCheck), 2);
}
