//! A callback server that other machines can reach.

use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use serde_json::{Value, json};

use crate::helpers::{AUTHD, daemon, finished, sandbox, start};

/// The findings about the callback server.
async fn findings(daemon: &TestDaemon) -> Vec<Value> {
    let mut findings = daemon.get("/v1/diagnosis").await["findings"].take();
    let mut findings = std::mem::take(findings.as_array_mut().unwrap());
    findings.retain(|finding| finding["check"] == "callback");
    findings
}

#[tokio::test]
async fn a_callback_server_beyond_loopback_is_warned_about_and_signs_in_without_a_link() {
    let sandbox = sandbox().await;
    let callback = "ports = [0]\naddresses = ['0.0.0.0']";
    let exposed = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).callback(callback)).await;
    assert!(exposed.log().contains("other machines can reach the callback server"), "{}", exposed.log());
    let address = exposed.get("/v1/status").await["callback"]["addresses"][0].take();
    assert!(address.as_str().unwrap().starts_with("0.0.0.0:"), "{address}");
    let found = findings(&exposed).await;
    let warned = found.iter().find(|finding| finding["state"] == "warning").unwrap();
    assert!(warned["detail"].as_str().unwrap().contains(address.as_str().unwrap()), "{warned}");
    assert!(warned["remedy"].as_str().unwrap().contains("[callback] addresses"), "{warned}");
    // The link is for a browser on this machine, and would not be served.
    let (login, url) = start(&exposed, json!({})).await;
    assert_eq!(login["open_url"], Value::Null, "{login}");
    exposed.browse(&url, "plus").await;
    assert_eq!(finished(&exposed, &login).await["state"], "succeeded");
    let default = daemon(&sandbox).await;
    assert!(findings(&default).await.iter().all(|finding| finding["state"] == "ok"));
    assert!(start(&default, json!({})).await.0["open_url"].is_string());
}
