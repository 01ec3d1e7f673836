//! Attacks by other users of the machine, and by hostile text of a provider.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
};

use serde_json::{Value, json};

use crate::{ClientForAll, Outcome, fake_daemon::FakeDaemon, run, start_daemon};

// On other systems a thread cannot have its own user.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn nothing_is_sent_to_a_daemon_of_another_user() {
    use std::{io::Read as _, os::unix::net::UnixListener};

    use rustix::{process::Uid, thread::set_thread_res_uid};

    if !rustix::process::geteuid().is_root() {
        return; // Only root can change its user for a moment.
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    let socket = directory.path().join("authd.sock");
    let (own, other) = (Uid::from_raw(0), Uid::from_raw(65_534));
    let listener = std::thread::spawn({
        let socket = socket.clone();
        move || {
            set_thread_res_uid(other, other, own).unwrap();
            UnixListener::bind(socket).unwrap()
        }
    });
    let listener = listener.join().unwrap();
    let received = std::thread::spawn(move || {
        let mut received = Vec::new();
        while !received.ends_with(b"end") {
            // One read for each: a client that had sent a request would wait for the response.
            let mut text = [0; 256];
            let length = listener.accept().unwrap().0.read(&mut text).unwrap();
            received.extend_from_slice(&text[..length]);
        }
        received
    });
    let fake_daemon = FakeDaemon::start(Vec::new());
    let commands = [
        &["token"][..],
        &["headers"],
        &["status"],
        &["login"],
        &["login", "--no-browser"],
        &["ask", "What?"],
        &["exec", "true"],
    ];
    for args in commands {
        let output = fake_daemon.command(args).env("AUTHD_SOCKET", &socket).output().await.unwrap();
        let outcome = Outcome::from(output).failed(6, "served by another user (uid 65534)");
        assert!(outcome.stderr.contains("hint: name the socket of your own daemon"), "{outcome}");
    }
    let output = fake_daemon.command(&["doctor"]).env("AUTHD_SOCKET", &socket).output().await.unwrap();
    let outcome = Outcome::from(output);
    assert_eq!(outcome.code, 6, "{outcome}");
    assert!(
        outcome.stdout.contains("✗ socket") && outcome.stdout.contains("belongs to another user"),
        "{outcome}"
    );
    let output =
        fake_daemon.command(&["token"]).env("AUTHD_SOCKET_UID", "me").env("AUTHD_SOCKET", &socket).output();
    Outcome::from(output.await.unwrap()).failed(2, "AUTHD_SOCKET_UID is not the number of a user");
    assert!(!fake_daemon.path("state").exists(), "no daemon was started");
    std::io::Write::write_all(&mut std::os::unix::net::UnixStream::connect(&socket).unwrap(), b"end")
        .unwrap();
    assert_eq!(received.join().unwrap(), b"end");
}

#[tokio::test]
async fn socket_that_may_not_be_used_is_not_an_absent_daemon() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can start a process as another user.
    }
    let (fake_daemon, client) = (FakeDaemon::start(Vec::new()), ClientForAll::new());
    for args in [&["token"][..], &["status"], &["login", "--no-wait"], &["doctor"]] {
        let output = fake_daemon.command_of(&client.path(), args).uid(65_534).output().await.unwrap();
        let outcome = Outcome::from(output);
        assert_eq!(outcome.code, 6, "{outcome}");
        let shown = outcome.stdout.clone() + &outcome.stderr;
        assert!(shown.contains("belongs to another user (uid 0)"), "{outcome}");
        assert!(shown.contains("AUTHD_SOCKET") && !shown.contains("start it"), "{outcome}");
    }
    assert!(!fake_daemon.path("state").exists(), "no daemon was started");
}

#[tokio::test]
async fn log_of_a_started_daemon_follows_no_link() {
    let (_sandbox, mut daemon) = start_daemon().await;
    daemon.sigterm_and_wait().await;
    let (log, other) = (daemon.state().join("authd.log"), daemon.dir().join("precious"));
    fs::write(&other, "precious").unwrap();
    symlink(&other, &log).unwrap();
    let outcome = run(&daemon, &["login", "--no-wait"]).await.failed(9, "it is a symbolic link");
    assert!(outcome.stderr.contains("hint: ") && outcome.stderr.contains("AUTHD_STATE_DIR"), "{outcome}");
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
    fs::remove_file(&log).unwrap();
    fs::set_permissions(daemon.state(), Permissions::from_mode(0o777)).unwrap();
    run(&daemon, &["login", "--no-wait"]).await.failed(9, "open to other users");
    assert!(!log.exists());
}

#[tokio::test]
async fn manual_follows_no_link() {
    let (_sandbox, daemon) = start_daemon().await;
    let (pages, other) = (daemon.dir().join("man"), daemon.dir().join("precious"));
    fs::write(&other, "precious").unwrap();
    fs::create_dir(&pages).unwrap();
    symlink(&other, pages.join("authctl-login.1")).unwrap();
    run(&daemon, &["man", pages.to_str().unwrap()]).await.failed(2, "it is a symbolic link");
    assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
}

/// Sets the title of the terminal, begins a second line, and deletes it.
const HOSTILE: &str = "a\u{1b}]0;owned\u{7}\nauthctl: fake\u{9b}2K";

fn profile() -> Value {
    json!({"name": "work", "default": true, "state": "ready", "mode": "chatgpt", "mode_reason": HOSTILE,
        "email": HOSTILE, "plan": HOSTILE, "account_id": null, "organization_id": null, "project_id": null,
        "generation": 7, "expires_at": null, "refresh_at": null, "last_refresh": null,
        "last_error": problem()})
}

fn problem() -> Value {
    json!({"type": "urn:authd:problem:provider_refused", "title": "x", "status": 502,
        "code": "provider_refused", "detail": HOSTILE, "hint": HOSTILE})
}

fn login(state: &str) -> Value {
    let error = if state == "failed" { problem() } else { Value::Null };
    let result = if state == "succeeded" { profile() } else { Value::Null };
    json!({"id": "lg_1", "profile": "work", "flow": "browser", "state": state,
        "authorize_url": format!("https://auth.example.com/authorize?{HOSTILE}"),
        "created_at": "2026-11-23T14:00:00Z", "expires_at": "2026-11-23T14:10:00Z",
        "error": error, "result": result})
}

fn hostile_daemon(final_state: &str) -> FakeDaemon {
    let status = json!({"version": HOSTILE, "pid": 1, "started_at": "2026-11-23T14:00:00Z",
        "callback": {"state": "listening", "addresses": [HOSTILE], "detail": HOSTILE},
        "store": {"kind": "file", "state": "ready", "detail": HOSTILE},
        "profiles": 1, "pending_logins": 0, "default_profile": "work", "model": "gpt-5.5"});
    let headers = json!({"profile": "work", "mode": "chatgpt", "base_url": HOSTILE, "responses_url": HOSTILE,
        "headers": [["Authorization", "Bearer t"], ["x", HOSTILE]], "generation": 7, "expires_at": null});
    let finding =
        json!({"check": HOSTILE, "state": "ok", "detail": HOSTILE, "remedy": HOSTILE, "code": null});
    let window = json!({"window": HOSTILE, "seconds": null, "limit": HOSTILE, "used_percent": 1.0,
        "resets_at": null, "as_of": "2026-11-23T14:00:00Z"});
    let quota = json!({"profile": "work", "windows": [window], "limit_reached": true, "reached_type": HOSTILE,
        "as_of": null, "stale": false, "error": problem()});
    FakeDaemon::start(vec![
        ("GET /v1/status", status),
        ("GET /v1/diagnosis", json!({"findings": [finding]})),
        ("GET /v1/profiles/-/headers", headers),
        ("GET /v1/profiles/-/quota", quota),
        ("GET /v1/profiles/work/relay", json!({"email": HOSTILE, "models": [], "accounts": []})),
        ("GET /v1/profiles ", json!({"default": "work", "profiles": [profile()]})),
        ("POST /v1/import", profile()),
        ("POST /v1/logins", login("pending")),
        ("GET /v1/logins/lg_1", login(final_state)),
    ])
}

#[tokio::test]
async fn no_foreign_control_character_reaches_a_terminal() {
    for final_state in ["succeeded", "failed"] {
        let fake_daemon = hostile_daemon(final_state);
        for args in [
            &["status"][..],
            &["profiles"],
            &["doctor"],
            &["store", "status"],
            &["url"],
            &["check"],
            &["quota"],
            &["import", "codex"],
            &["login", "--no-browser"],
            &["login", "--paste"],
            &["login", "--no-wait"],
            &["-v", "ask", "What?"],
        ] {
            let outcome = Outcome::from(fake_daemon.command(args).output().await.unwrap());
            let all = outcome.stdout.clone() + &outcome.stderr;
            assert!(all.contains("]0;owned"), "{args:?}: the text is not in {outcome}");
            assert!(!all.contains(|c: char| c.is_control() && c != '\n'), "{args:?}: {all:?}");
        }
        // JSON has the unchanged text.
        let outcome =
            Outcome::from(fake_daemon.command(&["status", "--json"]).output().await.unwrap()).ok().json();
        assert_eq!(outcome["profiles"]["profiles"][0]["email"], HOSTILE);
    }
}
