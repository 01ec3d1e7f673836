//! Faults, recorded requests and control endpoints.

use std::time::Duration;

use crate::common::*;
use authd_sandbox::{Config, Fault, Route, Sandbox};
use serde_json::json;

/// Longest time of an operation.
const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn error_faults_change_nothing_and_end() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let token = sign_in(&sandbox, "plus").await["refresh_token"].clone();
    let slow_down = Fault::Status { status: 503, body: "{}".into(), retry_after: Some(7) };
    sandbox.faults().push_times(Route::Refresh, slow_down, 2);
    sandbox.faults().push(Route::Refresh, Fault::Garbage);
    sandbox.faults().push(Route::Refresh, Fault::Unauthorized);
    sandbox.faults().push(Route::Refresh, Fault::RateLimited { resets_at: 5 });
    sandbox.faults().push(Route::Refresh, Fault::DropBeforeCommit);
    sandbox.faults().push(Route::Refresh, Fault::delay(Duration::from_millis(1)));

    for _ in 0..2 {
        let answer = refresh(&sandbox, &token).await;
        assert_eq!((answer.status, answer.headers["retry-after"].to_str().unwrap()), (503, "7"));
    }
    let garbage = refresh(&sandbox, &token).await;
    assert!(garbage.status == 200 && garbage.body.starts_with("<!doctype html>"), "{garbage:?}");
    assert_eq!(refresh(&sandbox, &token).await.error_code(), "token_expired");
    assert_eq!(refresh(&sandbox, &token).await.json()["error"]["resets_at"], 5);
    let body = refresh_body(&token).to_string();
    let json = [("content-type", "application/json")];
    call(&sandbox, "POST", "/oauth/token", &json, body).await.unwrap_err();
    assert_eq!(refresh(&sandbox, &token).await.status, 200, "the token was not rotated");
    assert_eq!(sandbox.count(Route::Refresh), 7);
}

#[tokio::test]
async fn lost_response_has_rotated_the_token() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let token = sign_in(&sandbox, "plus").await["refresh_token"].clone();
    sandbox.faults().push(Route::Refresh, Fault::DropAfterCommit);
    let body = refresh_body(&token).to_string();
    let json = [("content-type", "application/json")];
    call(&sandbox, "POST", "/oauth/token", &json, body).await.unwrap_err();
    assert_eq!(refresh(&sandbox, &token).await.error_code(), "refresh_token_reused");
}

#[tokio::test]
async fn stalled_request_continues_after_the_release() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let token = sign_in(&sandbox, "plus").await["refresh_token"].clone();
    for (n, fault) in [Fault::Stall, Fault::StallAfterCommit].into_iter().enumerate() {
        let token =
            if n == 0 { token.clone() } else { sign_in(&sandbox, "plus").await["refresh_token"].clone() };
        sandbox.faults().push(Route::Refresh, fault);
        let release = async {
            sandbox.wait_for(Route::Refresh, n + 1).await;
            sandbox.faults().release();
        };
        let (answer, ()) =
            tokio::time::timeout(TIMEOUT, async { tokio::join!(refresh(&sandbox, &token), release) })
                .await
                .expect("the request was released");
        assert_eq!(answer.status, 200);
    }
}

#[tokio::test]
async fn stream_can_be_truncated_and_held() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let key = format!("Bearer {}", sandbox.issue_api_key("business"));
    let key = [("authorization", key.as_str())];
    let body = json!({"model": "gpt-5.5", "input": "2+2", "stream": true});
    sandbox.faults().push(Route::ApiResponses, Fault::TruncateStream);
    let cut = post_json(&sandbox, "/v1/responses", &key, &body).await;
    assert!(
        !cut.complete && cut.body.contains("response.created") && !cut.body.contains("response.completed")
    );

    sandbox.faults().push(Route::ApiResponses, Fault::HoldStream);
    let release = async {
        sandbox.wait_for(Route::ApiResponses, 2).await;
        sandbox.faults().release();
    };
    let ask = post_json(&sandbox, "/v1/responses", &key, &body);
    let (held, ()) = tokio::time::timeout(TIMEOUT, async { tokio::join!(ask, release) }).await.unwrap();
    assert!(held.complete && held.body.contains("response.completed"));
}

#[tokio::test]
async fn paused_sandbox_refuses_connections_and_resumes_on_its_port() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let token = sign_in(&sandbox, "plus").await["refresh_token"].clone();
    for _ in 0..3 {
        sandbox.pause().await;
        let refused = call(&sandbox, "GET", "/v1/models", &[], "").await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        sandbox.resume().await;
        assert_eq!(get(&sandbox, "/v1/models", &[]).await.status, 401);
    }
    assert_eq!(refresh(&sandbox, &token).await.status, 200, "the tokens stay valid");
}

#[tokio::test]
async fn requests_are_recorded_as_received() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let headers = [("x-second", "2"), ("Authorization", "Bearer x"), ("a-last", "3")];
    call(&sandbox, "GET", "/v1/models?a=b%20c", &headers, "").await.unwrap();
    let recorded = sandbox.requests_of(Route::ApiModels).remove(0);
    assert_eq!((recorded.method.as_str(), recorded.path.as_str()), ("GET", "/v1/models"));
    assert_eq!(recorded.query, "a=b%20c");
    let names: Vec<&str> = recorded.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["host", "x-second", "authorization", "a-last"]);
    sandbox.clear_requests();
    assert_eq!((sandbox.requests().len(), sandbox.count(Route::ApiModels)), (0, 0));
}

#[tokio::test]
async fn control_endpoints_reject_web_pages() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let token = sign_in(&sandbox, "plus").await["refresh_token"].clone();
    let order = json!({"route": "refresh", "fault": "status", "status": 500});
    assert_eq!(post_json(&sandbox, "/_sandbox/faults", &[], &order).await.status, 204);
    assert_eq!(refresh(&sandbox, &token).await.status, 500);
    assert_eq!(refresh(&sandbox, &token).await.status, 200);
    let requests = get(&sandbox, "/_sandbox/requests", &[]).await.json();
    assert_eq!(requests.as_array().unwrap().last().unwrap()["route"], "refresh");
    let page = [("origin", "https://example.com")];
    assert_eq!(post_json(&sandbox, "/_sandbox/faults", &page, &order).await.status, 403);
    let nonsense = json!({"route": "refresh", "fault": "earthquake"});
    assert_eq!(post_json(&sandbox, "/_sandbox/faults", &[], &nonsense).await.status, 422);
    assert_eq!(post_json(&sandbox, "/_sandbox/expire", &[], &json!({})).await.status, 204);
}
