//! Refreshes of a defined provider's profile that the provider refuses.

use authd_oauth::{Authority, Grant, GrantSecrets};
use authd_sandbox::test_daemon::TestDaemon;
use http::StatusCode;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::{
    bearer_profile::{Server, daemon, renewable},
    helpers::sandbox,
};

const HEADERS: &str = "/v1/profiles/lab/headers";

fn at(server: &Server) -> Authority {
    Authority { token_url: format!("{}/token", server.url), ..Authority::default() }
}

/// The grant with a token of an hour, of which some time is over.
fn issued_before(authority: Authority, age: SignedDuration) -> Grant {
    let mut grant = renewable(authority);
    grant.issued_at -= age;
    if let GrantSecrets::Bearer(bearer) = &mut grant.secrets {
        bearer.tokens.expires_at = bearer.tokens.expires_at.map(|at| at - age);
    }
    grant
}

fn refuse(server: &Server, status: u16, code: &str) {
    let body = json!({"error": code, "error_description": "not for logs"}).to_string();
    server.answer((StatusCode::from_u16(status).unwrap(), [("content-type", "application/json")], body));
}

async fn refresh(daemon: &TestDaemon, body: &Value) -> Value {
    let headers = [("content-type", "application/json")];
    daemon.request("POST", "/v1/profiles/lab/refresh", &headers, body.to_string()).await.json()
}

#[tokio::test]
async fn refusal_while_the_token_is_valid_is_told_and_the_token_served() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let mut daemon = daemon(&sandbox, issued_before(at(&server), SignedDuration::from_mins(20))).await;
    refuse(&server, 400, "invalid_grant");
    let problem = refresh(&daemon, &json!({})).await;
    assert_eq!(
        (&problem["code"], &problem["provider_code"]),
        (&json!("provider_refused"), &json!("invalid_grant"))
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("its token is served until it expires at"), "{detail}");
    assert!(problem["hint"].as_str().unwrap().contains("authctl login lab"), "{problem}");
    assert!(!daemon.log().contains("sign-in required"), "{}", daemon.log());
    // A client with a demand gets an answer at once, others get the token.
    let reply = daemon.request("GET", &format!("{HEADERS}?min_ttl=3000"), &[], "").await;
    assert_eq!(reply.json()["code"], "provider_refused");
    assert!(daemon.request("GET", HEADERS, &[], "").await.status.is_success());
    assert_eq!(
        (daemon.get("/v1/profiles/lab").await["state"].clone(), server.requests().len()),
        (json!("ready"), 1)
    );
    // Nothing is lost: the provider accepts the same token after a restart.
    assert!(daemon.sigterm_and_wait().await.success());
    daemon.start_again().await;
    server.issue("at-2");
    assert_eq!(refresh(&daemon, &json!({})).await["state"], "ready");
    assert_eq!(daemon.get(HEADERS).await["headers"], json!([["Authorization", "Bearer at-2"]]));
}

#[tokio::test]
async fn refusal_of_a_token_that_an_upstream_rejected_needs_a_sign_in() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let daemon = daemon(&sandbox, renewable(at(&server))).await;
    refuse(&server, 400, "invalid_grant");
    let rejected = json!({"rejected_generation": 1, "grant_id": "grant-1"});
    let problem = refresh(&daemon, &rejected).await;
    assert_eq!(
        (&problem["code"], &problem["provider_code"]),
        (&json!("login_required"), &json!("invalid_grant"))
    );
    assert_eq!(daemon.get("/v1/profiles/lab").await["state"], "login_required");
    assert!(daemon.log().contains("sign-in required"), "{}", daemon.log());
    let reply = daemon.request("GET", HEADERS, &[], "").await;
    assert_eq!(reply.json()["code"], "login_required");
}

/// A client id that was deleted may be restored, and its secret replaced.
#[tokio::test]
async fn refusal_of_the_client_never_ends_the_grant() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let daemon = daemon(&sandbox, renewable(at(&server))).await;
    refuse(&server, 401, "invalid_client");
    let rejected = json!({"rejected_generation": 1, "grant_id": "grant-1"});
    let problem = refresh(&daemon, &rejected).await;
    assert_eq!(
        (&problem["code"], &problem["provider_code"]),
        (&json!("provider_refused"), &json!("invalid_client"))
    );
    let (detail, hint) = (problem["detail"].as_str().unwrap(), problem["hint"].as_str().unwrap());
    assert!(detail.contains("the provider does not know the client, or rejects its secret"), "{detail}");
    assert!(hint.contains("client_secret_file") && hint.ends_with("; authd tries again by itself"), "{hint}");
    assert_eq!(daemon.get("/v1/profiles/lab").await["state"], "ready");
    assert!(!daemon.log().contains("not for logs"), "a response body is never copied");
}

/// The user asked for a revocation, so the profile stays until the provider has revoked it.
#[tokio::test]
async fn sign_out_that_cannot_revoke_keeps_the_profile() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    for (revocation_url, code, detail) in [
        (None, "conflict", "the provider has no revocation endpoint"),
        (Some(format!("{}/revoke", server.url)), "provider_refused", "does not revoke tokens of this kind"),
    ] {
        let daemon = daemon(&sandbox, renewable(Authority { revocation_url, ..at(&server) })).await;
        refuse(&server, 400, "unsupported_token_type");
        let reply = daemon.request("DELETE", "/v1/profiles/lab?revoke=true", &[], "").await;
        let problem = reply.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        assert_eq!(problem["hint"], "to delete it only on this machine: authctl logout lab");
        assert_eq!(daemon.get("/v1/profiles/lab").await["state"], "ready");
        assert_eq!(daemon.request("DELETE", "/v1/profiles/lab", &[], "").await.status, 204);
    }
}
