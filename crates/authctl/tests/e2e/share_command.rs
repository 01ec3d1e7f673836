//! `authctl exec`, and how the share of a command ends with `authctl`.

use std::{process::Stdio, time::Duration};

use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig, send_on},
};
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout},
};

use crate::{command, fake_daemon::FakeDaemon, run, start_daemon};

/// A command that prints the variables of its share and then every line of its input. It reads the
/// input itself, so it lives on without `authctl`.
const SHOW: &str = r#"echo "$OPENAI_BASE_URL $OPENAI_API_KEY"; exec cat"#;

/// A command under `authctl exec`.
struct Running {
    authctl: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    url: String,
    key: String,
}

impl Running {
    async fn start(daemon: &TestDaemon) -> Self {
        let mut client = command(daemon, &["exec", "-p", "me", "--", "sh", "-c", SHOW]);
        let mut authctl = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = authctl.stdin.take().unwrap();
        let mut stdout = BufReader::new(authctl.stdout.take().unwrap()).lines();
        let line = stdout.next_line().await.unwrap().unwrap();
        let (url, key) = line.split_once(' ').unwrap();
        Self { authctl, stdin, stdout, url: url.to_owned(), key: key.to_owned() }
    }

    /// Sends a request through the share of the command.
    async fn send(&self, method: &str, path: &str, body: String) -> std::io::Result<Response<Incoming>> {
        let host = self.url.strip_prefix("http://").unwrap().strip_suffix("/v1").unwrap();
        let request = Request::builder()
            .method(method)
            .uri(format!("/v1/{path}"))
            .header(header::HOST, host)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        send_on(TcpStream::connect(host).await?, request).await
    }

    async fn models(&self) -> u16 {
        let reply = self.send("GET", "models?client_version=1.0.0", String::new()).await.unwrap();
        reply.status().as_u16()
    }

    /// Asserts that the command lives and has its input and output.
    async fn assert_alive(&mut self) {
        self.stdin.write_all(b"still here\n").await.unwrap();
        assert_eq!(self.stdout.next_line().await.unwrap().as_deref(), Some("still here"));
    }
}

/// Waits until the daemon has answered a request that holds a share. Its counters begin at 0.
async fn wait_for_hold(daemon: &TestDaemon) {
    let counter = r#"authd_requests_total{route="/v1/shares/{id}/hold",method="GET",code="200"} 1"#;
    while !daemon.request("GET", "/v1/metrics", &[], "").await.text().contains(counter) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn exec_sets_a_share_and_removes_what_would_override_it() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let token = run(&daemon, &["token"]).await.ok().stdout;
    let script = "import os; print({name: os.environ[name] for name in sorted(os.environ) if name.startswith(('OPENAI', 'CHATGPT', 'AUTHD_SOCKET'))})";
    let mut client = command(&daemon, &["exec", "--", "/usr/bin/python3", "-c", script]);
    for name in ["OPENAI_CUSTOM_HEADERS", "CHATGPT_ACCOUNT_ID", "OPENAI_API_BASE", "OPENAI_ORG_ID"] {
        client.env(name, "of another account");
    }
    let output = client.output().await.unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap().replace('\'', "\"");
    let variables: serde_json::Map<_, _> = serde_json::from_str(&stdout).unwrap();
    assert_eq!(variables.keys().collect::<Vec<_>>(), ["AUTHD_SOCKET", "OPENAI_API_KEY", "OPENAI_BASE_URL"]);
    assert_eq!(variables["AUTHD_SOCKET"], daemon.socket().to_str().unwrap());
    assert!(variables["OPENAI_API_KEY"].as_str().unwrap().starts_with("authd_share_"), "{stdout}");
    assert!(!stdout.contains(token.trim()), "{stdout}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(daemon.get("/v1/shares").await, json!({"shares": []}));
}

#[tokio::test]
async fn exec_ends_as_its_command_does() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        let outcome = run(&daemon, &["exec", "sh", "-c", script]).await;
        assert_eq!((outcome.code, &*outcome.stdout, &*outcome.stderr), (code, "", ""), "{script}");
    }
    run(&daemon, &["exec", "no-such-program-here"]).await.failed(127, "no-such-program-here");
    run(&daemon, &["exec", "-p", "nobody", "true"]).await.failed(3, "nobody");
    // An option of another command is no program.
    run(&daemon, &["exec", "--ttl", "1m", "true"]).await.failed(2, "unexpected argument");
    // A daemon that ends before the command does not change the exit code.
    let pid = daemon.pid().unwrap();
    let outcome = run(&daemon, &["exec", "sh", "-c", &format!("kill -KILL {pid}")]).await;
    assert_eq!((outcome.code, &*outcome.stdout, &*outcome.stderr), (0, "", ""));
}

#[tokio::test]
async fn share_ends_when_the_client_is_killed_and_the_command_lives_on() {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("me", "plus").await;
    let mut running = Running::start(&daemon).await;
    wait_for_hold(&daemon).await;
    assert_eq!(running.models().await, 200);
    let listed = run(&daemon, &["shares"]).await.ok().stdout;
    assert!(listed.contains("ends with its command, at the latest in "), "{listed}");
    sandbox.faults().push(Route::ChatGptResponses, Fault::HoldStream);
    let body = json!({"model": "gpt-5.5", "instructions": "Be brief.", "store": false, "stream": true,
        "input": [{"type": "message", "role": "user",
            "content": [{"type": "input_text", "text": "What is 2+2?"}]}]});
    let mut response = running.send("POST", "responses", body.to_string()).await.unwrap().into_body();
    response.frame().await.unwrap().unwrap();
    running.authctl.kill().await.unwrap();
    // The daemon ends the share and closes this connection.
    while let Some(Ok(_)) = response.frame().await {}
    assert_eq!(daemon.get("/v1/shares").await, json!({"shares": []}));
    // No other share keeps the door open.
    if let Ok(response) = running.send("GET", "models?client_version=1.0.0", String::new()).await {
        assert_eq!(response.status().as_u16(), 401);
    }
    running.assert_alive().await;
}

#[tokio::test]
async fn share_of_a_command_outlives_a_restart_of_the_daemon() {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let config = TestDaemonConfig::new(crate::authd(), &sandbox).store("file");
    let mut daemon = TestDaemon::start(config).await;
    daemon.sign_in("me", "plus").await;
    let mut running = Running::start(&daemon).await;
    wait_for_hold(&daemon).await;
    daemon.restart().await;
    wait_for_hold(&daemon).await;
    assert_eq!(running.models().await, 200);
    daemon.kill9().await;
    daemon.start_again().await;
    wait_for_hold(&daemon).await;
    assert_eq!(running.models().await, 200);
    running.assert_alive().await;
    drop(running.stdin);
    assert_eq!(running.authctl.wait().await.unwrap().code(), Some(0));
    assert_eq!(daemon.get("/v1/shares").await, json!({"shares": []}));
}

#[tokio::test]
async fn exec_does_not_start_a_command_without_a_login() {
    let account = Account::plus().with_lifetime(Duration::from_secs(1));
    let sandbox = Sandbox::start(Config::with_accounts([account])).await.unwrap();
    let daemon = TestDaemon::start(TestDaemonConfig::new(crate::authd(), &sandbox)).await;
    daemon.sign_in("default", "plus").await;
    sandbox.revoke_account("plus");
    run(&daemon, &["refresh"]).await.failed(4, "authctl login");
    while daemon.get("/v1/profiles/default").await["state"] != "login_required" {
        tokio::task::yield_now().await;
    }
    let outcome = run(&daemon, &["exec", "echo", "started"]).await.failed(4, "authctl login");
    assert_eq!(outcome.stdout, "");
    assert_eq!(daemon.get("/v1/shares").await, json!({"shares": []}));
}

#[tokio::test]
async fn exec_without_a_door_names_the_raw_environment() {
    let problem = json!({"type": "urn:authd:problem:conflict", "title": "Conflict", "status": 409,
        "code": "conflict", "detail": "the door of the share cannot be opened: Operation not permitted"});
    let daemon = FakeDaemon::start(vec![("POST /v1/shares ", problem)]);
    let output = daemon.command(&["exec", "echo", "started"]).output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("authctl exec --raw") && stderr.contains("not permitted"), "{stderr}");
    assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]));
}

#[tokio::test]
async fn hint_of_the_daemon_is_kept() {
    let problem = json!({"type": "urn:authd:problem:conflict", "title": "Conflict", "status": 409,
        "code": "conflict", "detail": "the profile needs no change", "hint": "leave compat out"});
    let daemon = FakeDaemon::start(vec![("POST /v1/shares ", problem)]);
    let output = daemon.command(&["exec", "echo", "started"]).output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("leave compat out") && !stderr.contains("--raw"), "{stderr}");
}

/// The response that makes the share is the only copy of the key.
#[tokio::test]
async fn key_is_printed_though_the_profile_cannot_be_read() {
    let share = json!({"id": "q1Zb7RkXw0Tn", "profile": "work", "allow": "relay", "door": "loopback",
        "key": "authd_share_secret", "url": "http://127.0.0.1:40417/v1",
        "created_at": "2026-11-23T14:00:00Z", "expires_at": "2026-11-23T15:00:00Z"});
    let unread = json!({"type": "urn:authd:problem:store_unavailable", "title": "Credential store unavailable",
        "status": 503, "code": "store_unavailable", "detail": "no answer"});
    let responses = vec![("POST /v1/shares ", share), ("GET /v1/profiles/work ", unread)];
    let daemon = FakeDaemon::start(responses);
    let output = daemon.command(&["share", "work", "--loopback"]).output().await.unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout, "http://127.0.0.1:40417/v1\nAuthorization: Bearer authd_share_secret\n");
    assert_eq!(output.status.code(), Some(0));
}

#[tokio::test]
async fn signals_reach_the_command() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("me", "plus").await;
    for signal in ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"] {
        let script = format!("trap 'exit 7' {signal}; echo ready; while :; do read -r line; done");
        let mut client = command(&daemon, &["exec", "sh", "-c", &script]);
        let mut authctl = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = authctl.stdin.take();
        let mut stdout = BufReader::new(authctl.stdout.take().unwrap()).lines();
        assert_eq!(stdout.next_line().await.unwrap().as_deref(), Some("ready"));
        let pid = authctl.id().unwrap().to_string();
        let kill = tokio::process::Command::new("kill").args(["-s", signal, &pid]).status().await;
        assert!(kill.unwrap().success());
        assert_eq!(authctl.wait().await.unwrap().code(), Some(7), "{signal}");
        drop(input);
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn command_ignores_the_signals_that_its_client_ignores() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("me", "plus").await;
    let mut shell = tokio::process::Command::new("sh");
    let script = r#"trap "" HUP; exec "$0" exec sh -c 'kill -HUP $PPID; kill -HUP $$; echo alive'"#;
    shell.args(["-c", script, crate::AUTHCTL]).env_clear().envs(daemon.env().iter().cloned());
    assert_eq!(crate::Outcome::from(shell.output().await.unwrap()).ok().stdout, "alive\n");
}
