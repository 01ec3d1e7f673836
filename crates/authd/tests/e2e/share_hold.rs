//! Held shares: which requests hold one, and how a hold ends. The tests of `authctl` show that a
//! share ends with its holder.

use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;

use crate::{
    events::Stream,
    helpers::{AUTHD, daemon, sandbox},
    share_client::{Holder, both},
};

async fn hold(daemon: &TestDaemon, share: &Holder) -> Incoming {
    let path = format!("/v1/shares/{}/hold", share.id());
    let response = daemon.open("GET", &path, &[], "").await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    response.into_body()
}

/// Asserts that a response without content ends as it should, and is not cut off.
async fn assert_ends(hold: Incoming) {
    let content = tokio::time::timeout(std::time::Duration::from_secs(20), hold.collect()).await;
    assert_eq!(content.expect("the hold has ended").unwrap().to_bytes(), "");
}

#[tokio::test]
async fn hold_ends_with_its_share_and_with_the_daemon() {
    let sandbox = sandbox().await;
    let mut daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let [first, second] = both(&daemon, json!({"held": true, "ttl": 3600})).await;
    assert_eq!(first.share["held"], true);
    let holds = [hold(&daemon, &first).await, hold(&daemon, &first).await];
    let path = format!("/v1/shares/{}", first.id());
    assert_eq!(daemon.request("DELETE", &path, &[], "").await.status.as_u16(), 204);
    for hold in holds {
        assert_ends(hold).await;
    }
    let hold = hold(&daemon, &second).await;
    daemon.signal(rustix::process::Signal::TERM);
    assert_ends(hold).await;
    assert_eq!(daemon.wait().await.code(), Some(0));
}

#[tokio::test]
async fn only_a_held_share_can_be_held() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let share = Holder::new(&daemon, json!({})).await;
    assert_eq!(share.share["held"], false);
    for (id, status, code) in [(share.id(), 409, "conflict"), ("q1Zb7RkXw0Tn", 404, "share_unknown")] {
        let reply = daemon.request("GET", &format!("/v1/shares/{id}/hold"), &[], "").await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (status, &json!(code)),
            "{}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn held_share_ends_unless_something_holds_it() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("me", "plus").await;
    let [held, unheld] = both(&daemon, json!({"held": true})).await;
    daemon.restart().await;
    let _kept = hold(&daemon, &held).await;
    drop(hold(&daemon, &held).await);
    let mut events = Stream::open(&daemon).await;
    events.wait_for("share_gone", |gone| gone["id"] == unheld.id()).await;
    assert_eq!(held.models().await, 200);
}
