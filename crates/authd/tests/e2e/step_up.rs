//! A server that demands more scopes, and the sign-in that requests them.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    authorization_server::AuthorizationServer,
    bearer_profile::Server,
    defined_login::{daemon, sign_in},
    helpers::sandbox,
};

#[tokio::test]
async fn sign_in_after_a_step_up_requests_all_scopes_once() {
    let (sandbox, authority) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let api = Server::start().await;
    let keys = format!("client_id = 'me'\nscopes = ['read']\nbase_url = '{}/api'", api.url);
    let daemon = daemon(&sandbox, &authority, &keys).await;
    assert_eq!(sign_in(&sandbox, &daemon, json!({"provider": "lab"})).await["state"], "succeeded");
    let share = daemon.post("/v1/shares", json!({"profile": "lab"})).await;
    let send = async || daemon.request("GET", "/v1/profiles/lab/relay/x", &[], "").await;
    let insufficient = r#"Bearer error="insufficient_scope", scope="write""#;
    api.challenge(StatusCode::FORBIDDEN, insufficient);
    assert_eq!(send().await.status, 403);
    assert_eq!(send().await.json()["code"], "login_required");
    let refused = daemon.request("POST", "/v1/shares", &[], r#"{"profile":"lab"}"#).await;
    assert_eq!(refused.json()["code"], "login_required");

    let login = sign_in(&sandbox, &daemon, json!({"profile": "lab"})).await;
    assert_eq!(login["state"], "succeeded", "{login}");
    assert_eq!(authority.last("/authorize").form["scope"], "read write");
    let profile = daemon.get("/v1/profiles/lab").await;
    let fields = (&profile["state"], &profile["missing_scopes"], &profile["last_error"]);
    assert_eq!(fields, (&json!("ready"), &Value::Null, &Value::Null));
    assert_eq!(profile["scopes"], json!(["read", "write"]));
    api.requests();
    assert!(send().await.status.is_success());
    assert_eq!(api.requests(), [("GET /api/x".to_owned(), "Bearer at-2".to_owned())]);
    assert_eq!(daemon.get("/v1/shares").await["shares"][0]["id"], share["id"], "the same user signed in");

    // The same demand again: another sign-in would request the same.
    api.challenge(StatusCode::FORBIDDEN, insufficient);
    assert_eq!(send().await.status, 403);
    assert!(send().await.status.is_success());
    let report = r#"{"missing_scopes":["write"]}"#;
    let reported = daemon.request("POST", "/v1/profiles/lab/refresh", &[], report).await;
    assert_eq!((reported.status.as_u16(), &reported.json()["code"]), (409, &json!("conflict")));
    assert_eq!(authority.requests("/authorize").len(), 2);
}
