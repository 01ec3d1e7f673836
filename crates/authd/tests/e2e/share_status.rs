//! What status, doctor and metrics say about shares.

use std::{fs, net::TcpListener};

use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use serde_json::{Value, json};

use crate::{
    helpers::{AUTHD, daemon, sandbox},
    share_client::{Holder, both},
};

/// The findings of doctor about shares.
async fn findings(daemon: &TestDaemon) -> Vec<Value> {
    let diagnosis = daemon.get("/v1/diagnosis").await;
    let about_shares =
        |finding: &&Value| finding["check"].as_str().is_some_and(|check| check.starts_with("share"));
    diagnosis["findings"].as_array().unwrap().iter().filter(about_shares).cloned().collect()
}

#[tokio::test]
async fn status_and_doctor_count_the_shares() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    assert_eq!(daemon.get("/v1/status").await["shares"], 0);
    assert_eq!(findings(&daemon).await, Vec::<Value>::new());
    both(&daemon, json!({})).await;
    assert_eq!(daemon.get("/v1/status").await["shares"], 2);
    let [found] = &findings(&daemon).await[..] else { panic!("one finding") };
    assert_eq!((&found["check"], &found["state"]), (&json!("shares"), &json!("ok")));
    assert!(found["detail"].as_str().unwrap().starts_with("2 shares; "), "{found}");
}

#[tokio::test]
async fn unreadable_list_of_shares_is_not_an_empty_one() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sigterm_and_wait().await;
    fs::create_dir(daemon.state().join("shares.json")).unwrap();
    daemon.start_again().await;
    assert_eq!(daemon.get("/v1/status").await["shares"], json!(null));
    let [found] = &findings(&daemon).await[..] else { panic!("one finding") };
    assert_eq!((&found["state"], &found["code"]), (&json!("failed"), &json!("store_unavailable")));
    assert!(found["detail"].as_str().unwrap().contains("shares.json"), "{found}");
    fs::remove_dir(daemon.state().join("shares.json")).unwrap();
    assert_eq!(findings(&daemon).await, Vec::<Value>::new());
    assert_eq!(daemon.get("/v1/status").await["shares"], 0);
}

#[tokio::test]
async fn list_that_is_read_late_follows_the_profiles() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("me", "plus").await;
    daemon.sign_in("work", "business").await;
    let mut expected = Holder::new(&daemon, json!({"profile": "me"})).await.share;
    Holder::new(&daemon, json!({"profile": "work"})).await;
    daemon.sigterm_and_wait().await;
    let (list, copy) = (daemon.state().join("shares.json"), daemon.state().join("copy"));
    fs::rename(&list, &copy).unwrap();
    fs::create_dir(&list).unwrap();
    daemon.start_again().await;
    daemon.request("PATCH", "/v1/profiles/me", &[], r#"{"name":"you"}"#).await;
    daemon.request("DELETE", "/v1/profiles/work", &[], "").await;
    daemon.sign_in("work", "business").await;
    fs::remove_dir(&list).unwrap();
    fs::rename(&copy, &list).unwrap();
    expected["profile"] = json!("you");
    assert_eq!(daemon.get("/v1/shares").await["shares"], json!([expected]));
    daemon.restart().await;
    assert_eq!(daemon.get("/v1/shares").await["shares"], json!([expected]));
}

#[tokio::test]
async fn doctor_names_the_port_that_keeps_a_door_closed() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("me", "plus").await;
    let share = Holder::new(&daemon, json!({"door": "loopback"})).await;
    daemon.sigterm_and_wait().await;
    let taken = TcpListener::bind(share.address()).unwrap();
    daemon.start_again().await;
    let found = findings(&daemon).await.pop().unwrap();
    assert_eq!(found["check"], format!("share {}", share.id()));
    assert_eq!(found["state"], "warning");
    assert!(found["detail"].as_str().unwrap().contains("in use"), "{found}");
    let port = taken.local_addr().unwrap().port();
    let remedy = found["remedy"].as_str().unwrap();
    assert!(remedy.contains(&format!("port {port}")) && remedy.contains("authctl unshare"), "{remedy}");
}

#[tokio::test]
async fn metrics_count_requests_through_shares_by_door_and_result() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("private-name", "plus").await;
    let shares = both(&daemon, json!({"rate": 3, "label": "private-label"})).await;
    for share in &shares {
        assert_eq!(share.models().await, 200);
        share.send("GET", "/v1/status", &[], "").await;
        share.send("GET", &share.relay("unknown"), &[], "").await;
        while share.models().await != 429 {}
    }
    shares[1].send("GET", "/v1/models", &[("authorization", "Bearer other")], "").await;
    let text = daemon.request("GET", "/v1/metrics", &[], "").await.text();
    for line in [
        r#"authd_shares{door="socket"} 1"#,
        r#"authd_shares{door="loopback"} 1"#,
        r#"authd_share_requests_total{door="socket",result="refused"} 1"#,
        r#"authd_share_requests_total{door="socket",result="failed"} 1"#,
        r#"authd_share_requests_total{door="socket",result="limited"} 1"#,
        r#"authd_share_requests_total{door="loopback",result="refused"} 1"#,
        r#"authd_share_requests_total{door="loopback",result="ok"} 1"#,
        // The paths of the daemon's own API are paths of the upstream at this door.
        r#"authd_share_requests_total{door="loopback",result="failed"} 2"#,
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line}\n{text}");
    }
    assert!(!text.contains("private") && !text.contains(shares[0].id()), "a label names a share:\n{text}");
}
