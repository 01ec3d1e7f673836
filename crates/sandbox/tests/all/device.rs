//! Device login from the first request to the tokens, and its errors.

use crate::common::*;
use authd_sandbox::{Config, Sandbox};
use serde_json::{Value, json};

const START: &str = "/api/accounts/deviceauth/usercode";
const POLL: &str = "/api/accounts/deviceauth/token";

async fn start(sandbox: &Sandbox) -> Value {
    let started = post_json(sandbox, START, &[], &json!({"client_id": CLIENT})).await;
    assert_eq!(started.status, 200, "{started:?}");
    started.json()
}

async fn poll(sandbox: &Sandbox, started: &Value) -> Answer {
    let body = json!({"device_auth_id": started["device_auth_id"], "user_code": started["user_code"]});
    post_json(sandbox, POLL, &[], &body).await
}

#[tokio::test]
async fn device_is_signed_in_after_approval() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let started = start(&sandbox).await;
    assert_eq!(started["interval"], "1", "a string, as the provider sends it");
    assert_eq!(poll(&sandbox, &started).await.status, 403);

    let user_code = started["user_code"].as_str().unwrap();
    assert!(!sandbox.approve_device("AAAA-0000x", "plus"));
    assert!(!sandbox.approve_device(user_code, "nobody"));
    let pairs = [("user_code", user_code), ("account", "plus")];
    assert_eq!(post_form(&sandbox, "/codex/device", &pairs).await.status, 200);
    assert!(!sandbox.approve_device(user_code, "plus"), "the login is already approved");

    let approved = poll(&sandbox, &started).await.json();
    let verifier = approved["code_verifier"].as_str().unwrap();
    assert_eq!(approved["code_challenge"], challenge(verifier));
    let code = approved["authorization_code"].as_str().unwrap();
    let callback = format!("{}/deviceauth/callback", sandbox.url());
    let tokens = redeem(&sandbox, code, &callback, verifier).await;
    assert_eq!(tokens.status, 200, "{tokens:?}");
    assert_eq!(claims(&tokens.json()["id_token"])["email"], "user@example.com");
}

#[tokio::test]
async fn device_code_cannot_be_redeemed_with_the_browser_redirect() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let started = start(&sandbox).await;
    assert!(sandbox.approve_device(started["user_code"].as_str().unwrap(), "plus"));
    let approved = poll(&sandbox, &started).await.json();
    let (code, verifier) = (&approved["authorization_code"], &approved["code_verifier"]);
    let tokens = redeem(&sandbox, code.as_str().unwrap(), REDIRECT, verifier.as_str().unwrap()).await;
    assert_eq!(tokens.error_code(), "invalid_grant");
}

#[tokio::test]
async fn denied_unknown_and_disabled_logins_fail() {
    let sandbox = Sandbox::start(Config::default()).await.unwrap();
    let started = start(&sandbox).await;
    assert!(sandbox.deny_device(started["user_code"].as_str().unwrap()));
    let denied = poll(&sandbox, &started).await;
    assert_eq!((denied.status, denied.error_code().as_str()), (400, "access_denied"));
    let unknown = poll(&sandbox, &json!({"device_auth_id": "x", "user_code": "ABCD-1234"})).await;
    assert_eq!(unknown.status, 404);

    let off = Sandbox::start(Config { device_login: false, ..Config::default() }).await.unwrap();
    assert_eq!(post_json(&off, START, &[], &json!({"client_id": CLIENT})).await.status, 404);
}
