//! What a profile of a defined provider cannot do, and what the diagnosis says about it.

use std::{fs, os::unix::fs::symlink};

use authd_oauth::{Authority, ClientAuth, GrantSecrets, OauthClient};
use authd_sandbox::test_daemon::TestDaemon;
use serde_json::{Value, json};

use crate::{
    bearer_profile::{Server, daemon, grant},
    helpers::sandbox,
};

fn authority(server: &Server) -> Authority {
    Authority { token_url: format!("{}/token", server.url), ..Authority::default() }
}

/// Sends a request that is a conflict, and returns the problem.
async fn conflict(daemon: &TestDaemon, method: &str, path: &str, body: Value) -> Value {
    let reply = daemon.request(method, path, &[], body.to_string()).await;
    let problem = reply.json();
    assert_eq!((reply.status.as_u16(), &problem["code"]), (409, &json!("conflict")), "{path}: {problem}");
    assert!(problem["hint"].is_string(), "{problem}");
    problem
}

#[tokio::test]
async fn codex_compat_and_api_keys_are_refused_and_change_nothing() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let daemon = daemon(&sandbox, grant(authority(&server))).await;
    let before = daemon.get("/v1/profiles").await;
    let home = daemon.dir().join("codex");
    fs::create_dir(&home).unwrap();
    let body = json!({"home": home});
    let installed = conflict(&daemon, "PUT", "/v1/profiles/lab/codex", body).await;
    assert!(installed["detail"].as_str().unwrap().contains("\"lab\" is not of OpenAI"), "{installed}");
    let body = json!({"target": "codex", "path": home.join("auth.json")});
    let exported = conflict(&daemon, "POST", "/v1/profiles/lab/export", body).await;
    assert_eq!(exported["detail"], installed["detail"]);
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0, "nothing is written");
    let body = json!({"profile": "lab", "door": "loopback", "compat": "responses"});
    let compat = conflict(&daemon, "POST", "/v1/shares", body).await;
    assert!(compat["detail"].as_str().unwrap().contains("compat has no meaning"), "{compat}");
    let key = conflict(&daemon, "PUT", "/v1/profiles/lab/api-key", json!({"api_key": "sk-1"})).await;
    assert_eq!(key["detail"], "profile \"lab\" is a sign-in at provider \"lab\"");
    assert_eq!(daemon.get("/v1/profiles").await, before);
    assert_eq!(daemon.get("/v1/shares").await["shares"], json!([]));
}

#[tokio::test]
async fn expired_token_without_a_refresh_token_needs_a_sign_in() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let mut expired = grant(authority(&server));
    if let GrantSecrets::Bearer(bearer) = &mut expired.secrets {
        bearer.tokens.expires_at = Some(expired.issued_at);
    }
    let daemon = daemon(&sandbox, expired).await;
    let profile = daemon.get("/v1/profiles/lab").await;
    assert_eq!(profile["state"], "login_required");
    let reply = daemon.request("GET", "/v1/profiles/lab/headers", &[], "").await;
    assert_eq!(reply.json(), profile["last_error"]);
    assert_eq!(reply.json()["hint"], "run: authctl login lab");
}

#[tokio::test]
async fn diagnosis_tries_the_authorization_server_and_the_secret() {
    let (sandbox, server) = (sandbox().await, Server::start().await);
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    let client =
        OauthClient { id: "me".to_owned(), auth: ClientAuth::Post, secret_file: Some(secret.clone()) };
    let daemon = daemon(&sandbox, grant(Authority { client, ..authority(&server) })).await;
    let findings = async |check: &str| {
        let diagnosis = daemon.get("/v1/diagnosis").await;
        let all = diagnosis["findings"].as_array().unwrap().iter();
        all.filter(|finding| finding["check"] == check).cloned().collect::<Vec<_>>()
    };
    assert_eq!(findings(&server.url).await[0]["state"], "ok");
    assert_eq!(findings("profile lab").await[0]["detail"], "signed in at provider \"lab\"");
    let unusable = findings("client secret").await;
    assert_eq!((unusable.len(), &unusable[0]["state"]), (1, &json!("failed")));
    assert!(unusable[0]["detail"].as_str().unwrap().contains(secret.to_str().unwrap()), "{unusable:?}");
    symlink("/dev/null", &secret).unwrap();
    assert!(findings("client secret").await[0]["detail"].as_str().unwrap().contains("is empty"));
    fs::remove_file(&secret).unwrap();
    fs::write(&secret, "s3cret\n").unwrap();
    assert_eq!(findings("client secret").await, [] as [Value; 0]);
}
