//! What other programs can see of the client's process, and what its children inherit.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::Read as _,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Stdio,
    time::Duration,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{AUTHCTL, ClientForAll, Outcome, fake_daemon::FakeDaemon, run, start_daemon};

#[tokio::test]
async fn process_dumps_no_core_and_is_not_dumpable() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can start a process as another user.
    }
    let client = ClientForAll::new();
    // `ask` waits for a question on stdin.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sc 100; exec \"$0\" ask"]).arg(client.path()).uid(65_534).env_clear();
    for name in ["HOME", "AUTHD_SOCKET", "AUTHD_CONFIG", "AUTHD_STATE_DIR"] {
        command.env(name, "/nowhere");
    }
    let child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let about = |file: &str| format!("/proc/{}/{file}", child.id().unwrap());
    // The files of an undumpable process belong to root (proc(5)).
    let undumpable = async {
        while fs::metadata(about("environ")).unwrap().uid() != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), undumpable).await.expect("the process is still dumpable");
    let limits = fs::read_to_string(about("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[tokio::test]
async fn exec_restores_the_limits_of_the_user() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    for (limit, option) in [("0", ""), ("0", "--raw"), ("100", ""), ("100", "--raw")] {
        let mut command = Command::new("sh");
        let script = format!("ulimit -Sc {limit} && exec \"$0\" exec {option} -- sh -c 'ulimit -Sc'");
        command.args(["-c", &script, AUTHCTL]).env_clear().envs(daemon.env().iter().cloned());
        let outcome = Outcome::from(command.output().await.unwrap());
        if outcome.stderr.contains("ulimit") {
            return; // The hard limit of this machine is lower.
        }
        assert_eq!(outcome.ok().stdout.trim(), limit);
    }
}

#[tokio::test]
async fn started_daemon_has_no_token_in_its_environment() {
    let (_sandbox, mut daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    daemon.sigterm_and_wait().await;
    let mut command = crate::command(&daemon, &["login", "--no-wait"]);
    Outcome::from(command.env("OPENAI_API_KEY", "sk-of-the-shell").output().await.unwrap()).ok();
    let daemon_pid = run(&daemon, &["status", "--json"]).await.ok().json()["daemon"]["pid"].to_string();
    let environment = fs::read(format!("/proc/{daemon_pid}/environ")).unwrap();
    assert!(Command::new("kill").arg(&daemon_pid).status().await.unwrap().success());
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(environment.contains("AUTHD_SOCKET=") && !environment.contains("sk-of-the-shell"));
    while daemon.socket().exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Writes a browser that records its arguments.
fn write_browser(browser: &Path, record: &Path) {
    fs::create_dir(browser.parent().unwrap()).unwrap();
    // Renamed at the end: a test that sees the record finds all of it.
    let script = format!("#!/bin/sh\necho \"$@\" > {0}.new\n/bin/mv {0}.new {0}\n", record.display());
    fs::write(browser, script).unwrap();
    fs::set_permissions(browser, Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn browser_that_the_user_names_is_opened_without_a_terminal() {
    let url = "https://auth.example.com/authorize?state=s";
    let login = |state: &str| {
        json!({"id": "lg_1", "profile": "work", "flow": "browser", "state": state, "authorize_url": url,
            "created_at": "2026-11-23T14:00:00Z", "expires_at": "2026-11-23T14:10:00Z",
            "error": null, "result": null})
    };
    let fake_daemon = FakeDaemon::start(vec![
        ("POST /v1/logins", login("pending")),
        ("GET /v1/logins/lg_1", login("cancelled")),
    ]);
    let (browser, record) = (fake_daemon.path("bin").join("browser"), fake_daemon.path("opened"));
    write_browser(&browser, &record);
    let names = format!("/nowhere/browser:{} --new", browser.display());
    let output = fake_daemon.command(&["login"]).env("BROWSER", names).output().await.unwrap();
    assert_eq!(output.status.code(), Some(4), "the login was cancelled");
    let opened = async {
        while !record.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), opened).await.expect("no browser was started");
    assert_eq!(fs::read_to_string(record).unwrap(), format!("--new {url}\n"));
}

/// The output of a login at a terminal, and the arguments with which it starts a browser.
async fn login_at_terminal(open_url: Option<&str>) -> (String, String) {
    let login = |state: &str| {
        let mut login = json!({"id": "lg_1", "profile": "work", "flow": "browser", "state": state,
            "authorize_url": "https://auth.example.com/authorize?state=s",
            "created_at": "2026-11-23T14:00:00Z", "expires_at": "2026-11-23T14:10:00Z",
            "error": null, "result": null});
        if let Some(url) = open_url {
            login["open_url"] = Value::from(url);
        }
        login
    };
    let fake_daemon = FakeDaemon::start(vec![
        ("POST /v1/logins", login("pending")),
        ("GET /v1/logins/lg_1", login("cancelled")),
    ]);
    let (programs, record) = (fake_daemon.path("bin"), fake_daemon.path("opened"));
    write_browser(&programs.join("xdg-open"), &record);

    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    let screen = OpenOptions::new().read(true).write(true).open(name).unwrap();
    let mut command = fake_daemon.command(&["login"]);
    command.env("PATH", &programs).env("DISPLAY", ":0").stderr(screen);
    let status = command.status().await.unwrap();
    assert_eq!(status.code(), Some(4), "the login was cancelled");
    drop(command);
    let mut shown = Vec::new();
    // The read ends with an error, because the last writer is closed.
    drop(File::from(terminal).read_to_end(&mut shown));
    (String::from_utf8(shown).unwrap(), fs::read_to_string(record).unwrap_or_default())
}

#[tokio::test]
async fn process_list_does_not_show_the_authorize_url() {
    let (shown, opened_with) = login_at_terminal(Some("http://localhost:1455/go/token")).await;
    assert_eq!(opened_with, "http://localhost:1455/go/token\n", "{shown}");
    assert!(shown.contains("open this page:\r\n\r\n  https://auth.example.com/authorize?state=s"), "{shown}");
    assert!(!shown.contains("/go/"), "the printed URL can be opened more than once: {shown}");
    // Older daemons send no `open_url`.
    let (shown, opened_with) = login_at_terminal(None).await;
    assert_eq!(opened_with, "https://auth.example.com/authorize?state=s\n", "{shown}");
}
