//! Every operation of the API, and the action that it records in the audit log.

use std::{collections::BTreeSet, fs};

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

use crate::{
    audit::{audited, entries},
    doors::Door,
    helpers::{AUTHD, responses_request, sandbox},
    share_client::{Holder, both},
};

/// The operations that record an action. An operation that uses a credential, or changes which
/// programs can, belongs here.
const RECORDED: [(&str, &str, &str); 15] = [
    ("GET", "/v1/profiles/{profile}/headers", "headers"),
    ("*", "/v1/profiles/{profile}/relay", "relay"),
    ("*", "/v1/profiles/{profile}/relay/{path}", "relay"),
    ("*", "/v1/profiles/{profile}/relay-backend/{path}", "relay"),
    ("POST", "/v1/profiles/{profile}/refresh", "refresh"),
    ("POST", "/v1/logins", "login_started"),
    ("PUT", "/v1/profiles/{profile}/api-key", "token_stored"),
    ("PUT", "/v1/profiles/{profile}/token", "token_stored"),
    ("DELETE", "/v1/profiles/{profile}", "sign_out"),
    ("POST", "/v1/import", "import"),
    ("POST", "/v1/profiles/{profile}/export", "export"),
    ("PUT", "/v1/profiles/{profile}/codex", "codex_installed"),
    ("DELETE", "/v1/profiles/{profile}/codex", "codex_uninstalled"),
    ("POST", "/v1/shares", "share"),
    ("DELETE", "/v1/shares/{id}", "unshare"),
];

/// The operations that hand out no credential and change no access to one. The end of a login is
/// recorded by its event, whichever way it ends.
const NOT_RECORDED: [(&str, &str); 23] = [
    ("GET", "/v1/status"),
    ("GET", "/v1/diagnosis"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/events"),
    ("GET", "/v1/metrics"),
    ("GET", "/v1/openapi.json"),
    ("GET", "/v1/logins"),
    ("GET", "/v1/logins/{id}"),
    ("DELETE", "/v1/logins/{id}"),
    ("POST", "/v1/logins/{id}/callback"),
    ("GET", "/v1/profiles"),
    ("GET", "/v1/profiles/{profile}"),
    ("GET", "/v1/profiles/{profile}/quota"),
    ("PATCH", "/v1/profiles/{profile}"),
    ("GET", "/v1/shares"),
    ("GET", "/v1/shares/{id}/hold"),
    ("GET", "/v1/codex"),
    ("GET", "/v1/providers"),
    ("PUT", "/v1/providers/{name}"),
    ("DELETE", "/v1/providers/{name}"),
    ("POST", "/v1/providers/check"),
    ("POST", "/v1/store/migrate"),
    ("POST", "/v1/store/rekey"),
];

/// The operations of the OpenAPI document. The methods of a relay are one.
fn operations(document: &Value) -> BTreeSet<(String, String)> {
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let is_relay = path.contains("/relay");
            let method = if is_relay { "*".to_owned() } else { method.to_uppercase() };
            operations.insert((method, path.clone()));
        }
    }
    operations
}

#[tokio::test]
async fn every_operation_is_recorded_or_listed_as_not_recorded() {
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    let recorded = RECORDED.map(|(method, path, _)| (method, path));
    let known = recorded.into_iter().chain(NOT_RECORDED);
    let known: BTreeSet<_> = known.map(|(method, path)| (method.to_owned(), path.to_owned())).collect();
    assert_eq!(known.len(), RECORDED.len() + NOT_RECORDED.len());
    assert_eq!(operations(&daemon.get("/v1/openapi.json").await), known);
}

/// Performs each recorded operation once, and returns what the client has received. `method` is
/// that of the relay.
async fn perform_all(sandbox: &Sandbox, daemon: &TestDaemon, method: &str) -> String {
    let home = daemon.dir().join("codex");
    fs::create_dir_all(&home).unwrap();
    let home = json!({"home": home}).to_string();
    let auth = daemon.dir().join("exported/auth.json");
    fs::create_dir_all(auth.parent().unwrap()).unwrap();
    let mut received = daemon.sign_in("me", "plus").await.to_string();
    let mut request = async |method: &str, path: &str, body: &str, is_ok: bool| {
        let reply = daemon.request(method, path, &[], body.to_owned()).await;
        assert!(reply.status.is_success() || !is_ok, "{method} {path}: {} {}", reply.status, reply.text());
        received += &reply.text();
        reply
    };
    request("GET", "/v1/profiles/me/headers", "", true).await;
    for path in ["relay", "relay/responses", "relay-backend/me"] {
        let body =
            if method == "POST" { responses_request("What is 2+2?").to_string() } else { String::new() };
        // The sandbox does not have all of these methods and paths. The request is sent anyway.
        request(method, &format!("/v1/profiles/me/{path}"), &body, false).await;
    }
    request("POST", "/v1/profiles/me/refresh", "{}", true).await;
    let key = json!({"api_key": sandbox.issue_api_key("plus")}).to_string();
    request("PUT", "/v1/profiles/own/api-key", &key, true).await;
    let token = json!({"token": sandbox.issue_personal_access_token("business")}).to_string();
    request("PUT", "/v1/profiles/ci/token", &token, true).await;
    request("PUT", "/v1/profiles/me/codex", &home, true).await;
    request("DELETE", "/v1/profiles/me/codex", &home, true).await;
    let share = request("POST", "/v1/shares", r#"{"profile":"me"}"#, true).await.json();
    request("DELETE", &format!("/v1/shares/{}", share["id"].as_str().unwrap()), "", true).await;
    let exported = json!({"target": "codex", "path": auth}).to_string();
    request("POST", "/v1/profiles/me/export", &exported, true).await;
    let imported = json!({"source": "codex", "path": auth, "profile": "me"}).to_string();
    request("POST", "/v1/import", &imported, true).await;
    request("DELETE", "/v1/profiles/me", "", true).await;
    request("DELETE", "/v1/profiles/own", "", true).await;
    request("DELETE", "/v1/profiles/ci", "", true).await;
    received
}

#[tokio::test]
async fn every_action_is_recorded() {
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"] {
        let before = entries(&daemon, "").await;
        perform_all(&sandbox, &daemon, method).await;
        let found = entries(&daemon, "").await;
        let count = |entries: &[Value], action: &str| -> u64 {
            let of_action = entries.iter().filter(|entry| entry["action"] == action);
            of_action.map(|entry| entry["count"].as_u64().unwrap()).sum()
        };
        let mut expected: Vec<&str> = RECORDED.iter().map(|(.., action)| *action).collect();
        // The other two sign-outs are those of the API key and of the token.
        expected.extend(["login", "sign_out", "sign_out"]);
        for action in &expected {
            let times = expected.iter().filter(|other| *other == action).count() as u64;
            assert_eq!(count(&found, action) - count(&before, action), times, "{method} {action}");
        }
        for entry in &found {
            assert!(expected.iter().any(|action| entry["action"] == *action), "{entry}");
            assert!(["me", "own", "ci"].iter().any(|name| entry["profile"] == *name), "{entry}");
            assert_eq!(entry["process"]["pid"], std::process::id(), "{entry}");
        }
    }
}

/// Everything that a secret could be copied from: the tokens, codes and keys that the sandbox has
/// issued, the keys of shares, and what the client sent.
fn secrets(sandbox: &Sandbox, shares: &[Holder]) -> Vec<String> {
    let mut secrets = sandbox.issued_secrets();
    secrets.extend(shares.iter().map(|share| share.key().to_owned()).filter(|key| !key.is_empty()));
    secrets.extend(["secret-query", "secret-body"].map(str::to_owned));
    secrets
}

#[tokio::test]
async fn no_secret_is_in_the_audit_log() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).toml("[audit]\nto = 'file'");
    let mut daemon = TestDaemon::start(config.env("RUST_LOG", "trace")).await;
    perform_all(&sandbox, &daemon, "POST").await;
    daemon.sign_in("me", "plus").await;
    daemon.sign_in("work", "business").await;
    let mut shares = Vec::new();
    for profile in ["me", "work"] {
        shares.extend(both(&daemon, json!({"profile": profile, "allow": "headers"})).await);
    }
    for share in &shares {
        let reply = share.send("GET", "/v1/profiles/-/headers", &[], "").await;
        assert!(reply.status.is_success(), "{}", reply.text());
        let door = Door::Share(share.clone());
        door.send("POST", "responses?q=secret-query", r#"{"input":"secret-body"}"#).await;
        // A client that has the token can send it in a path.
        let token = reply.json()["headers"][0][1].as_str().unwrap().replace("Bearer ", "");
        door.send("GET", &format!("{token}/x"), "").await;
        door.send("GET", &format!("x/{token}"), "").await;
    }
    let served = entries(&daemon, "").await;
    assert!(daemon.sigterm_and_wait().await.success());
    let text = fs::read_to_string(daemon.state().join("audit.jsonl")).unwrap();
    assert!(served.len() > 20 && text.lines().count() >= served.len());
    let secrets = secrets(&sandbox, &shares);
    assert!(secrets.len() > 20, "{}", secrets.len());
    for secret in secrets {
        assert!(!text.contains(&secret), "the audit log contains {secret}");
    }
}
