//! Notification of changes: the event stream, hooks and the desktop.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use authd_sandbox::{
    Fault, Route,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::{
    desktop_session::DesktopSession,
    helpers::{AUTHD, daemon, sandbox, start},
    upstream::send_head,
};

/// Time limit for an event. It only ends a test that hangs.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(20);

/// The event stream, read event by event.
pub(crate) struct Stream {
    body: Incoming,
    text: String,
}

impl Stream {
    pub(crate) async fn open(daemon: &TestDaemon) -> Self {
        let response = daemon.open("GET", "/v1/events", &[], "").await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body(), text: String::new() }
    }

    /// Waits for the next event of this kind that matches.
    pub(crate) async fn wait_for(&mut self, kind: &str, matches: impl Fn(&Value) -> bool) -> Value {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (head, data) = event.split_once("\ndata: ").unwrap();
                let (is_kind, data) = (head == format!("event: {kind}"), serde_json::from_str(data).unwrap());
                self.text = String::from(rest);
                if is_kind && matches(&data) {
                    return data;
                }
            }
            let frame = tokio::time::timeout(TIMEOUT, self.body.frame()).await;
            let frame = frame.unwrap_or_else(|_| panic!("no matching event {kind}"));
            let data = frame.expect("the stream continues").unwrap().into_data().unwrap();
            self.text += &String::from_utf8_lossy(&data);
        }
    }
}

#[tokio::test]
async fn every_change_of_state_is_an_event_without_secrets() {
    let sandbox = sandbox().await;
    let mut daemon = daemon(&sandbox).await;
    let mut stream = Stream::open(&daemon).await;
    stream.wait_for("store", |store| store["state"] == "ready").await;
    stream.wait_for("callback", |callback| callback["state"] == "listening").await;
    let login = daemon.sign_in("default", "plus").await;
    let event = stream.wait_for("login", |event| event["state"] == "pending").await;
    assert_eq!((&event["id"], &event["authorize_url"]), (&login["id"], &Value::Null));
    assert_eq!(event["open_url"], Value::Null);
    stream.wait_for("profile", |event| event["state"] == "ready" && event["generation"] == 1).await;
    stream.wait_for("login", |event| event["state"] == "succeeded").await;
    daemon.post("/v1/profiles/-/refresh", json!({})).await;
    stream.wait_for("profile", |event| event["generation"] == 2).await;
    daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"home"}"#).await;
    stream.wait_for("profile_gone", |event| event["name"] == "default").await;
    sandbox.revoke_account("plus");
    daemon.request("POST", "/v1/profiles/home/refresh", &[], "{}").await;
    // An event before this one can still show the rename that is being finished.
    let event = stream.wait_for("profile", |event| event["last_error"]["code"] == "login_required").await;
    let (state, required) = (&event["state"], &event["sign_in_required"]);
    assert_eq!((state, required), (&json!("ready"), &json!(true)), "the token is still valid");
    // The shutdown ends the stream and does not wait for it.
    daemon.signal(rustix::process::Signal::TERM);
    let rest = stream.body.collect().await.unwrap().to_bytes();
    let all = stream.text + &String::from_utf8_lossy(&rest);
    assert!(!sandbox.issued_secrets().iter().any(|secret| all.contains(secret.as_str())));
    assert!(daemon.wait().await.success());
    assert!(!daemon.log().contains("unfinished work"), "{}", daemon.log());
}

#[tokio::test]
async fn a_new_stream_begins_with_the_existing_logins() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let completed = daemon.sign_in("default", "plus").await;
    let (pending, _) = start(&daemon, json!({"profile": "work"})).await;
    let mut stream = Stream::open(&daemon).await;
    for (login, state) in [(completed, "succeeded"), (pending, "pending")] {
        let event = stream.wait_for("login", |event| event["id"] == login["id"]).await;
        assert_eq!((&event["state"], &event["authorize_url"]), (&json!(state), &Value::Null));
    }
}

#[tokio::test]
async fn unread_streams_do_not_buffer_copies_of_all_events() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let key = json!({"api_key": format!("sk-{}", "x".repeat(100)), "check": false}).to_string();
    for number in 0..300 {
        let path = format!("/v1/profiles/profile-{number}/api-key");
        assert!(daemon.request("PUT", &path, &[], key.clone()).await.status.is_success());
    }
    let mut stream = Stream::open(&daemon).await;
    for number in [0, 299, 99] {
        stream.wait_for("profile", |event| event["name"] == format!("profile-{number}")).await;
    }
    let before = resident_kb(&daemon);
    // The limit of one process, all unread.
    let mut unread = Vec::new();
    for _ in 1..64 {
        unread.push(send_head(&daemon, "GET /v1/events", &[]).await);
    }
    let refused = daemon.request("GET", "/v1/events", &[], "").await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (429, &json!("too_many_requests")));
    let after = resident_kb(&daemon);
    assert!(after < before + 4 * 1024, "from {before} kB to {after} kB");
    // A closed stream frees its slot.
    drop(unread.pop());
    while daemon.open("GET", "/v1/events", &[], "").await.unwrap().status() != 200 {}
}

/// The resident memory of the daemon in kB, or 0 where the system has no `/proc`.
fn resident_kb(daemon: &TestDaemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The configuration of a hook that appends its input as a line to a file, and the file.
fn hook(directory: &Path) -> (String, PathBuf) {
    let (script, output) = (directory.join("hook"), directory.join("output"));
    fs::write(&script, format!("#!/bin/sh\ncat >> {0}\necho >> {0}\n", output.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    (format!("[hooks]\nlogin_required = [\"{}\"]", script.display()), output)
}

#[tokio::test]
async fn a_hook_runs_once_when_a_sign_in_is_required() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let (toml, output) = hook(directory.path());
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&toml)).await;
    daemon.sign_in("default", "plus").await;
    sandbox.expire_refresh_tokens();
    for _ in 0..50 {
        daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
        daemon.get("/v1/profiles/-/headers").await;
    }
    assert_eq!(sandbox.count(Route::Refresh), 1, "a dead refresh token is sent once");
    // The event of a second login comes after a repeated event of the first one would.
    daemon.sign_in("work", "business").await;
    sandbox.expire_refresh_tokens();
    daemon.request("POST", "/v1/profiles/work/refresh", &[], "{}").await;
    let hook_output = || fs::read_to_string(&output).unwrap_or_default();
    while hook_output().lines().count() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let name = |line: &str| serde_json::from_str::<Value>(line).unwrap()["name"].clone();
    assert_eq!(hook_output().lines().map(name).collect::<Vec<_>>(), ["default", "work"]);
}

#[tokio::test]
async fn a_hook_runs_for_a_sign_in_that_becomes_required_during_the_start() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let (toml, output) = hook(directory.path());
    let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file").toml(&toml);
    let mut daemon = TestDaemon::start(config).await;
    daemon.sign_in("default", "plus").await;
    // The answer of a refresh is lost, so the next start repeats the refresh at once.
    sandbox.faults().push(Route::Refresh, Fault::StallAfterCommit);
    tokio::select! {
        response = daemon.try_request("POST", "/v1/profiles/-/refresh", &[], "{}") => panic!("{response:?}"),
        () = sandbox.wait_for(Route::Refresh, 1) => {}
    }
    daemon.kill9().await;
    sandbox.expire_refresh_tokens();
    // The daemon needs longer for this list than for the refresh, and it listens after both.
    let list = format!("{{\"version\": 1, \"shares\": {{}}}}{}", " ".repeat(15 << 20));
    fs::write(daemon.state().join("shares.json"), list).unwrap();
    daemon.start_again().await;
    let waited = tokio::time::timeout(TIMEOUT, async {
        while !fs::read_to_string(&output).is_ok_and(|text| text.ends_with('\n')) {
            daemon.get("/v1/status").await;
        }
    });
    waited.await.expect("the hook runs");
    let profile: Value = serde_json::from_str(&fs::read_to_string(&output).unwrap()).unwrap();
    assert_eq!((&profile["name"], &profile["sign_in_required"]), (&json!("default"), &json!(true)));
}

#[tokio::test]
async fn a_required_sign_in_sends_a_desktop_notification() {
    let Some(mut session) =
        DesktopSession::enter("events::a_required_sign_in_sends_a_desktop_notification").await
    else {
        return;
    };
    let sandbox = sandbox().await;
    let bus = DesktopSession::address();
    let config = TestDaemonConfig::new(AUTHD, &sandbox).env("DBUS_SESSION_BUS_ADDRESS", &bus);
    let daemon = TestDaemon::start(config).await;
    daemon.sign_in("default", "plus").await;
    sandbox.expire_refresh_tokens();
    daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
    let shown = session.read_until("authctl login").await;
    assert!(shown.contains("Sign-in required") && shown.contains("member=Notify"), "{shown}");
}
