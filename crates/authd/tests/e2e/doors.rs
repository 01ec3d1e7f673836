//! Every door the daemon has, and what happens when something is wrong at it: a clear error, and nothing
//! changed.

use std::{
    fs,
    io::Write as _,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Output,
    time::Duration,
};

use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
};

use crate::{
    support::{AUTHD, daemon, sandbox},
    upstream::{PATH, Upstream, head, say},
};

/// Runs a daemon that is to end by itself.
async fn run(daemon: &TestDaemon, args: &[&str], env: &[(&str, &str)]) -> (i32, String) {
    let mut command = Command::new(AUTHD);
    command.args(args).env_clear().envs(daemon.env().iter().cloned()).envs(env.iter().copied());
    let Output { status, stderr, stdout } = command.kill_on_drop(true).output().await.unwrap();
    let said = [stdout, stderr].concat();
    (status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_taken_socket_is_left_to_its_holder() {
    let sandbox = sandbox().await;
    let mut daemon = daemon(&sandbox).await;
    let (code, said) = run(&daemon, &[], &[]).await;
    assert_eq!(code, 69, "{said}");
    assert!(said.contains(&format!("process {}", daemon.pid().unwrap())), "{said}");
    daemon.get("/v1/status").await;
    // A daemon that was killed leaves its socket; the next one takes it over.
    daemon.kill9().await;
    assert!(daemon.socket().exists());
    daemon.start_again().await;
    // What is no socket is not ours to remove.
    let file = daemon.dir().join("a-file.sock");
    fs::write(&file, "precious").unwrap();
    let state = daemon.dir().join("other-state");
    let elsewhere = [("AUTHD_STATE_DIR", state.to_str().unwrap())];
    let (code, said) = run(&daemon, &["--socket", file.to_str().unwrap()], &elsewhere).await;
    assert!(code == 69 && said.contains("is not a socket"), "{code} {said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

/// Arguments, more environment, and the exit code and words they lead to.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, &'a str);

#[tokio::test]
async fn bad_places_are_refused_before_anything_is_changed() {
    let sandbox = sandbox().await;
    let mut daemon = daemon(&sandbox).await;
    daemon.sigterm_and_wait().await;
    let long = format!("/tmp/{}.sock", "x".repeat(120));
    let open = daemon.dir().join("open");
    fs::create_dir(&open).unwrap();
    set_mode(&open, 0o755);
    let open = open.to_str().unwrap();
    let beside = format!("{open}/authd.sock");
    let nothing = daemon.dir().join("no-such.toml");
    let config = daemon.config();
    let config = config.to_str().unwrap();
    let cases: [Case<'_>; 8] = [
        (&["--socket", &long], &[], 64, "the system allows 103"),
        (&["--socket", "authd.sock"], &[], 64, "must be absolute"),
        (&[], &[("AUTHD_STATE_DIR", open)], 64, "is open to other users"),
        (&["--socket", &beside], &[], 69, "is open to other users"),
        (&[], &[("AUTHD_CONFIG", open)], 64, "cannot be read"),
        (&["--config", nothing.to_str().unwrap()], &[], 64, "cannot be read"),
        (&["--no-such-option"], &[], 2, "--help"),
        (&["--check-config"], &[("AUTHD_CONFIG", config)], 0, "fine"),
    ];
    for (args, env, code, words) in cases {
        let (came, said) = run(&daemon, args, env).await;
        assert_eq!(came, code, "{args:?} {env:?}: {said}");
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    assert_eq!(fs::read_dir(open).unwrap().count(), 0, "an open directory is left alone");
}

#[tokio::test]
async fn a_bad_configuration_is_told_with_its_line_and_a_reload_of_one_changes_nothing() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let good = fs::read_to_string(daemon.config()).unwrap();
    for (bad, words) in [
        ("[client]\nmodle = 'x'\n", "client.modle is not a key of authd; did you mean client.model?"),
        ("[refresh]\nmin_ttl = 'soon'\n", "refresh.min_ttl must be a time"),
        ("[refresh\n", "this is not TOML"),
        ("[network]\nca_file = '/no/such.pem'\n", "/no/such.pem"),
    ] {
        fs::write(daemon.config(), format!("{good}\n{bad}")).unwrap();
        let (code, said) = run(&daemon, &["--check-config"], &[]).await;
        assert!(code == 64 && said.contains(words), "{code} {said}");
    }
    fs::write(daemon.config(), format!("{good}\n[client]\nversion = ''\n")).unwrap();
    daemon.signal(Signal::HUP);
    while !daemon.log().contains("the configuration was not reloaded") {
        daemon.get("/v1/status").await;
    }
    assert_eq!(version(&daemon).await, "0.34.0");
    fs::write(daemon.config(), format!("{good}\n[client]\nversion = '9.9.9'\n")).unwrap();
    daemon.signal(Signal::HUP);
    while version(&daemon).await != "9.9.9" {}
}

async fn version(daemon: &TestDaemon) -> String {
    let headers = daemon.get("/v1/profiles/-/headers").await;
    crate::support::value(&headers, "version")
}

#[tokio::test]
async fn half_open_connections_hold_up_neither_answers_nor_the_stop() {
    let sandbox = sandbox().await;
    let mut daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let mut held = Vec::new();
    for beginning in ["", "G", "GET /v1/status HTTP/1.1\r\nHost: au", "POST /v1/logins HTTP/1.1\r\n"] {
        for _ in 0..50 {
            let mut stream = UnixStream::connect(daemon.socket()).unwrap();
            stream.write_all(beginning.as_bytes()).unwrap();
            held.push(stream);
        }
    }
    daemon.get("/v1/profiles/-/headers").await;
    assert!(daemon.sigterm_and_wait().await.success());
    assert!(!daemon.log().contains("still under way"), "{}", daemon.log());
}

#[tokio::test]
async fn idle_connections_give_way_to_new_ones_where_descriptors_are_few() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let few = directory.path().join("authd-with-few-descriptors");
    fs::write(&few, format!("#!/bin/sh\nulimit -n 64\nexec {AUTHD} \"$@\"\n")).unwrap();
    set_mode(&few, 0o700);
    let daemon = TestDaemon::start(TestDaemonConfig::new(&few, &sandbox).store("file")).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        for beginning in
            ["", "GET /v1/status HTTP/1.1\r\nHost: au", "GET /v1/status HTTP/1.1\r\nHost: authd\r\n\r\n"]
        {
            for _ in 0..16 {
                let mut stream = UnixStream::connect(daemon.socket()).unwrap();
                stream.write_all(beginning.as_bytes()).unwrap();
                held.push(stream);
            }
        }
        // Everything works that needs descriptors: the store, the callback server, calls to the provider, the relay.
        daemon.sign_in("default", "plus").await;
        let question = crate::support::question("What is 2+2?").to_string();
        let answer = daemon.request("POST", "/v1/profiles/-/relay/responses", &[], question).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    }
    assert!(!daemon.log().contains("could not be accepted"), "{}", daemon.log());
}

/// The status of a request on a connection that is kept.
async fn status_on(client: &mut tokio::net::UnixStream) -> String {
    client.write_all(b"GET /v1/openapi.json HTTP/1.1\r\nHost: authd\r\n\r\n").await.unwrap();
    let answered = head(client).await;
    let length = answered.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    client.read_exact(&mut vec![0; length.parse().unwrap()]).await.unwrap();
    answered["http/1.1 ".len()..][..3].to_owned()
}

#[tokio::test]
async fn a_connection_over_the_limit_is_served_once_another_has_closed() {
    let sandbox = sandbox().await;
    let daemon =
        TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml("[socket]\nmax_connections = 2")).await;
    let connect = async || tokio::net::UnixStream::connect(daemon.socket()).await.unwrap();
    let (mut first, mut second, mut third) = (connect().await, connect().await, connect().await);
    while status_on(&mut first).await != "200" || status_on(&mut second).await != "200" {}
    assert_eq!(status_on(&mut third).await, "429");
    drop(first);
    while status_on(&mut third).await != "200" {}
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
            let mut client = say(&daemon, &format!("{method} {path}"), &["Connection: close"]).await;
            let answered = head(&mut client).await;
            assert!(answered.starts_with(&format!("http/1.1 {status}")), "{method} {path}: {answered}");
            assert_eq!(answered.contains("\r\nallow: get,"), status == "405", "{answered}");
        }
    }
    let reached = tokio::time::timeout(Duration::from_millis(200), upstream.asked()).await;
    assert!(reached.is_err(), "the upstream was called");
}

#[tokio::test]
async fn a_target_that_names_another_host_is_refused_like_a_wrong_host() {
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
        let mut client = say(&daemon, &format!("GET {target}"), &["Connection: close"]).await;
        let answered = head(&mut client).await;
        assert!(answered.starts_with(&format!("http/1.1 {status}")), "{target}: {answered}");
    }
}

// Elsewhere no thread can be somebody else alone.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn another_user_is_turned_away_even_if_the_doors_stand_open() {
    use std::io::Read as _;

    if !rustix::process::geteuid().is_root() {
        return; // Only root can be somebody else for a moment.
    }
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    set_mode(daemon.dir(), 0o755);
    set_mode(&daemon.socket(), 0o666);
    let socket = daemon.socket();
    let answer = tokio::task::spawn_blocking(move || {
        // Of this thread alone: the connection carries the credentials of whoever makes it.
        let nobody = rustix::process::Uid::from_raw(65_534);
        let own = rustix::process::Uid::from_raw(0);
        rustix::thread::set_thread_res_uid(nobody, nobody, own).unwrap();
        let mut stream = UnixStream::connect(socket).unwrap();
        rustix::thread::set_thread_res_uid(own, own, own).unwrap();
        stream
            .write_all(b"GET /v1/profiles/-/headers HTTP/1.1\r\nHost: authd\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
    .await
    .unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("Bearer"), "{answer}");
}

#[tokio::test]
async fn nothing_secret_is_swapped_dumped_or_told_to_other_processes() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let about = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", daemon.pid().unwrap())).unwrap();
    let status = about("status");
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().trim().to_owned();
    assert_ne!(locked, "0 kB", "the pages with secrets are locked in memory");
    let core =
        about("limits").lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let told = about("cmdline") + &about("environ");
    assert!(!sandbox.issued_secrets().iter().any(|secret| told.contains(secret.as_str())));
}

#[tokio::test]
async fn everything_is_private_from_the_moment_it_is_there() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).store("file");
    let daemon = TestDaemon::start(config).await;
    daemon.sign_in("default", "plus").await;
    daemon.post("/v1/logins", serde_json::json!({"profile": "pending"})).await;
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&daemon.socket()), 0o600);
    let mut places = vec![daemon.state()];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            assert_eq!(mode(&place), 0o700, "{}", place.display());
            places.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_eq!(mode(&place), 0o600, "{}", place.display());
        }
    }
}
