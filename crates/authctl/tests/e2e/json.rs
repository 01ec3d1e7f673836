//! The JSON of each command against the table in docs/api.md.

use std::collections::{BTreeMap, BTreeSet};

use authd_sandbox::test_daemon::{TestDaemon, TestDaemonConfig};
use authd_sandbox::{Account, Config, Sandbox};
use serde_json::Value;

use crate::{
    InteractiveClient, Outcome,
    mcp_server::{self, McpServer},
    run,
};

const DOCUMENT: &str = include_str!("../../../../docs/api.md");

/// Commands without JSON of their own.
const NO_JSON: [&str; 5] = ["exec", "git-credential", "completions", "man", "help"];

/// The fields of each documented command; `true` for one that may be absent.
fn documented() -> BTreeMap<&'static str, BTreeMap<&'static str, bool>> {
    let (_, section) = DOCUMENT.split_once("### JSON\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let in_quotes = |text: &'static str| text.split('`').skip(1).step_by(2);
    let mut commands = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let [_, names, fields, _] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let fields = in_quotes(fields).filter(|text| !text.contains([' ', '{', '-']));
        let fields: BTreeMap<_, _> =
            fields.map(|field| (field.trim_end_matches('?'), field.ends_with('?'))).collect();
        commands.extend(in_quotes(names).map(|name| (name, fields.clone())));
    }
    commands
}

/// Checks the fields of an object, and removes the command from those that are left to check.
fn check(left: &mut BTreeMap<&str, BTreeMap<&str, bool>>, command: &str, object: &Value) {
    let fields = left.remove(command).unwrap_or_else(|| panic!("{command} is not in docs/api.md"));
    let printed: BTreeSet<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    let unknown: Vec<_> = printed.iter().filter(|field| !fields.contains_key(*field)).collect();
    let required = fields.iter().filter(|(_, optional)| !**optional).map(|(field, _)| field);
    let absent: Vec<_> = required.filter(|field| !printed.contains(*field)).collect();
    assert!(
        unknown.is_empty() && absent.is_empty(),
        "{command}: undocumented {unknown:?}, absent {absent:?}"
    );
}

#[tokio::test]
async fn every_command_prints_the_documented_fields() {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let config = TestDaemonConfig::new(crate::authd(), &sandbox).store("file").toml("[audit]\nto = 'file'");
    let daemon = TestDaemon::start(config).await;
    let mut left = documented();
    left.get_mut("status").unwrap().extend([("at", true), ("changes", true)]);

    let pending = run(&daemon, &["login", "--no-wait", "--json"]).await.ok().json();
    check(&mut left, "login --no-wait", &pending);
    sandbox.browser().sign_in(pending["authorize_url"].as_str().unwrap(), "plus").await.unwrap();
    let id = pending["id"].as_str().unwrap();
    check(&mut left, "login --resume", &run(&daemon, &["login", "--resume", id, "--json"]).await.ok().json());
    let other = run(&daemon, &["login", "work", "--no-wait", "--json"]).await.ok().json();
    let id = other["id"].as_str().unwrap();
    check(&mut left, "logins", &run(&daemon, &["logins", "--json"]).await.ok().json());
    check(&mut left, "login --cancel", &run(&daemon, &["login", "--cancel", id, "--json"]).await.ok().json());
    let mut client = InteractiveClient::start(&daemon, &["login", "work", "--no-browser", "--json"]);
    let url = client.wait_for_word("http").await;
    sandbox.browser().sign_in(&url, "business").await.unwrap();
    check(&mut left, "login", &client.end().await.ok().json());
    let mut client = InteractiveClient::start(&daemon, &["login", "mine", "--with-api-key", "--json"]);
    client.send_line(&sandbox.issue_api_key("business")).await;
    check(&mut left, "login --with-api-key", &client.end().await.ok().json());
    let mut client = InteractiveClient::start(&daemon, &["login", "ci", "--with-token", "--json"]);
    client.send_line(&sandbox.issue_personal_access_token("business")).await;
    check(&mut left, "login --with-token", &client.end().await.ok().json());

    let server = McpServer::start();
    let args = ["mcp", "add", "lab", &server.url(), "--no-browser", "--json"];
    let mut client = InteractiveClient::start(&daemon, &args);
    mcp_server::agree(&client.wait_for_word(&format!("{}/authorize?", server.origin())).await);
    check(&mut left, "mcp add", &client.end().await.ok().json());

    std::fs::create_dir_all(daemon.dir().join("home/.codex")).unwrap();
    for (command, args) in [
        ("headers", &[][..]),
        ("token", &[]),
        ("url", &[]),
        ("env", &[]),
        ("socket", &[]),
        ("status", &[]),
        ("profiles", &[]),
        ("refresh", &[]),
        ("ask", &["What is 2+2?"]),
        ("check", &[]),
        ("quota", &[]),
        ("quota --best", &[]),
        ("doctor", &[]),
        ("providers", &[]),
        ("mcp list", &[]),
        ("mcp remove", &["lab"]),
        ("providers check", &["github"]),
        ("share", &["--loopback"]),
        ("shares", &[]),
        ("unshare", &["--all"]),
        ("store status", &[]),
        ("store rekey", &[]),
        ("store migrate", &["--to", "file"]),
        ("codex install", &[]),
        ("codex status", &[]),
        ("codex uninstall", &[]),
        ("export", &["codex"]),
        ("import", &["codex", "-p", "back"]),
        ("rename", &["work", "office"]),
        ("use", &["office"]),
        ("logout", &["office"]),
        ("service install --print", &[]),
        ("service uninstall --print", &[]),
    ] {
        let line: Vec<&str> = command.split(' ').chain(args.iter().copied()).chain(["--json"]).collect();
        let outcome: Outcome = run(&daemon, &line).await.ok();
        check(&mut left, command, &outcome.json());
    }
    let entries = run(&daemon, &["audit", "--json"]).await.ok().stdout;
    for entry in entries.lines() {
        let entry = serde_json::from_str(entry).unwrap();
        check(&mut left.clone(), "audit", &entry);
    }
    assert!(entries.lines().count() > 10 && left.remove("audit").is_some());
    assert!(left.is_empty(), "documented, but not tested: {:?}", left.keys());
}

#[tokio::test]
async fn every_command_is_documented() {
    let help = tokio::process::Command::new(crate::AUTHCTL).arg("--help").output().await.unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let names = commands.lines().filter_map(|line| line.split_whitespace().next());
    let documented = documented();
    for name in names.filter(|name| !NO_JSON.contains(name)) {
        let is_command = |command: &&&str| command.split(' ').next() == Some(name);
        assert!(documented.keys().any(|command| is_command(&command)), "{name} is not in docs/api.md");
    }
}
