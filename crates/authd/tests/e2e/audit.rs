//! The audit log: its entries, its files, and what happens when they cannot be written.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use authd_sandbox::{
    Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::UnixStream};

use crate::{
    doors::{Door, doors},
    helpers::{AUTHD, reload, sandbox, start},
};

/// A daemon whose audit log is in its state directory.
pub(crate) async fn audited(sandbox: &Sandbox) -> TestDaemon {
    TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox).toml("[audit]\nto = 'file'")).await
}

/// The entries of the log that a query selects.
pub(crate) async fn entries(daemon: &TestDaemon, query: &str) -> Vec<Value> {
    let reply = daemon.request("GET", &format!("/v1/audit{query}"), &[], "").await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "application/jsonl"));
    lines(&reply.text())
}

/// Relays this many requests, each of which is a use of its own.
#[cfg(target_os = "linux")]
pub(crate) async fn relay_different_uses(daemon: &TestDaemon, uses: usize) {
    for first in (0..uses).step_by(16) {
        let send = async |number| {
            let path = format!("/v1/profiles/me/relay/use-{number}");
            daemon.request("GET", &path, &[], "").await.status.as_u16()
        };
        let statuses = futures_util::future::join_all((first..(first + 16).min(uses)).map(send)).await;
        assert!(statuses.iter().all(|status| *status == 404), "{statuses:?}");
    }
}

pub(crate) fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The sum of the counts of an action.
fn count(entries: &[Value], action: &str) -> u64 {
    let of_action = entries.iter().filter(|entry| entry["action"] == action);
    of_action.map(|entry| entry["count"].as_u64().unwrap()).sum()
}

fn log_file(daemon: &TestDaemon) -> PathBuf {
    daemon.state().join("audit.jsonl")
}

#[tokio::test]
async fn entry_names_the_process_the_profile_and_the_request() {
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    let login = daemon.sign_in("me", "plus").await;
    let headers = daemon.get("/v1/profiles/me/headers").await;
    let entries = entries(&daemon, "").await;
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["login_started", "login", "headers"]);
    for entry in &entries {
        assert_eq!((&entry["count"], &entry["profile"]), (&json!(1), &json!("me")), "{entry}");
        assert_eq!(entry["process"]["pid"], std::process::id(), "{entry}");
        assert_eq!(entry["process"]["uid"], rustix::process::getuid().as_raw());
        assert!(entry.get("share").is_none() && entry.get("path").is_none(), "{entry}");
    }
    assert_eq!((&entries[0]["login"], &entries[1]["login"]), (&login["id"], &login["id"]));
    assert_eq!(entries[2]["generation"], headers["generation"]);
    // The redirect of a browser is no request of a client.
    let with_request: Vec<_> = entries.iter().map(|entry| entry["request"].is_u64()).collect();
    assert_eq!(with_request, [true, false, true]);
    let mode = fs::metadata(log_file(&daemon)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn requests_through_every_door_are_recorded() {
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let doors: Vec<Door> = doors(&daemon, "me").await.collect();
    for door in &doors {
        for path in [
            "models?client_version=0.34.0",
            "a-first-segment-of-more-than-32-characters/x",
            "a/b?secret=none",
            "",
        ] {
            door.send("GET", path, "").await;
        }
    }
    let entries = entries(&daemon, "?profile=me").await;
    for (number, door) in doors.iter().enumerate() {
        let (id, pid) = match door {
            Door::Daemon { .. } => (Value::Null, json!(std::process::id())),
            Door::Share(share) if number == 1 => (json!(share.id()), json!(std::process::id())),
            // The kernel does not name the process of a TCP client.
            Door::Share(share) => (json!(share.id()), Value::Null),
        };
        let is_relay = |entry: &&Value| entry["action"] == "relay" && entry["share"] == id;
        let relayed: Vec<_> = entries.iter().filter(is_relay).collect();
        let mut paths: Vec<_> =
            relayed.iter().map(|entry| (entry["path"].as_str(), entry["count"].as_u64())).collect();
        paths.sort_unstable();
        let expected = [(None, Some(1)), (None, Some(1)), (Some("a"), Some(1)), (Some("models"), Some(1))];
        assert_eq!(paths, expected, "{relayed:?}");
        assert!(relayed.iter().all(|entry| entry["process"]["pid"] == pid), "{relayed:?}");
    }
    let text = fs::read_to_string(log_file(&daemon)).unwrap();
    assert!(!text.contains("secret=none") && !text.contains("a-first-segment"), "{text}");
}

#[tokio::test]
async fn repeated_uses_are_counted_in_few_lines() {
    let sandbox = sandbox().await;
    let mut daemon = audited(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    for _ in 0..100 {
        daemon.get("/v1/profiles/me/headers").await;
    }
    let found = entries(&daemon, "").await;
    assert_eq!(count(&found, "headers"), 100);
    // One more minute may have begun meanwhile.
    assert!(found.iter().filter(|entry| entry["action"] == "headers").count() <= 4, "{found:?}");
    // The repeats that no line counts yet are written at the end.
    for _ in 0..10 {
        daemon.get("/v1/profiles/me/headers").await;
    }
    assert!(daemon.sigterm_and_wait().await.success());
    let text = fs::read_to_string(log_file(&daemon)).unwrap();
    assert_eq!(count(&lines(&text), "headers"), 110);
}

#[tokio::test]
async fn refused_action_and_unchanged_headers_are_not_recorded() {
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let etag = daemon.request("GET", "/v1/profiles/me/headers", &[], "").await.header("etag").to_owned();
    let unchanged = daemon.request("GET", "/v1/profiles/me/headers", &[("if-none-match", &etag)], "").await;
    assert_eq!(unchanged.status.as_u16(), 304);
    for (method, path, body) in [
        ("GET", "/v1/profiles/me/headers?min_ttl=999999999", ""),
        ("GET", "/v1/profiles/none/headers", ""),
        ("DELETE", "/v1/profiles/none", ""),
        ("DELETE", "/v1/shares/q1Zb7RkXw0Tn", ""),
        ("POST", "/v1/shares", r#"{"profile":"none"}"#),
        ("POST", "/v1/import", r#"{"source":"codex","path":"/none/auth.json"}"#),
        ("GET", "/v1/profiles/me/relay/..%2Fx/../y", ""),
    ] {
        daemon.request(method, path, &[], body).await;
    }
    let found = entries(&daemon, "").await;
    let recorded: Vec<_> = found.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    // The daemon has a token that lasts as long as the provider gives one.
    let headers = recorded.iter().filter(|action| **action == "headers").count();
    assert!(headers <= 2 && recorded.len() == 2 + headers, "{recorded:?}");
}

#[tokio::test]
async fn action_of_a_client_that_disconnects_is_recorded() {
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    sandbox.faults().push(Route::Revoke, Fault::Stall);
    let mut client = UnixStream::connect(daemon.socket()).await.unwrap();
    client.write_all(b"DELETE /v1/profiles/me?revoke=true HTTP/1.1\r\nHost: authd\r\n\r\n").await.unwrap();
    while sandbox.count(Route::Revoke) == 0 {
        daemon.get("/v1/status").await;
    }
    drop(client);
    while count(&entries(&daemon, "").await, "sign_out") == 0 {
        daemon.get("/v1/status").await;
    }
    sandbox.faults().release();
    while !daemon.get("/v1/profiles").await["profiles"].as_array().unwrap().is_empty() {}
    assert_eq!(count(&entries(&daemon, "").await, "sign_out"), 1);
}

#[tokio::test]
async fn log_is_off_by_default_and_follows_a_reload() {
    let sandbox = sandbox().await;
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox)).await;
    daemon.sign_in("me", "plus").await;
    let refused = daemon.request("GET", "/v1/audit", &[], "").await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (409, &json!("conflict")));
    assert!(refused.json()["hint"].as_str().unwrap().contains("[audit] to = \"file\""));
    assert_eq!(daemon.get("/v1/status").await["audit"], json!({"to": "off", "lost": 0}));
    assert!(!log_file(&daemon).exists());
    let without = fs::read_to_string(daemon.config()).unwrap();
    fs::write(daemon.config(), format!("{without}\n[audit]\nto = 'file'\n")).unwrap();
    reload(&daemon).await;
    daemon.get("/v1/profiles/me/headers").await;
    daemon.get("/v1/profiles/me/headers").await;
    assert_eq!(count(&entries(&daemon, "").await, "headers"), 2);
    let status = daemon.get("/v1/status").await;
    assert_eq!(status["audit"], json!({"to": "file", "path": log_file(&daemon), "lost": 0}));
    fs::write(daemon.config(), without).unwrap();
    daemon.get("/v1/profiles/me/headers").await;
    reload(&daemon).await;
    daemon.get("/v1/profiles/me/headers").await;
    while daemon.get("/v1/status").await["audit"]["to"] != "off" {}
    while count(&lines(&fs::read_to_string(log_file(&daemon)).unwrap()), "headers") < 3 {
        daemon.get("/v1/status").await;
    }
}

/// Reads a stream until its text contains a word.
async fn read_until(stream: &mut Incoming, text: &mut String, word: &str) {
    while !text.contains(word) {
        let frame = tokio::time::timeout(Duration::from_secs(20), stream.frame()).await;
        text.push_str(str::from_utf8(frame.unwrap().unwrap().unwrap().data_ref().unwrap()).unwrap());
    }
}

#[tokio::test]
async fn follower_gets_new_entries_across_a_rotation_and_a_torn_line() {
    let sandbox = sandbox().await;
    let toml = "[audit]\nto = 'file'\nsize = 1\nfiles = 2";
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(toml)).await;
    daemon.sign_in("me", "plus").await;
    // The end of a login is recorded after the client may have seen it.
    while entries(&daemon, "").await.len() < 2 {}
    daemon.kill9().await;
    // A crash has torn the last line, and the file is almost full.
    let whole = fs::read_to_string(log_file(&daemon)).unwrap();
    let mut file = fs::OpenOptions::new().append(true).open(log_file(&daemon)).unwrap();
    write!(file, "{}\n{{\"time\":\"20", "x".repeat((1 << 20) - whole.len() - 200)).unwrap();
    daemon.start_again().await;
    let response = daemon.open("GET", "/v1/audit?follow=true", &[], "").await.unwrap();
    let (mut stream, mut text) = (response.into_body(), String::new());
    read_until(&mut stream, &mut text, "login_started").await;
    daemon.sign_in("work", "business").await;
    read_until(&mut stream, &mut text, r#""action":"login","count":1,"profile":"work""#).await;
    daemon.get("/v1/profiles/work/headers").await;
    read_until(&mut stream, &mut text, "headers").await;
    let found = lines(&text);
    let actions: Vec<_> = found.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["login_started", "login", "login_started", "login", "headers"]);
    assert!(log_file(&daemon).with_extension("jsonl.1").exists());
    let since = found[2]["time"].as_str().unwrap();
    assert_eq!(entries(&daemon, &format!("?since={since}")).await, found[2..]);
    assert_eq!(entries(&daemon, "?profile=me").await, found[..2]);
    daemon.signal(rustix::process::Signal::TERM);
    assert!(stream.frame().await.is_none(), "the stream ends with the daemon");
    assert!(daemon.wait().await.success());
}

#[tokio::test]
async fn login_that_a_shutdown_finishes_is_recorded() {
    let sandbox = sandbox().await;
    let mut daemon = audited(&sandbox).await;
    let (login, url) = start(&daemon, json!({"profile": "me"})).await;
    sandbox.faults().push(Route::CodeExchange, Fault::Stall);
    let browse = async { sandbox.browser().sign_in(&url, "plus").await.ok() };
    let stop = async {
        while sandbox.count(Route::CodeExchange) == 0 {
            tokio::task::yield_now().await;
        }
        daemon.signal(rustix::process::Signal::TERM);
        // The daemon has begun to stop once it accepts no connection.
        while UnixStream::connect(daemon.socket()).await.is_ok() {
            tokio::task::yield_now().await;
        }
        sandbox.faults().release();
    };
    tokio::join!(browse, stop);
    assert!(daemon.wait().await.success());
    let found = lines(&fs::read_to_string(log_file(&daemon)).unwrap());
    assert_eq!(found.last().unwrap()["action"], "login");
    assert_eq!(found.last().unwrap()["login"], login["id"]);
}

#[tokio::test]
async fn service_goes_on_without_a_journal() {
    if Path::new("/run/systemd/journal/socket").exists() {
        return;
    }
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).toml("[audit]\nto = 'journal'");
    let mut daemon = TestDaemon::start(config).await;
    daemon.sign_in("me", "plus").await;
    daemon.get("/v1/profiles/me/headers").await;
    let status = loop {
        let status = daemon.get("/v1/status").await;
        if status["audit"]["error"].is_string() {
            break status;
        }
    };
    assert!(status["audit"]["error"].as_str().unwrap().starts_with("/run/systemd/journal/socket: "));
    let refused = daemon.request("GET", "/v1/audit", &[], "").await;
    assert!(refused.json()["hint"].as_str().unwrap().contains("journalctl -t authd-audit"));
    assert!(daemon.sigterm_and_wait().await.success());
    assert!(daemon.log().contains("uses not recorded in the audit log lost=3"), "{}", daemon.log());
}
