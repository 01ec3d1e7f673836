//! Device logins: cancellation, and a shutdown during the code exchange.

use authd_sandbox::{
    Fault, Route,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

use crate::helpers::{AUTHD, daemon, finished, sandbox};

/// Starts a device login. Returns it, its path and its user code.
async fn start(daemon: &TestDaemon, profile: &str) -> (Value, String, String) {
    let login = daemon.post("/v1/logins", json!({"flow": "device", "profile": profile})).await;
    let path = format!("/v1/logins/{}", login["id"].as_str().unwrap());
    let code = login["user_code"].as_str().unwrap().to_owned();
    (login, path, code)
}

#[tokio::test]
async fn a_completed_device_login_cannot_be_cancelled() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (login, path, code) = start(&daemon, "default").await;
    assert!(sandbox.approve_device(&code, "plus"));
    assert_eq!(finished_device(&daemon, &login).await["state"], "succeeded");
    assert_eq!(daemon.request("DELETE", &path, &[], "").await.status, 204);
    let after = daemon.get(&path).await;
    assert_eq!((&after["state"], &after["result"]["name"]), (&json!("succeeded"), &json!("default")));
}

#[tokio::test]
async fn a_device_login_that_is_cancelled_during_a_poll_is_not_redeemed() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    sandbox.faults().push(Route::DevicePoll, Fault::Stall);
    let (_, path, code) = start(&daemon, "unwanted").await;
    sandbox.wait_for(Route::DevicePoll, 1).await;
    assert!(sandbox.approve_device(&code, "plus"));
    assert_eq!(daemon.request("DELETE", &path, &[], "").await.status, 204);
    sandbox.faults().release();
    // A second complete login takes longer than an exchange after that poll would.
    let (login, _, code) = start(&daemon, "wanted").await;
    assert!(sandbox.approve_device(&code, "business"));
    assert_eq!(finished_device(&daemon, &login).await["state"], "succeeded");
    assert_eq!(sandbox.count(Route::CodeExchange), 1, "one code was redeemed");
    assert_eq!(daemon.get(&path).await["state"], "cancelled");
    let profiles = daemon.get("/v1/profiles").await;
    assert_eq!(profiles["profiles"].as_array().unwrap().len(), 1, "{profiles}");
}

#[tokio::test]
async fn a_code_exchange_completes_during_shutdown() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    // The actor of an existing profile ends as soon as the daemon stops. The other profile is new.
    daemon.sign_in("old", "plus").await;
    sandbox.faults().push_times(Route::CodeExchange, Fault::StallAfterCommit, 2);
    for (profile, account) in [("old", "plus"), ("new", "business")] {
        let (_, _, code) = start(&daemon, profile).await;
        assert!(sandbox.approve_device(&code, account));
    }
    sandbox.wait_for(Route::CodeExchange, 3).await;
    daemon.signal(rustix::process::Signal::TERM);
    while daemon.try_request("GET", "/v1/status", &[], "").await.is_ok() {
        tokio::task::yield_now().await;
    }
    sandbox.faults().release();
    assert!(daemon.wait().await.success());
    daemon.start_again().await;
    for (profile, generation) in [("old", 2), ("new", 1)] {
        daemon.get(&format!("/v1/profiles/{profile}/headers")).await;
        let saved = daemon.get(&format!("/v1/profiles/{profile}")).await;
        assert!(saved["generation"].as_u64().unwrap() >= generation, "{saved}");
    }
}

/// Waits for the end of a device login, which passes through the state `exchanging`.
async fn finished_device(daemon: &TestDaemon, login: &Value) -> Value {
    loop {
        let login = finished(daemon, login).await;
        if !["pending", "exchanging"].contains(&login["state"].as_str().unwrap()) {
            return login;
        }
    }
}
