//! Who is told of a change: clients on the event stream, hooks, the desktop.

use std::{fs, os::unix::fs::PermissionsExt};

use authd_sandbox::{
    Route,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt;

use crate::{
    support::{AUTHD, daemon, sandbox, start},
    upstream::say,
};

/// How long an event may take: a bound against hanging, not an expectation.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

/// The event stream, read event by event.
struct Stream {
    body: Incoming,
    text: String,
}

impl Stream {
    async fn open(daemon: &TestDaemon) -> Self {
        let answer = daemon.open("GET", "/v1/events", &[], "").await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Self { body: answer.into_body(), text: String::new() }
    }

    /// The next event of this kind about which this is so.
    async fn hear(&mut self, kind: &str, so: impl Fn(&Value) -> bool) -> Value {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (head, data) = event.split_once("\ndata: ").unwrap();
                let (is, data) = (head == format!("event: {kind}"), serde_json::from_str(data).unwrap());
                self.text = String::from(rest);
                if is && so(&data) {
                    return data;
                }
            }
            let piece = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            let piece = piece.unwrap_or_else(|_| panic!("no such {kind}"));
            let piece = piece.expect("the stream goes on").unwrap().into_data().unwrap();
            self.text += &String::from_utf8_lossy(&piece);
        }
    }
}

#[tokio::test]
async fn every_change_of_state_is_told_and_never_a_secret() {
    let sandbox = sandbox().await;
    let mut daemon = daemon(&sandbox).await;
    let mut stream = Stream::open(&daemon).await;
    stream.hear("store", |store| store["state"] == "ready").await;
    stream.hear("callback", |callback| callback["state"] == "listening").await;
    let login = daemon.sign_in("default", "plus").await;
    let told = stream.hear("login", |told| told["state"] == "pending").await;
    assert_eq!((&told["id"], &told["authorize_url"]), (&login["id"], &Value::Null));
    assert_eq!(told["open_url"], Value::Null);
    stream.hear("profile", |told| told["state"] == "ready" && told["generation"] == 1).await;
    stream.hear("login", |told| told["state"] == "succeeded").await;
    daemon.post("/v1/profiles/-/refresh", json!({})).await;
    stream.hear("profile", |told| told["generation"] == 2).await;
    daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"home"}"#).await;
    stream.hear("profile_gone", |told| told["name"] == "default").await;
    sandbox.revoke_account("plus");
    daemon.request("POST", "/v1/profiles/home/refresh", &[], "{}").await;
    let told = stream.hear("profile", |told| !told["last_error"].is_null()).await;
    assert_eq!(told["last_error"]["code"], "login_required");
    // A stop ends the stream, and is not held up by it.
    daemon.signal(rustix::process::Signal::TERM);
    let rest = stream.body.collect().await.unwrap().to_bytes();
    let all = stream.text + &String::from_utf8_lossy(&rest);
    assert!(!sandbox.issued_secrets().iter().any(|secret| all.contains(secret.as_str())));
    assert!(daemon.wait().await.success());
    assert!(!daemon.log().contains("still under way"), "{}", daemon.log());
}

#[tokio::test]
async fn who_begins_to_listen_is_told_of_logins_that_began_before() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let over = daemon.sign_in("default", "plus").await;
    let (pending, _) = start(&daemon, json!({"profile": "work"})).await;
    let mut stream = Stream::open(&daemon).await;
    for (login, state) in [(over, "succeeded"), (pending, "pending")] {
        let told = stream.hear("login", |told| told["id"] == login["id"]).await;
        assert_eq!((&told["state"], &told["authorize_url"]), (&json!(state), &Value::Null));
    }
}

#[tokio::test]
async fn streams_that_are_not_read_hold_no_copies_of_everything() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let key = json!({"api_key": format!("sk-{}", "x".repeat(100))}).to_string();
    for number in 0..300 {
        let path = format!("/v1/profiles/profile-{number}/api-key");
        assert!(daemon.request("PUT", &path, &[], key.clone()).await.status.is_success());
    }
    let mut stream = Stream::open(&daemon).await;
    for number in [0, 299, 99] {
        stream.hear("profile", |told| told["name"] == format!("profile-{number}")).await;
    }
    let before = resident(&daemon);
    // As many as one process may have, and nobody reads them.
    let mut unread = Vec::new();
    for _ in 1..64 {
        unread.push(say(&daemon, "GET /v1/events", &[]).await);
    }
    let refused = daemon.request("GET", "/v1/events", &[], "").await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (429, &json!("too_many_requests")));
    let after = resident(&daemon);
    assert!(after < before + 4 * 1024, "from {before} kB to {after} kB");
    // One that is closed makes room.
    drop(unread.pop());
    while daemon.open("GET", "/v1/events", &[], "").await.unwrap().status() != 200 {}
}

/// The memory of the daemon, in kB; nothing where the system does not tell.
fn resident(daemon: &TestDaemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_hook_is_run_once_when_a_sign_in_is_required() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let (script, told) = (directory.path().join("hook"), directory.path().join("told"));
    fs::write(&script, format!("#!/bin/sh\ncat >> {0}\necho >> {0}\n", told.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let toml = format!("[hooks]\nlogin_required = [\"{}\"]", script.display());
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&toml)).await;
    daemon.sign_in("default", "plus").await;
    sandbox.expire_refresh_tokens();
    for _ in 0..50 {
        daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
        daemon.get("/v1/profiles/-/headers").await;
    }
    assert_eq!(sandbox.count(Route::Refresh), 1, "a dead login is tried once");
    // A second person's trouble is told after the first one's: by then that would be there twice.
    daemon.sign_in("work", "business").await;
    sandbox.expire_refresh_tokens();
    daemon.request("POST", "/v1/profiles/work/refresh", &[], "{}").await;
    let said = || fs::read_to_string(&told).unwrap_or_default();
    while said().lines().count() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let name = |line: &str| serde_json::from_str::<Value>(line).unwrap()["name"].clone();
    assert_eq!(said().lines().map(name).collect::<Vec<_>>(), ["default", "work"]);
}

/// Set for the copy of a test that runs inside a session.
const INSIDE: &str = "AUTHD_TEST_INSIDE_A_SESSION";

#[tokio::test]
async fn a_notification_is_put_up_on_the_desktop() {
    if std::env::var_os(INSIDE).is_none() {
        let mut session = std::process::Command::new("dbus-run-session");
        session.arg("--").arg(std::env::current_exe().unwrap()).env(INSIDE, "1");
        session.args(["--exact", "news::a_notification_is_put_up_on_the_desktop", "--nocapture"]);
        // Without a session bus there is no desktop to try this on.
        let Ok(output) = session.output() else { return };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    // The bus shows the call to whoever watches, whether or not somebody is there to take it.
    let mut monitor = tokio::process::Command::new("dbus-monitor");
    monitor
        .args(["--session", "interface=org.freedesktop.Notifications"])
        .stdout(std::process::Stdio::piped());
    let mut monitor = monitor.kill_on_drop(true).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(monitor.stdout.take().unwrap()).lines();
    lines.next_line().await.unwrap();
    let sandbox = sandbox().await;
    let bus = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap();
    let config = TestDaemonConfig::new(AUTHD, &sandbox).env("DBUS_SESSION_BUS_ADDRESS", &bus);
    let daemon = TestDaemon::start(config).await;
    daemon.sign_in("default", "plus").await;
    sandbox.expire_refresh_tokens();
    daemon.request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
    let mut shown = String::new();
    while !shown.contains("authctl login") {
        shown += &tokio::time::timeout(PATIENCE, lines.next_line()).await.expect(&shown).unwrap().unwrap();
    }
    assert!(shown.contains("Sign-in required") && shown.contains("member=Notify"), "{shown}");
}
