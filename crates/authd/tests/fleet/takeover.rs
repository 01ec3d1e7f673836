//! A node that dies with the answer to a refresh: the one case that can cost a login.

use std::time::Duration;

use authd_sandbox::{Config, Fault, Route};
use serde_json::json;

use crate::nodes::{TIMEOUT, TestFleet};

#[tokio::test(flavor = "multi_thread")]
async fn lost_answer_costs_the_login_only_when_the_token_has_expired() {
    // The next attempt is made a minute before the expiry, or when the claim ends, after 20 s.
    let config = Config::default().with_lifetime(Duration::from_secs(82));
    let Some(mut fleet) = TestFleet::start(2, config).await else { return };
    fleet.nodes[0].daemon.sign_in("work", "plus").await;
    let token = fleet.agreed_token("work").await;
    fleet.sandbox.faults().push(Route::Refresh, Fault::StallAfterCommit);
    let sends = fleet.nodes[0].daemon.try_request("POST", "/v1/profiles/work/refresh", &[], "");
    tokio::select! {
        _ = sends => panic!("the provider stalls"),
        () = fleet.sandbox.wait_for(Route::Refresh, 1) => {}
    }
    fleet.nodes[0].daemon.kill9().await;
    fleet.sandbox.faults().release();
    // The other node waits for the late answer, and serves the valid token meanwhile.
    let second = &fleet.nodes[1].daemon;
    let waits = second.try_request("POST", "/v1/profiles/work/refresh", &[], "");
    let ended = tokio::time::timeout(TIMEOUT, async {
        loop {
            let profile = second.get("/v1/profiles/work").await;
            if profile["sign_in_required"] == json!(true) {
                return profile;
            }
            assert_eq!(fleet.token(1, "work").await.as_ref(), Some(&token));
        }
    });
    let (waited, profile) = tokio::join!(waits, ended);
    let profile = profile.expect("the second attempt ends the login");
    assert_eq!(waited.unwrap().status, 504);
    assert_eq!(fleet.sandbox.count(Route::Refresh), 2);
    assert_eq!(fleet.sent().into_values().collect::<Vec<_>>(), [2]);
    let text = profile.to_string();
    assert!(text.contains("refresh_token_reused"), "{text}");
    // A new sign-in on one node helps the other.
    fleet.nodes[0].daemon.start_again().await;
    fleet.nodes[0].daemon.sign_in("work", "plus").await;
    fleet.agreed_token("work").await;
}
