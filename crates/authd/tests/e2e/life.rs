//! How a daemon ends, and what the next one finds: nothing that was under way is lost, whoever asks for
//! the end, and however.

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

use crate::support::{AUTHD, finished, sandbox, start};

async fn filed(sandbox: &Sandbox) -> TestDaemon {
    TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox).store("file")).await
}

/// Begins a refresh whose answer the provider keeps back, for a client that does not wait for it.
async fn refreshing(daemon: &TestDaemon, sandbox: &Sandbox, fault: Fault) {
    sandbox.faults().push(Route::Refresh, fault);
    let refresh = daemon.try_request("POST", "/v1/profiles/-/refresh", &[], "{}");
    tokio::select! {
        answer = refresh => panic!("answered before the provider: {answer:?}"),
        () = sandbox.wait_for(Route::Refresh, 1) => {}
    }
}

async fn gone(path: &Path) {
    while path.exists() {
        tokio::task::yield_now().await;
    }
}

/// The exit code and the words of a daemon that is to end by itself.
async fn second(daemon: &TestDaemon, socket: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(AUTHD);
    command.env_clear().envs(daemon.env().iter().cloned()).arg("--socket").arg(socket).kill_on_drop(true);
    let output = command.output().await.unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn nobody_else_owns_the_logins_before_the_last_save() {
    let sandbox = sandbox().await;
    let mut daemon = filed(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    refreshing(&daemon, &sandbox, Fault::StallAfterCommit).await;
    daemon.signal(Signal::TERM);
    gone(&daemon.socket()).await;
    // Nobody answers any more, and the rotated token is still on its way.
    let (code, said) = second(&daemon, &daemon.socket()).await;
    assert!(code == Some(69) && said.contains("already serves"), "{code:?} {said}");
    let (code, said) = second(&daemon, &daemon.dir().join("another.sock")).await;
    assert!(code == Some(69) && said.contains("owns the logins in"), "{code:?} {said}");
    sandbox.faults().release();
    assert!(daemon.wait().await.success());
    daemon.start_again().await;
    assert_eq!(daemon.post("/v1/profiles/-/refresh", json!({})).await["generation"], 3);
    assert_eq!(sandbox.count(Route::Refresh), 2, "each token was sent once");
}

#[tokio::test]
async fn a_sign_in_whose_code_has_come_is_finished_before_the_end() {
    let sandbox = sandbox().await;
    let mut daemon = filed(&sandbox).await;
    sandbox.faults().push(Route::CodeExchange, Fault::StallAfterCommit);
    let (_, url) = start(&daemon, json!({"profile": "late"})).await;
    let browser = sandbox.browser();
    let browsing = tokio::spawn(async move { browser.sign_in(&url, "plus").await });
    sandbox.wait_for(Route::CodeExchange, 1).await;
    daemon.signal(Signal::TERM);
    gone(&daemon.socket()).await;
    sandbox.faults().release();
    let end = browsing.await.unwrap().unwrap();
    assert!(end.html.contains("user@example.com"), "{}", end.html);
    assert!(daemon.wait().await.success());
    daemon.start_again().await;
    assert_eq!(daemon.get("/v1/profiles/late").await["state"], "ready");
}

#[tokio::test]
async fn a_second_signal_is_not_waited_for() {
    let sandbox = sandbox().await;
    let mut daemon = filed(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    refreshing(&daemon, &sandbox, Fault::Stall).await;
    daemon.signal(Signal::INT);
    gone(&daemon.socket()).await;
    daemon.signal(Signal::TERM);
    assert!(daemon.wait().await.success());
    assert!(daemon.log().contains("stopped at once"), "{}", daemon.log());
}

#[tokio::test]
async fn who_waits_for_a_person_is_answered_at_the_end() {
    let sandbox = sandbox().await;
    let mut daemon = filed(&sandbox).await;
    let (login, _) = start(&daemon, json!({})).await;
    let path = format!("/v1/logins/{}?wait=60", login["id"].as_str().unwrap());
    let ending = async {
        // The question that came before these is being answered by then.
        for _ in 0..20 {
            daemon.get("/v1/status").await;
        }
        daemon.signal(Signal::TERM);
    };
    let (answer, ()) = tokio::join!(daemon.request("GET", &path, &[], ""), ending);
    assert_eq!(answer.json()["state"], "pending", "{}", answer.text());
    assert!(daemon.wait().await.success());
    assert!(!daemon.log().contains("still under way"), "{}", daemon.log());
}

#[tokio::test]
async fn a_browser_that_does_not_ask_holds_up_no_end() {
    let sandbox = sandbox().await;
    let mut daemon = filed(&sandbox).await;
    let status = daemon.get("/v1/status").await;
    let address = status["callback"]["addresses"][0].as_str().unwrap().to_owned();
    let _idle = tokio::net::TcpStream::connect(&address).await.unwrap();
    assert!(daemon.sigterm_and_wait().await.success());
    assert!(!daemon.log().contains("still under way"), "{}", daemon.log());
}

#[tokio::test]
async fn a_daemon_whose_store_can_never_answer_again_ends_to_be_started_anew() {
    let sandbox = sandbox().await;
    let mood = tempfile::tempdir().unwrap();
    let mood = mood.path().join("mood");
    let control = format!("memory_control = \"{}\"", mood.display());
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).toml(&control)).await;
    daemon.sign_in("default", "plus").await;
    fs::write(&mood, "panic").unwrap();
    let body = json!({"api_key": "sk-own-key"}).to_string();
    drop(daemon.try_request("PUT", "/v1/profiles/own/api-key", &[], body).await);
    assert_eq!(daemon.wait().await.code(), Some(70), "{}", daemon.log());
    assert!(daemon.log().contains("the store's thread has died"), "{}", daemon.log());
}

#[tokio::test]
async fn a_reload_changes_the_logs_filter_and_leaves_the_provider() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(AUTHD, &sandbox).toml("[log]\nformat = \"json\"");
    let daemon = TestDaemon::start(config).await;
    let (login, url) = start(&daemon, json!({})).await;
    let text = fs::read_to_string(daemon.config()).unwrap();
    let text = text.replace("format = \"json\"", "format = \"json\"\nfilter = \"authd=debug\"");
    fs::write(daemon.config(), text.replace("client_id = \"", "client_id = \"another_")).unwrap();
    daemon.signal(Signal::HUP);
    while !daemon.log().contains("\"DEBUG\"") {
        daemon.request("GET", "/v1/profiles/nobody", &[], "").await;
    }
    // Half of the daemon would speak to the provider as another client than the other half.
    daemon.browse(&url, "plus").await;
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    daemon.sign_in("another", "business").await;
    for line in daemon.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        assert!(line["level"].is_string() && line["fields"]["message"].is_string(), "{line}");
    }
}

#[tokio::test]
async fn at_a_terminal_it_says_where_it_listens_once_it_does() {
    let sandbox = sandbox().await;
    let daemon = filed(&sandbox).await;
    let terminal = || {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
        (fs::File::from(ours), fs::OpenOptions::new().read(true).write(true).open(theirs).unwrap())
    };
    let run = |socket: &Path, state: &Path, theirs: fs::File| {
        let mut command = Command::new(AUTHD);
        command.env_clear().envs(daemon.env().iter().cloned()).env("AUTHD_STATE_DIR", state);
        command.arg("--socket").arg(socket).stdin(Stdio::null()).stderr(theirs).kill_on_drop(true);
        command.spawn().unwrap()
    };
    let says = format!("authd listens on {}", daemon.dir().join("second.sock").display());
    let (ours, theirs) = terminal();
    let mut second = run(&daemon.dir().join("second.sock"), &daemon.dir().join("second"), theirs);
    let mut lines = BufReader::new(tokio::fs::File::from_std(ours)).lines();
    while !lines.next_line().await.unwrap().unwrap().starts_with(&says) {}
    second.kill().await.unwrap();
    // One that has nowhere to listen does not say that it does.
    let (ours, theirs) = terminal();
    let mut refused = run(&daemon.socket(), &daemon.dir().join("third"), theirs);
    assert_eq!(refused.wait().await.unwrap().code(), Some(69));
    let mut lines = BufReader::new(tokio::fs::File::from_std(ours)).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    assert!(line.contains("already serves") && !line.contains("listens on"), "{line}");
}

/// A state directory that is removed under the daemon is made again with the next write, and all records with it.
#[tokio::test]
async fn a_state_directory_that_was_removed_is_made_again() {
    let sandbox = sandbox().await;
    let mut daemon = filed(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    fs::remove_dir_all(daemon.state()).unwrap();
    daemon.post("/v1/profiles/default/refresh", json!({})).await;
    for name in ["default", "work"] {
        while !daemon.state().join(format!("store/profile.{name}.age")).exists() {
            tokio::task::yield_now().await;
        }
    }
    // The new directory is locked, too.
    let socket = daemon.dir().join("another.sock");
    let (code, told) = second(&daemon, &socket).await;
    assert_eq!(code, Some(69), "{told}");
    daemon.restart().await;
    for name in ["default", "work"] {
        daemon.get(&format!("/v1/profiles/{name}/headers")).await;
    }
    daemon.post("/v1/profiles/default/refresh", json!({})).await;
}
