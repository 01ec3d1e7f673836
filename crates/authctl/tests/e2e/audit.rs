//! `authctl audit`.

use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{authd, command, run, start_daemon};

async fn audited() -> (Sandbox, TestDaemon) {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let config = TestDaemonConfig::new(authd(), &sandbox).toml("[audit]\nto = 'file'");
    let daemon = TestDaemon::start(config).await;
    (sandbox, daemon)
}

#[tokio::test]
async fn table_names_the_process_that_took_a_token() {
    let (_sandbox, daemon) = audited().await;
    daemon.sign_in("me", "plus").await;
    daemon.sign_in("work", "business").await;
    run(&daemon, &["token", "me"]).await.ok();
    run(&daemon, &["token", "work"]).await.ok();
    let table = run(&daemon, &["audit", "-p", "me"]).await.ok().stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("TIME ") && lines.len() == 4, "{table}");
    assert!(lines[1].contains("login started") && lines[1].contains("login lg_"), "{table}");
    assert!(lines[3].contains(" 1  me          headers          authctl "), "{table}");
    // A profile of the environment hides nothing.
    let all = command(&daemon, &["audit"]).env("AUTHCTL_PROFILE", "me").output().await.unwrap();
    assert_eq!(String::from_utf8(all.stdout).unwrap().lines().count(), 7);
    let json = run(&daemon, &["audit", "--json", "--since", "1h"]).await.ok().stdout;
    let entries: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 6);
    assert_eq!(entries[4]["process"]["command"], "authctl", "{json}");
    let future = run(&daemon, &["audit", "--since", "2126-11-23T14:00:00Z", "-q"]).await.ok();
    assert_eq!(future.stdout, "");
    run(&daemon, &["audit", "--since", "yesterday"]).await.failed(2, "not a time such as 1h");
}

#[tokio::test]
async fn follower_prints_new_entries_until_the_daemon_stops() {
    let (_sandbox, mut daemon) = audited().await;
    daemon.sign_in("me", "plus").await;
    let mut client = command(&daemon, &["audit", "-f"]);
    client.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().unwrap().contains("login  ") {}
    run(&daemon, &["token"]).await.ok();
    assert!(lines.next_line().await.unwrap().unwrap().contains("headers"));
    assert!(daemon.sigterm_and_wait().await.success());
    while lines.next_line().await.unwrap().is_some() {}
    let output = client.wait_with_output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "authd stopped\n");
    assert!(output.status.success());
}

#[tokio::test]
async fn log_that_is_off_is_an_error_with_the_remedy() {
    let (_sandbox, daemon) = start_daemon().await;
    let outcome = run(&daemon, &["audit"]).await.failed(2, "the audit log is off");
    assert!(outcome.stderr.contains("set [audit] to = \"file\" in authd.toml"), "{outcome}");
}

#[tokio::test]
async fn entries_of_the_journal_are_shown_in_the_same_table() {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let config = TestDaemonConfig::new(authd(), &sandbox).toml("[audit]\nto = 'journal'");
    let daemon = TestDaemon::start(config).await;
    // Stands for the program of systemd, and prints what it was asked for.
    let program = daemon.dir().join("journalctl");
    let entry = r#"{"time":"2026-11-23T14:00:00Z","action":"headers","count":3,"profile":"me"}"#;
    std::fs::write(&program, format!("#!/bin/sh\necho \"$@\" >&2\necho '{entry}'\necho other\n")).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", daemon.dir().display());
    let output = command(&daemon, &["audit", "-q"]).env("PATH", &path).output().await.unwrap();
    let (table, request) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(table.contains("    3  me          headers") && table.lines().count() == 1, "{table}");
    assert!(request.contains("-o cat -t authd-audit _UID="), "{request}");
    let output = command(&daemon, &["audit"]).env("PATH", "/none").output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("cannot read the journal: "), "{error}");
}

#[tokio::test]
async fn program_with_a_misleading_name_changes_no_other_line() {
    let (_sandbox, daemon) = audited().await;
    daemon.sign_in("me", "plus").await;
    let path = std::env::var_os("PATH").unwrap();
    let mut programs = std::env::split_paths(&path).map(|directory| directory.join("curl"));
    let curl = programs.find(|path| path.is_file()).expect("curl is installed");
    // Clears the screen, ends the line and the JSON string, and turns the text.
    let name = "\u{1b}[2J\",\"\n\u{202e}x";
    let program = daemon.dir().join(name);
    std::fs::copy(curl, &program).unwrap();
    let mut client = tokio::process::Command::new(&program);
    client.args(["-s", "--unix-socket"]).arg(daemon.socket()).arg("http://authd/v1/profiles/me/headers");
    assert!(client.output().await.unwrap().status.success());
    let json = run(&daemon, &["audit", "--json"]).await.ok().stdout;
    let entries: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 3);
    let escaped = r#"\u{1b}[2J","\n\u{202e}x"#;
    let process = &entries[2]["process"];
    assert_eq!(process["command"], escaped);
    assert!(process["executable"].as_str().unwrap().ends_with(&format!("/{escaped}")), "{process}");
    let table = run(&daemon, &["audit"]).await.ok().stdout;
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{table:?}");
}
