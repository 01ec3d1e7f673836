//! Shutdown, reload and restart: operations in progress are completed and saved.

use std::{fs, path::Path, process::Stdio};

use authd_sandbox::{
    Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use rustix::{
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::helpers::{AUTHD, finished, sandbox, start};

async fn file_daemon(sandbox: &Sandbox) -> TestDaemon {
    TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox).store("file")).await
}

/// Starts a refresh with this fault at the provider. The client disconnects when the provider has
/// the request.
async fn start_refresh(daemon: &TestDaemon, sandbox: &Sandbox, fault: Fault) {
    sandbox.faults().push(Route::Refresh, fault);
    let refresh = daemon.try_request("POST", "/v1/profiles/-/refresh", &[], "{}");
    tokio::select! {
        response = refresh => panic!("the daemon responds before the provider: {response:?}"),
        () = sandbox.wait_for(Route::Refresh, 1) => {}
    }
}

async fn wait_until_removed(path: &Path) {
    while path.exists() {
        tokio::task::yield_now().await;
    }
}

/// Whether the daemon has a thread of the pool that a D-Bus connection uses.
#[cfg(target_os = "linux")]
fn has_blocking_thread(daemon: &TestDaemon) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid().unwrap())).unwrap();
    // A thread may end before its name is read.
    let names = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.into_iter().any(|name| name.starts_with("blocking"))
}

/// Starts a second daemon, which must exit by itself. Returns its exit code and stderr.
async fn run_second(daemon: &TestDaemon, socket: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(AUTHD);
    command.env_clear().envs(daemon.env().iter().cloned()).arg("--socket").arg(socket).kill_on_drop(true);
    let output = command.output().await.unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_stopping_daemon_holds_its_locks_until_the_last_save() {
    let sandbox = sandbox().await;
    let mut daemon = file_daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    start_refresh(&daemon, &sandbox, Fault::StallAfterCommit).await;
    daemon.signal(Signal::TERM);
    wait_until_removed(&daemon.socket()).await;
    // The socket is gone, and the rotated token has not arrived yet.
    let (code, stderr) = run_second(&daemon, &daemon.socket()).await;
    assert!(code == Some(69) && stderr.contains("already serves"), "{code:?} {stderr}");
    let (code, stderr) = run_second(&daemon, &daemon.dir().join("another.sock")).await;
    assert!(code == Some(69) && stderr.contains("owns the logins in"), "{code:?} {stderr}");
    sandbox.faults().release();
    assert!(daemon.wait().await.success());
    daemon.start_again().await;
    assert_eq!(daemon.post("/v1/profiles/-/refresh", json!({})).await["generation"], 3);
    assert_eq!(sandbox.count(Route::Refresh), 2, "each token was sent once");
}

/// A thread of this pool that does not end wakes up twice a second.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_daemon_without_a_keychain_ends_the_threads_that_looked_for_one() {
    let sandbox = sandbox().await;
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("auto")).await;
    assert!(daemon.log().contains("keychain not usable"), "{}", daemon.log());
    while has_blocking_thread(&daemon) {
        daemon.get("/v1/status").await;
    }
}

#[tokio::test]
async fn a_code_exchange_in_progress_completes_before_the_exit() {
    let sandbox = sandbox().await;
    let mut daemon = file_daemon(&sandbox).await;
    sandbox.faults().push(Route::CodeExchange, Fault::StallAfterCommit);
    let (_, url) = start(&daemon, json!({"profile": "late"})).await;
    let browser = sandbox.browser();
    let browsing = tokio::spawn(async move { browser.sign_in(&url, "plus").await });
    sandbox.wait_for(Route::CodeExchange, 1).await;
    daemon.signal(Signal::TERM);
    wait_until_removed(&daemon.socket()).await;
    sandbox.faults().release();
    let end = browsing.await.unwrap().unwrap();
    assert!(end.html.contains("user@example.com"), "{}", end.html);
    assert!(daemon.wait().await.success());
    daemon.start_again().await;
    assert_eq!(daemon.get("/v1/profiles/late").await["state"], "ready");
}

#[tokio::test]
async fn a_second_signal_stops_the_daemon_at_once() {
    let sandbox = sandbox().await;
    let mut daemon = file_daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    start_refresh(&daemon, &sandbox, Fault::Stall).await;
    daemon.signal(Signal::INT);
    wait_until_removed(&daemon.socket()).await;
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().await.success());
    assert!(daemon.log().contains("stopped at once"), "{}", daemon.log());
}

#[tokio::test]
async fn a_client_that_waits_for_a_login_gets_a_response_at_shutdown() {
    let sandbox = sandbox().await;
    let mut daemon = file_daemon(&sandbox).await;
    let (login, _) = start(&daemon, json!({})).await;
    let path = format!("/v1/logins/{}?wait=60", login["id"].as_str().unwrap());
    let ending = async {
        // After these responses the daemon has read the earlier request.
        for _ in 0..20 {
            daemon.get("/v1/status").await;
        }
        daemon.signal(Signal::TERM);
    };
    let (response, ()) = tokio::join!(daemon.request("GET", &path, &[], ""), ending);
    assert_eq!(response.json()["state"], "pending", "{}", response.text());
    assert!(daemon.wait().await.success());
    assert!(!daemon.log().contains("unfinished work"), "{}", daemon.log());
}

#[tokio::test]
async fn an_idle_browser_connection_does_not_delay_the_shutdown() {
    let sandbox = sandbox().await;
    let mut daemon = file_daemon(&sandbox).await;
    let status = daemon.get("/v1/status").await;
    let address = status["callback"]["addresses"][0].as_str().unwrap().to_owned();
    let _idle = tokio::net::TcpStream::connect(&address).await.unwrap();
    assert!(daemon.sigterm_and_wait().await.success());
    assert!(!daemon.log().contains("unfinished work"), "{}", daemon.log());
}

#[tokio::test]
async fn the_daemon_exits_when_its_store_thread_panics() {
    let sandbox = sandbox().await;
    let directory = tempfile::tempdir().unwrap();
    let control_file = directory.path().join("control");
    let control = format!("memory_control = \"{}\"", control_file.display());
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&control)).await;
    daemon.sign_in("default", "plus").await;
    fs::write(&control_file, "panic").unwrap();
    let body = json!({"api_key": "sk-own-key", "check": false}).to_string();
    drop(daemon.try_request("PUT", "/v1/profiles/own/api-key", &[], body).await);
    assert_eq!(daemon.wait().await.code(), Some(70), "{}", daemon.log());
    assert!(daemon.log().contains("store thread ended"), "{}", daemon.log());
}

#[tokio::test]
async fn a_reload_changes_the_log_filter_but_not_the_provider() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).toml("[log]\nformat = \"json\"");
    let daemon = TestDaemon::start(config).await;
    let (login, url) = start(&daemon, json!({})).await;
    let text = fs::read_to_string(daemon.config()).unwrap();
    let text = text.replace("format = \"json\"", "format = \"json\"\nfilter = \"authd=debug\"");
    fs::write(daemon.config(), text.replace("client_id = \"", "client_id = \"another_")).unwrap();
    daemon.signal(Signal::HUP);
    while !daemon.log().contains("\"DEBUG\"") {
        daemon.request("GET", "/v1/profiles/unknown", &[], "").await;
    }
    // A new client id would apply to half of the daemon only, so a reload does not change it.
    daemon.browse(&url, "plus").await;
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    daemon.sign_in("another", "business").await;
    for line in daemon.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line["level"].is_string() && line["fields"]["message"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn at_a_terminal_the_daemon_prints_its_socket_once_it_listens() {
    let sandbox = sandbox().await;
    let daemon = file_daemon(&sandbox).await;
    let terminal = || {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        (fs::File::from(master), fs::OpenOptions::new().read(true).write(true).open(slave).unwrap())
    };
    let run = |socket: &Path, state: &Path, slave: fs::File| {
        let mut command = Command::new(AUTHD);
        command.env_clear().envs(daemon.env().iter().cloned()).env("AUTHD_STATE_DIR", state);
        command.arg("--socket").arg(socket).stdin(Stdio::null()).stderr(slave).kill_on_drop(true);
        command.spawn().unwrap()
    };
    let expected = format!("authd listens on {}", daemon.dir().join("second.sock").display());
    let (master, slave) = terminal();
    let mut child = run(&daemon.dir().join("second.sock"), &daemon.dir().join("second"), slave);
    let mut lines = BufReader::new(tokio::fs::File::from_std(master)).lines();
    while !lines.next_line().await.unwrap().unwrap().starts_with(&expected) {}
    child.kill().await.unwrap();
    // A daemon that cannot listen does not print the message.
    let (master, slave) = terminal();
    let mut refused = run(&daemon.socket(), &daemon.dir().join("third"), slave);
    assert_eq!(refused.wait().await.unwrap().code(), Some(69));
    let mut lines = BufReader::new(tokio::fs::File::from_std(master)).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.contains("already serves") && !line.contains("listens on"), "{line}");
}

/// The next write creates a removed state directory again, with all records.
#[tokio::test]
async fn a_removed_state_directory_is_created_again() {
    let sandbox = sandbox().await;
    let mut daemon = file_daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    fs::remove_dir_all(daemon.state()).unwrap();
    daemon.post("/v1/profiles/default/refresh", json!({})).await;
    for name in ["default", "work"] {
        while !daemon.state().join(format!("store/profile.{name}.age")).exists() {
            tokio::task::yield_now().await;
        }
    }
    // The daemon locks the new directory as well.
    let socket = daemon.dir().join("another.sock");
    let (code, stderr) = run_second(&daemon, &socket).await;
    assert_eq!(code, Some(69), "{stderr}");
    daemon.restart().await;
    for name in ["default", "work"] {
        daemon.get(&format!("/v1/profiles/{name}/headers")).await;
    }
    daemon.post("/v1/profiles/default/refresh", json!({})).await;
}
