//! `authctl share`: what a command gets, and that its share ends with it.

use serde_json::json;

use crate::{Outcome, command, run, start_daemon};

/// Asks through the share in the environment for the models of the account.
const MODELS: &str = r#"import os, urllib.request
request = urllib.request.Request(os.environ["OPENAI_BASE_URL"] + "/models?client_version=1.0.0")
request.add_header("Authorization", "Bearer " + os.environ["OPENAI_API_KEY"])
print(urllib.request.urlopen(request).status, sorted(name for name in os.environ if name.startswith(("OPENAI_", "CHATGPT_", "AUTHD_SOCKET"))))
"#;

#[tokio::test]
async fn command_gets_a_share_that_ends_with_it() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("me", "plus").await;
    let mut client =
        command(&daemon, &["share", "me", "--loopback", "--ttl", "30m", "--", "python3", "-c", MODELS]);
    let output = client.env("PATH", "/usr/bin:/bin").output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "200 ['OPENAI_API_KEY', 'OPENAI_BASE_URL']\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success());
    assert_eq!(daemon.get("/v1/shares").await, json!({"shares": []}));
}

#[tokio::test]
async fn input_and_output_of_a_command_pass_to_the_byte() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("me", "plus").await;
    let bytes: Vec<u8> = (0..=255).rev().collect();
    let input = daemon.dir().join("input");
    std::fs::write(&input, &bytes).unwrap();
    let mut client = command(&daemon, &["share", "me", "--loopback", "--", "tee", "/dev/stderr"]);
    let stdin = std::fs::File::open(&input).unwrap();
    let output = client.env("PATH", "/usr/bin:/bin").stdin(stdin).output().await.unwrap();
    assert_eq!((output.stdout, output.stderr), (bytes.clone(), bytes));
    assert!(output.status.success());
}

#[tokio::test]
async fn share_ends_however_its_command_ends() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("me", "plus").await;
    for (script, code) in [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        let outcome = run(&daemon, &["share", "--", "/bin/sh", "-c", script]).await;
        assert_eq!((outcome.code, &*outcome.stdout, &*outcome.stderr), (code, "", ""), "{script}");
        assert_eq!(daemon.get("/v1/shares").await, json!({"shares": []}), "{script}");
    }
    run(&daemon, &["share", "--", "/does/not/exist"]).await.failed(127, "cannot run /does/not/exist");
    run(&daemon, &["share", "--", "/etc/passwd"]).await.failed(126, "cannot run /etc/passwd");
    assert_eq!(daemon.get("/v1/shares").await, json!({"shares": []}));
}

#[tokio::test]
async fn signal_to_the_client_ends_the_command_and_the_share() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("me", "plus").await;
    let script = "trap 'exit 7' TERM; echo ready; while :; do read -r line; done";
    let mut client = command(&daemon, &["share", "--", "/bin/sh", "-c", script]);
    client.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = client.spawn().unwrap();
    // Keeps the standard input of the command open.
    let input = child.stdin.take();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    assert_eq!(lines.next_line().await.unwrap().as_deref(), Some("ready"));
    let pid = child.id().unwrap().to_string();
    assert!(tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(7));
    drop(input);
    assert_eq!(daemon.get("/v1/shares").await, json!({"shares": []}));
}

#[tokio::test]
async fn shares_are_listed_and_ended() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("me", "plus").await;
    let printed = run(&daemon, &["share", "--headers", "--label", "test"]).await.ok();
    let socket = printed.stdout.strip_prefix("AUTHD_SOCKET=").unwrap().trim_end().to_owned();
    // The client works through the share, as far as the share allows.
    let token = command(&daemon, &["token"]).env("AUTHD_SOCKET", &socket).output().await.unwrap();
    assert_eq!(token.stdout, run(&daemon, &["token"]).await.ok().stdout.into_bytes());
    let status = command(&daemon, &["status"]).env("AUTHD_SOCKET", &socket).output().await.unwrap();
    assert_eq!(status.status.code(), Some(6), "{}", String::from_utf8_lossy(&status.stderr));
    let exec = command(&daemon, &["exec", "true"]).env("AUTHD_SOCKET", &socket).output().await.unwrap();
    crate::Outcome::from(exec).failed(6, "the daemon's own socket");
    let exec =
        command(&daemon, &["exec", "--raw", "true"]).env("AUTHD_SOCKET", &socket).output().await.unwrap();
    crate::Outcome::from(exec).ok();
    let listed = run(&daemon, &["shares"]).await.ok().stdout;
    assert!(listed.contains(&socket) && listed.contains("label: test"), "{listed}");
    let id = run(&daemon, &["shares", "--json"]).await.ok().json()["shares"][0]["id"].clone();
    run(&daemon, &["unshare", id.as_str().unwrap()]).await.ok();
    run(&daemon, &["unshare", id.as_str().unwrap()]).await.failed(3, "there is no share");
    // An id that is unknown does not keep the other shares.
    let id = run(&daemon, &["share", "--json"]).await.ok().json()["id"].clone();
    run(&daemon, &["unshare", "unknown", id.as_str().unwrap()]).await.failed(3, "there is no share unknown");
    assert_eq!(run(&daemon, &["shares"]).await.ok().stdout, "nothing is shared\n");
    let none = run(&daemon, &["unshare", "--all"]).await.ok();
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "nothing is shared\n"));
    run(&daemon, &["share", "--compat", "responses"]).await.failed(2, "--loopback");
    run(&daemon, &["share", "--rate", "0"]).await.failed(2, "60/min");
}

#[tokio::test]
async fn ask_works_through_a_share_that_gives_no_headers() {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("me", "plus").await;
    daemon.sign_in("work", "business").await;
    let ask = async |share: serde_json::Value, args: &[&str]| {
        let share = daemon.post("/v1/shares", share).await;
        let mut client = command(&daemon, &[&["ask", "-v", "--json", "What is 2+2?"], args].concat());
        Outcome::from(client.env("AUTHD_SOCKET", share["socket"].as_str().unwrap()).output().await.unwrap())
    };
    let answer = |outcome: Outcome| outcome.ok().json()["answer"].as_str().unwrap().to_owned();
    assert!(answer(ask(json!({"profile": "work"}), &[]).await).contains("= 4."));
    // The ChatGPT backend lists no models without the client's version, which the headers tell.
    let outcome = ask(json!({"profile": "me"}), &[]).await.failed(2, "no model is named");
    assert!(outcome.stderr.contains("authctl ask --model NAME"), "{outcome}");
    let outcome = ask(json!({"profile": "me"}), &["--model", "gpt-5.5"]).await.ok();
    for secret in sandbox.issued_secrets() {
        assert!(!format!("{outcome}").contains(&secret), "{outcome}");
    }
    assert_eq!(outcome.json()["profile"], json!(null));
    let only = |path: &str| json!({"profile": "me", "allow": "headers", "paths": [path]});
    ask(only("responses"), &[]).await.failed(6, "no model is named");
    ask(only("models"), &["--model", "gpt-5.5"]).await.failed(6, "does not allow");
    ask(json!({"profile": "me"}), &["-p", "work"]).await.failed(6, "a share has only the relay");
}
