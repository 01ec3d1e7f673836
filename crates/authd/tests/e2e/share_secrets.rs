//! Secrets that the holder of a relay share must not learn, and places where its key must not be.

use std::fs;

use authd_sandbox::{
    Account, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    doors::{Door, doors},
    helpers::{AUTHD, responses_request, sandbox},
    share_client::both,
    upstream::{PROFILE, Upstream, read_head},
};

/// Sends a request to a path of the relay, and returns everything that the client receives.
async fn receive(door: &Door, method: &str, path: &str, fields: &[&str], body: &str) -> String {
    let length = format!("Content-Length: {}", body.len());
    let fields = [&["Connection: close", "Content-Type: application/json", &length], fields].concat();
    let mut stream = door.send_head(method, path, &fields).await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).await.ok();
    String::from_utf8_lossy(&received).into_owned()
}

/// Every fault of the upstream and of the provider that leads to an error for the client.
async fn provoke(sandbox: &Sandbox, door: &Door) -> String {
    let request = responses_request("What is 2+2?").to_string();
    let ask = async || receive(door, "POST", "responses", &[], &request).await;
    let mut received = ask().await;
    for (fault, times) in [
        (Fault::Unauthorized, 2),
        (Fault::status(403, r#"{"detail":"forbidden"}"#), 1),
        (Fault::status(500, "broken"), 1),
        (Fault::RateLimited { resets_at: 4_000_000_000 }, 1),
        (Fault::Garbage, 1),
        (Fault::DropBeforeCommit, 1),
        (Fault::DropAfterCommit, 1),
        (Fault::TruncateStream, 1),
    ] {
        sandbox.faults().push_times(Route::ChatGptResponses, fault, times);
        received += &ask().await;
        // An accepted request lets the next 401 cause a refresh again.
        received += &ask().await;
    }
    let upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    for fields in [&upgrade[..], &[&upgrade[..], &["OpenAI-Beta: responses_websockets=2026-02-06"]].concat()]
    {
        let mut stream = door.send_head("GET", "responses", fields).await;
        received += &read_head(&mut stream).await;
    }
    for (method, path) in [("GET", "models"), ("GET", "nothing"), ("OPTIONS", "responses"), ("TRACE", "me")] {
        received += &receive(door, method, path, &[], "").await;
    }
    received += &receive(door, "GET", "../headers", &[], "").await;
    received
}

#[tokio::test]
async fn relay_share_never_gets_the_credential() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file").env("RUST_LOG", "trace");
    let daemon = TestDaemon::start(config).await;
    daemon.sign_in("me", "plus").await;
    daemon.sign_in("secret-name", "business").await;
    let shares = both(&daemon, json!({"profile": "me"})).await;
    let mut received = String::new();
    for share in &shares {
        for path in ["/v1/profiles/-/headers", "/v1/profiles/me/headers", "/v1/status", "/"] {
            received += &share.send("GET", path, &[], "").await.text();
        }
        received += &provoke(&sandbox, &Door::Share(share.clone())).await;
    }
    // The errors of a login that has ended, too.
    sandbox.expire_refresh_tokens();
    sandbox.expire_access_tokens();
    daemon.request("POST", "/v1/profiles/me/refresh", &[], "{}").await;
    for share in &shares {
        received += &receive(&Door::Share(share.clone()), "GET", "models", &[], "").await;
    }
    assert!(received.contains("response.completed") && received.contains("101 switching"), "{received}");
    assert!(received.contains("\"code\":\"provider_unreachable\""), "{received}");
    let log = daemon.log();
    let account = Account::plus().account_id;
    let secrets = sandbox.issued_secrets();
    assert!(secrets.len() > 8);
    for secret in secrets.iter().chain([&account, &"secret-name".to_owned()]) {
        assert!(!received.contains(secret.as_str()), "the client received {secret}");
    }
    for secret in secrets.iter().map(String::as_str).chain([shares[1].key()]) {
        assert!(!log.contains(secret), "the log contains {secret}");
    }
}

#[tokio::test]
async fn redirect_of_the_upstream_is_not_followed() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for door in doors(&daemon, PROFILE).await {
        for status in [301, 302, 303, 307, 308] {
            let mut client = door.send_head("GET", "anything", &[]).await;
            let (mut server, request) = upstream.next_request().await;
            assert!(request.contains("\r\nauthorization: bearer sk-own\r\n"), "{request}");
            let target = format!("http://{}/elsewhere", upstream.address());
            let response = format!(
                "HTTP/1.1 {status} Moved\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            server.write_all(response.as_bytes()).await.unwrap();
            // The client chooses, and it has no credential for the other location.
            let head = read_head(&mut client).await;
            assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
            assert!(head.contains(&format!("\r\nlocation: {target}\r\n")), "{head}");
            assert!(!head.contains("sk-own"), "{head}");
        }
    }
}

#[tokio::test]
async fn key_of_a_share_is_shown_once() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file").env("RUST_LOG", "trace");
    let daemon = TestDaemon::start(config).await;
    daemon.sign_in("me", "plus").await;
    let mut events = daemon.open("GET", "/v1/events", &[], "").await.unwrap().into_body();
    let [_, share] = both(&daemon, json!({"label": "test"})).await;
    assert_eq!(share.models().await, 200);
    let key = share.key();
    let secret = key.rsplit_once('.').unwrap().1;
    let mut shown = String::new();
    while !shown.contains(share.id()) {
        let frame = events.frame().await.unwrap().unwrap().into_data().unwrap();
        shown += &String::from_utf8_lossy(&frame);
    }
    for path in ["/v1/shares", "/v1/status", "/v1/metrics", "/v1/profiles", "/v1/diagnosis"] {
        shown += &daemon.request("GET", path, &[], "").await.text();
    }
    shown += &daemon.log();
    for entry in fs::read_dir(daemon.state()).unwrap() {
        shown += &String::from_utf8_lossy(&fs::read(entry.unwrap().path()).unwrap_or_default());
    }
    assert!(shown.contains("key_hash") && shown.contains(share.id()));
    assert!(!shown.contains(secret), "{shown}");
}
