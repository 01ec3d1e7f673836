//! Access to the daemon: its socket, files, configuration and connections. An error is clear and
//! changes nothing.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use rustix::process::Signal;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::{
    helpers::{AUTHD, daemon, sandbox},
    share_client::both,
    upstream::{PATH, Upstream, read_head, send_head},
};

/// Runs a daemon that must exit by itself. Returns its exit code and output.
pub(crate) async fn run(daemon: &TestDaemon, args: &[&str], env: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new(AUTHD);
    command.args(args).env_clear().envs(daemon.env().iter().cloned()).envs(env.iter().copied());
    let Output { status, stderr, stdout } = command.kill_on_drop(true).output().await.unwrap();
    let output = [stdout, stderr].concat();
    (status.code().unwrap_or(-1), String::from_utf8_lossy(&output).into_owned())
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_socket_in_use_stays_with_its_daemon() {
    let sandbox = sandbox().await;
    let mut daemon = daemon(&sandbox).await;
    let (code, output) = run(&daemon, &[], &[]).await;
    assert_eq!(code, 69, "{output}");
    assert!(output.contains(&format!("process {}", daemon.pid().unwrap())), "{output}");
    daemon.get("/v1/status").await;
    // A killed daemon leaves its socket file. The next daemon replaces it.
    daemon.kill9().await;
    assert!(daemon.socket().exists());
    daemon.start_again().await;
    // A file that is not a socket is not removed.
    let file = daemon.dir().join("a-file.sock");
    fs::write(&file, "precious").unwrap();
    let state = daemon.dir().join("other-state");
    let elsewhere = [("AUTHD_STATE_DIR", state.to_str().unwrap())];
    let (code, output) = run(&daemon, &["--socket", file.to_str().unwrap()], &elsewhere).await;
    assert!(code == 69 && output.contains("is not a socket"), "{code} {output}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

/// Arguments, additional environment, and the expected exit code and output.
type PathCase<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a str);

#[tokio::test]
async fn an_invalid_path_is_refused_before_any_change() {
    let sandbox = sandbox().await;
    let mut daemon = daemon(&sandbox).await;
    daemon.sigterm_and_wait().await;
    let long = format!("/tmp/{}.sock", "x".repeat(120));
    let open = daemon.dir().join("open");
    fs::create_dir(&open).unwrap();
    set_mode(&open, 0o755);
    let open = open.to_str().unwrap();
    let open_socket = format!("{open}/authd.sock");
    let missing = daemon.dir().join("no-such.toml");
    let config = daemon.config();
    let config = config.to_str().unwrap();
    let cases: [PathCase<'_>; 8] = [
        (&["--socket", &long], &[], 64, "the system allows 103"),
        (&["--socket", "authd.sock"], &[], 64, "must be absolute"),
        (&[], &[("AUTHD_STATE_DIR", open)], 64, "is open to other users"),
        (&["--socket", &open_socket], &[], 69, "is open to other users"),
        (&[], &[("AUTHD_CONFIG", open)], 64, "cannot be read"),
        (&["--config", missing.to_str().unwrap()], &[], 64, "cannot be read"),
        (&["--no-such-option"], &[], 2, "--help"),
        (&["--check-config"], &[("AUTHD_CONFIG", config)], 0, ": valid"),
    ];
    for (args, env, expected_code, expected) in cases {
        let (code, output) = run(&daemon, args, env).await;
        assert_eq!(code, expected_code, "{args:?} {env:?}: {output}");
        assert!(output.contains(expected), "no {expected:?} in {output}");
    }
    assert_eq!(fs::read_dir(open).unwrap().count(), 0, "an open directory is not used");
}

#[tokio::test]
async fn an_invalid_configuration_is_explained_and_a_reload_of_it_changes_nothing() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let good = fs::read_to_string(daemon.config()).unwrap();
    for (bad, expected) in [
        ("[client]\nmodle = 'x'\n", "client.modle is not a key of authd; did you mean client.model?"),
        ("[refresh]\nmin_ttl = 'soon'\n", "refresh.min_ttl must be a time"),
        ("[refresh\n", "this is not TOML"),
        ("[network]\nca_file = '/no/such.pem'\n", "/no/such.pem"),
        ("[store.postgres]\nurl_file = '/no/such'\n", "store.postgres.url_file: /no/such does not exist"),
    ] {
        fs::write(daemon.config(), format!("{good}\n{bad}")).unwrap();
        let (code, output) = run(&daemon, &["--check-config"], &[]).await;
        assert!(code == 64 && output.contains(expected), "{code} {output}");
    }
    fs::write(daemon.config(), format!("{good}\n[client]\nversion = ''\n")).unwrap();
    daemon.signal(Signal::HUP);
    while !daemon.log().contains("configuration not reloaded") {
        daemon.get("/v1/status").await;
    }
    assert_eq!(version(&daemon).await, authd_oauth::CODEX_VERSION);
    fs::write(daemon.config(), format!("{good}\n[client]\nversion = '9.9.9'\n")).unwrap();
    daemon.signal(Signal::HUP);
    while version(&daemon).await != "9.9.9" {}
}

async fn version(daemon: &TestDaemon) -> String {
    let headers = daemon.get("/v1/profiles/-/headers").await;
    crate::helpers::value(&headers, "version")
}

#[tokio::test]
async fn incomplete_requests_delay_neither_responses_nor_the_shutdown() {
    let sandbox = sandbox().await;
    let mut daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let mut connections = Vec::new();
    for beginning in ["", "G", "GET /v1/status HTTP/1.1\r\nHost: au", "POST /v1/logins HTTP/1.1\r\n"] {
        for _ in 0..50 {
            let mut stream = UnixStream::connect(daemon.socket()).unwrap();
            stream.write_all(beginning.as_bytes()).unwrap();
            connections.push(stream);
        }
    }
    daemon.get("/v1/profiles/-/headers").await;
    assert!(daemon.sigterm_and_wait().await.success());
    assert!(!daemon.log().contains("unfinished work"), "{}", daemon.log());
}

/// A program that runs authd with at most this many open descriptors.
fn with_descriptors(directory: &Path, limit: u32) -> PathBuf {
    let script = directory.join("authd-with-few-descriptors");
    fs::write(&script, format!("#!/bin/sh\nulimit -n {limit}\nexec {AUTHD} \"$@\"\n")).unwrap();
    set_mode(&script, 0o700);
    script
}

#[tokio::test]
async fn idle_connections_are_closed_for_new_ones_when_descriptors_run_out() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let script = with_descriptors(directory.path(), 64);
    let daemon = TestDaemon::start(TestDaemonConfig::new(script, &sandbox).store("file")).await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        for beginning in
            ["", "GET /v1/status HTTP/1.1\r\nHost: au", "GET /v1/status HTTP/1.1\r\nHost: authd\r\n\r\n"]
        {
            for _ in 0..16 {
                let mut stream = UnixStream::connect(daemon.socket()).unwrap();
                stream.write_all(beginning.as_bytes()).unwrap();
                connections.push(stream);
            }
        }
        // These need descriptors: the store, the callback server, calls to the provider, the relay.
        daemon.sign_in("default", "plus").await;
        let body = crate::helpers::responses_request("What is 2+2?").to_string();
        let response = daemon.request("POST", "/v1/profiles/-/relay/responses", &[], body).await;
        assert!(response.status.is_success(), "{}", response.text());
    }
    assert!(!daemon.log().contains("connection not accepted"), "{}", daemon.log());
}

#[tokio::test]
async fn connections_without_a_key_leave_room_for_the_holder_and_descriptors_for_the_store() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let script = with_descriptors(directory.path(), 128);
    let daemon = TestDaemon::start(TestDaemonConfig::new(script, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    let shares = both(&daemon, json!({})).await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        for beginning in ["", "GET /v1/models HTTP/1.1\r\nHost: loc", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
            for _ in 0..32 {
                let mut stream = shares[1].connect().await.unwrap();
                stream.write_all(beginning.as_bytes()).await.unwrap();
                connections.push(stream);
            }
        }
        for share in &shares {
            assert_eq!(share.models().await, 200);
        }
        daemon.post("/v1/profiles/default/refresh", json!({})).await;
    }
    assert!(!daemon.log().contains("connection not accepted"), "{}", daemon.log());
}

#[tokio::test]
async fn sockets_of_shares_leave_descriptors_for_the_store() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let script = with_descriptors(directory.path(), 128);
    let daemon = TestDaemon::start(TestDaemonConfig::new(script, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    for _ in 0..16 {
        daemon.post("/v1/shares", json!({})).await;
    }
    let reply = daemon.request("POST", "/v1/shares", &[], "{}").await;
    assert_eq!(reply.status.as_u16(), 409, "{}", reply.text());
    assert!(reply.text().contains("ulimit -n"), "{}", reply.text());
    assert_eq!(daemon.get("/v1/shares").await["shares"].as_array().unwrap().len(), 16);
    daemon.post("/v1/profiles/default/refresh", json!({})).await;
    // A share that ends makes room.
    let ended = daemon.get("/v1/shares").await["shares"][0]["id"].as_str().unwrap().to_owned();
    daemon.request("DELETE", &format!("/v1/shares/{ended}"), &[], "").await;
    daemon.post("/v1/shares", json!({})).await;
}

/// Sends a request on an open connection, and returns the status of the response.
async fn request_status(client: &mut tokio::net::UnixStream) -> String {
    client.write_all(b"GET /v1/openapi.json HTTP/1.1\r\nHost: authd\r\n\r\n").await.unwrap();
    let head = read_head(client).await;
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    client.read_exact(&mut vec![0; length.parse().unwrap()]).await.unwrap();
    head["http/1.1 ".len()..][..3].to_owned()
}

#[tokio::test]
async fn a_connection_over_the_limit_is_served_once_another_has_closed() {
    let sandbox = sandbox().await;
    let daemon =
        TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml("[socket]\nmax_connections = 2")).await;
    let connect = async || tokio::net::UnixStream::connect(daemon.socket()).await.unwrap();
    let (mut first, mut second, mut third) = (connect().await, connect().await, connect().await);
    while request_status(&mut first).await != "200" || request_status(&mut second).await != "200" {}
    assert_eq!(request_status(&mut third).await, "429");
    drop(first);
    while request_status(&mut third).await != "200" {}
}

#[tokio::test]
async fn connect_and_trace_are_refused_and_reach_no_upstream() {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let daemon = upstream.daemon(&sandbox).await;
    for method in ["CONNECT", "TRACE"] {
        for (path, status) in [
            (PATH, "405"),
            ("/v1/profiles/own/relay-backend/anything", "405"),
            ("/v1/status", "405"),
            ("/v1/nothing", "404"),
        ] {
            let mut client = send_head(&daemon, &format!("{method} {path}"), &["Connection: close"]).await;
            let head = read_head(&mut client).await;
            assert!(head.starts_with(&format!("http/1.1 {status}")), "{method} {path}: {head}");
            assert_eq!(head.contains("\r\nallow: get,"), status == "405", "{head}");
        }
    }
    let reached = tokio::time::timeout(Duration::from_millis(200), upstream.next_request()).await;
    assert!(reached.is_err(), "the upstream was called");
}

#[tokio::test]
async fn a_target_with_another_host_is_refused_like_a_wrong_host_header() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    for (target, status) in [
        ("http://authd/v1/status", "200"),
        ("http://localhost:80/v1/status", "200"),
        ("http://evil.example/v1/status", "403"),
        ("http://authd.evil.example/v1/status", "403"),
        ("http://evil@authd/v1/status", "403"),
        ("http://authd:81/v1/status", "403"),
    ] {
        let mut client = send_head(&daemon, &format!("GET {target}"), &["Connection: close"]).await;
        let head = read_head(&mut client).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{target}: {head}");
    }
}

// Only Linux can change the user of a single thread.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn another_user_is_refused_even_if_the_file_modes_allow_access() {
    use std::io::Read as _;

    if !rustix::process::geteuid().is_root() {
        return; // Only root can change to another user and back.
    }
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    set_mode(daemon.dir(), 0o755);
    set_mode(&daemon.socket(), 0o666);
    let socket = daemon.socket();
    let response = tokio::task::spawn_blocking(move || {
        // A connection has the credentials of the thread that makes it.
        let other_user = rustix::process::Uid::from_raw(65_534);
        let own = rustix::process::Uid::from_raw(0);
        rustix::thread::set_thread_res_uid(other_user, other_user, own).unwrap();
        let mut stream = UnixStream::connect(socket).unwrap();
        rustix::thread::set_thread_res_uid(own, own, own).unwrap();
        stream
            .write_all(b"GET /v1/profiles/-/headers HTTP/1.1\r\nHost: authd\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    })
    .await
    .unwrap();
    assert!(response.starts_with("HTTP/1.1 403") && !response.contains("Bearer"), "{response}");
}

#[tokio::test]
async fn secrets_are_not_swapped_dumped_or_visible_to_other_processes() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let proc_file =
        |file: &str| fs::read_to_string(format!("/proc/{}/{file}", daemon.pid().unwrap())).unwrap();
    let status = proc_file("status");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim().to_owned();
    assert_ne!(locked, "0 kB", "the pages with secrets are locked in memory");
    let core =
        proc_file("limits").lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let visible = proc_file("cmdline") + &proc_file("environ");
    assert!(!sandbox.issued_secrets().iter().any(|secret| visible.contains(secret.as_str())));
}

#[tokio::test]
async fn the_socket_and_all_state_files_are_private() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file");
    let daemon = TestDaemon::start(config).await;
    daemon.sign_in("default", "plus").await;
    daemon.post("/v1/logins", serde_json::json!({"profile": "pending"})).await;
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&daemon.socket()), 0o600);
    let mut paths = vec![daemon.state()];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            assert_eq!(mode(&path), 0o700, "{}", path.display());
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
}
