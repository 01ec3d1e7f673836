//! `login --with-token` and `--with-api-key`: credentials of the user from stdin.

use std::process::Stdio;

use authd_sandbox::{Account, Fault, Route, test_daemon::TestDaemon};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{AUTHCTL, InteractiveClient, Outcome, command, run, start_daemon};

/// Runs the client with this text on stdin.
async fn login(daemon: &TestDaemon, args: &[&str], stdin: &str) -> Outcome {
    let mut client = command(daemon, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A client that refuses its arguments reads nothing.
    drop(client.stdin.take().unwrap().write_all(stdin.as_bytes()).await);
    Outcome::from(client.wait_with_output().await.unwrap())
}

#[tokio::test]
async fn api_key_is_read_from_stdin() {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let [one, two, three] = [(); 3].map(|()| sandbox.issue_api_key("business"));
    let login = async |args: &[&str], key: &str| {
        let mut client = InteractiveClient::start(&daemon, args);
        client.send_line(key).await;
        client.end().await
    };
    let outcome = login(&["login", "mine", "--with-api-key"], &one).await.ok();
    assert!(outcome.stderr.contains("profile \"mine\" has your API key"), "{outcome}");
    assert_eq!(run(&daemon, &["token", "mine"]).await.ok().stdout, format!("{one}\n"));
    assert_eq!(
        login(&["login", "mine", "--with-api-key", "--json"], &two).await.ok().json()["mode"],
        "api-key"
    );
    assert_eq!(run(&daemon, &["token", "mine"]).await.ok().stdout, format!("{two}\n"));
    // The profile of another account stays.
    login(&["login", "--with-api-key"], &three).await.failed(2, "default");
    login(&["login", "mine", "--with-api-key"], "").await.failed(2, "no API key");
    login(&["login", "mine", "--with-api-key"], "sk-unknown")
        .await
        .failed(4, "the provider rejects this API key");
    run(&daemon, &["login", "--with-api-key", "--device"]).await.failed(2, "cannot be used with");
    let restricted = sandbox.issue_restricted_api_key("business");
    let outcome = login(&["login", "mine", "--with-api-key"], &restricted).await.ok();
    assert!(
        outcome.stderr.contains("Note: it is a restricted key, which may not list the models."),
        "{outcome}"
    );
}

#[tokio::test]
async fn token_is_read_from_stdin_and_checked_first() {
    let (sandbox, daemon) = start_daemon().await;
    let token = sandbox.issue_personal_access_token("business");
    let outcome = login(&daemon, &["login", "ci", "--with-token"], &token).await.ok();
    let Account { email, .. } = Account::business();
    let expected =
        format!("profile \"ci\" has your token, for {email}, plan business; try: authctl ask \"What");
    assert!(outcome.stdout.is_empty() && outcome.stderr.starts_with(&expected), "{outcome}");
    assert!(outcome.stderr.contains("does not say when it expires; nothing renews it"), "{outcome}");
    let json = login(&daemon, &["login", "ci", "--with-token", "--json"], &token).await.ok().json();
    assert_eq!((&json["own_credential"], &json["expires_at"]), (&json!(true), &Value::Null));
    let others = sandbox.issue_personal_access_token("plus");
    let outcome = login(&daemon, &["login", "ci", "--with-token"], &others).await.failed(2, "another user");
    assert!(outcome.stderr.contains("the same command with --replace"), "{outcome}");
    login(&daemon, &["login", "ci", "--with-token", "--replace"], &others).await.ok();
    for (args, stdin, exit, message) in [
        (&["login", "--with-token"][..], "at-unknown", 4, "the provider rejects this token"),
        (&["login", "--with-token"], "sk-1", 2, "no personal access token of OpenAI"),
        (&["login", "--with-token"], " \n", 2, "stdin has no token"),
        (&["login", "--with-token"], "a b", 2, "one word"),
        (&["login", "--with-token", "--provider", "nowhere"], "t", 3, "no provider"),
        (&["login", "--with-token", "--with-api-key"], "t", 2, "cannot be used with"),
        (&["login", "--with-token", "--device"], "t", 2, "cannot be used with"),
        (&["login", "--with-api-key", "--provider", "lab"], "t", 2, "cannot be used with"),
    ] {
        login(&daemon, args, stdin).await.failed(exit, message);
    }
    login(&daemon, &["login", "--with-token"], &"x".repeat(20_000)).await.failed(2, "over 16 KiB");
    sandbox.faults().push(Route::Whoami, Fault::status(503, ""));
    let outcome = login(&daemon, &["login", "ci", "--with-token"], &token).await.failed(5, "unavailable");
    assert!(!outcome.to_string().contains(&token), "{outcome}");
    sandbox.revoke_personal_access_token(&others);
    let outcome = run(&daemon, &["ask", "-p", "ci", "hi"]).await.failed(4, "does not accept the credential");
    assert!(outcome.stderr.contains("and run: authctl login ci --with-token < FILE"), "{outcome}");
    let headers = run(&daemon, &["token", "ci"]).await.ok().stdout;
    assert_eq!(headers, format!("{others}\n"), "the stored token is unchanged");
}

/// What a job does: no daemon runs at first, and no terminal is there.
#[tokio::test]
async fn job_signs_in_with_a_secret_of_its_environment() {
    let (sandbox, mut daemon) = start_daemon().await;
    assert!(daemon.sigterm_and_wait().await.success());
    let script = "set -eu
        printf %s \"$TOKEN\" | authctl login --with-token
        unset TOKEN
        authctl status
        authctl ask 'What is 2+2?'
        authctl exec --raw -- sh -c 'test -n \"$OPENAI_API_KEY\"'
        authctl logout";
    let directory = std::path::Path::new(AUTHCTL).parent().unwrap().display();
    let path = format!("{directory}:{}", std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-c", script])
        .env_clear()
        .envs(daemon.env().iter().map(|(name, value)| (name, value)))
        .env("PATH", path)
        .env("TOKEN", sandbox.issue_personal_access_token("plus"))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let outcome = Outcome::from(output).ok();
    assert!(outcome.stdout.contains("user@example.com") && outcome.stdout.contains('4'), "{outcome}");
    for secret in sandbox.issued_secrets() {
        assert!(!outcome.to_string().contains(&secret), "{outcome}");
    }
    let owner = std::fs::read_to_string(daemon.state().join("authd.pid")).unwrap();
    let pid = owner.lines().next().unwrap();
    assert!(Command::new("kill").arg(pid).status().await.unwrap().success());
}
