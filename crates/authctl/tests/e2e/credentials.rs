//! The commands that hand a credential to another program: `token`, `headers`, `exec`, `env`.

use std::time::Duration;

use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;

use crate::{command, run, start_daemon};

#[tokio::test]
async fn token_command_fails_in_time_while_the_refresh_goes_on() {
    let account = Account::plus().with_lifetime(Duration::from_secs(1));
    let sandbox = Sandbox::start(Config::with_accounts([account])).await.unwrap();
    let daemon = TestDaemon::start(TestDaemonConfig::new(crate::authd(), &sandbox)).await;
    daemon.sign_in("default", "plus").await;
    while daemon.get("/v1/profiles/default").await["state"] != "expired" {
        tokio::task::yield_now().await;
    }
    sandbox.faults().push(Route::Refresh, Fault::Stall);
    for args in [&["token", "--timeout", "50ms"][..], &["headers", "default", "--timeout=50ms", "--json"]] {
        let outcome =
            run(&daemon, args).await.failed(5, "did not answer within 50ms; a refresh in progress goes on");
        assert!(outcome.stderr.contains("--timeout 30s"), "{outcome}");
    }
    sandbox.wait_for(Route::Refresh, 1).await;
    sandbox.faults().release();
    while daemon.get("/v1/profiles/default").await["generation"] != 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn lifetimes_are_given_in_seconds_or_with_a_unit() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let token = run(&daemon, &["token", "--min-ttl", "300"]).await.ok().stdout;
    assert_eq!(run(&daemon, &["token", "--min-ttl", "5m"]).await.ok().stdout, token);
    run(&daemon, &["token", "--min-ttl", "5 apples"]).await.failed(2, "seconds or a time with its unit");
}

#[tokio::test]
async fn raw_exec_sets_every_header_and_removes_those_of_another_profile() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let token = run(&daemon, &["token"]).await.ok().stdout;
    let headers = run(&daemon, &["headers"]).await.ok().stdout;
    let others: String = headers.lines().skip(1).map(|line| format!("{line}\n")).collect();
    let print =
        ["exec", "--raw", "--", "sh", "-c", r#"echo "$OPENAI_API_KEY"; echo "$OPENAI_CUSTOM_HEADERS""#];
    assert_eq!(run(&daemon, &print).await.ok().stdout, format!("{token}{others}"));
    let work = run(&daemon, &["headers", "work"]).await.ok().stdout;
    let version = work.lines().nth(1).unwrap();
    let nested = r#"echo "$OPENAI_CUSTOM_HEADERS ${CHATGPT_ACCOUNT_ID-unset}""#;
    let ctl = crate::AUTHCTL;
    let nested = ["exec", "--raw", "--", ctl, "exec", "--raw", "-p", "work", "--", "sh", "-c", nested];
    assert_eq!(run(&daemon, &nested).await.ok().stdout, format!("{version} unset\n"));
}

#[tokio::test]
async fn env_prints_what_raw_exec_sets() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let variables =
        ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_CUSTOM_HEADERS", "CHATGPT_ACCOUNT_ID", "AUTHD_SOCKET"];
    let print = variables.map(|name| format!("printenv {name}")).join("; ");
    let in_exec = run(&daemon, &["exec", "--raw", "--", "sh", "-c", &print]).await.ok().stdout;
    let script = run(&daemon, &["env", "--shell", "bash"]).await.ok().stdout;
    let mut shell = tokio::process::Command::new("sh");
    let output = shell.args(["-c", &format!("{script}{print}")]).output().await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), in_exec);
    let object = run(&daemon, &["env", "default", "--json"]).await.ok().json();
    let values: String =
        variables.iter().map(|name| format!("{}\n", object[name].as_str().unwrap())).collect();
    assert_eq!(values, in_exec);
    let fish = command(&daemon, &["env"]).env("SHELL", "/usr/bin/fish").output().await.unwrap();
    assert!(String::from_utf8(fish.stdout).unwrap().starts_with("set -gx OPENAI_API_KEY '"));
}

#[tokio::test]
async fn socket_is_printed_without_a_daemon() {
    let (_sandbox, mut daemon) = start_daemon().await;
    daemon.sigterm_and_wait().await;
    let socket = daemon.socket().to_str().unwrap().to_owned();
    assert_eq!(run(&daemon, &["socket"]).await.ok().stdout, format!("{socket}\n"));
    assert_eq!(run(&daemon, &["socket", "--json"]).await.ok().json(), json!({"socket": socket}));
    assert_eq!(run(&daemon, &["socket", "--socket", "/elsewhere/s"]).await.ok().stdout, "/elsewhere/s\n");
}
