//! Logins: by browser, pasted address and device code.

use std::time::Duration;

use authd_sandbox::{Fault, Route};
use rustix::process::Signal;
use serde_json::json;

use crate::{InteractiveClient, run, start_daemon};

#[tokio::test]
async fn browser_login_reports_account_and_mode() {
    let (_sandbox, daemon) = start_daemon().await;
    let mut client = InteractiveClient::start(&daemon, &["login", "--no-browser"]);
    let url = client.wait_for_word("http").await;
    let page = daemon.browse(&url, "plus").await;
    assert!(page.html.contains("user@example.com"), "{}", page.html);
    let outcome = client.end().await.ok();
    assert!(
        outcome.stderr.contains("Signed in as user@example.com, plan plus, in ChatGPT mode, because"),
        "{outcome}"
    );
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.contains("Saved in memory"), "{outcome}");
    let mut client = InteractiveClient::start(&daemon, &["login", "work", "--no-browser", "--json"]);
    let url = client.wait_for_word("http").await;
    daemon.browse(&url, "business").await;
    let login = client.end().await.ok().json();
    assert_eq!((&login["state"], &login["result"]["mode"]), (&json!("succeeded"), &json!("api-key")));
    assert!(login["result"]["mode_reason"].as_str().is_some_and(|why| !why.is_empty()));
}

#[tokio::test]
async fn login_of_another_account_gets_a_new_profile() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let mut client = InteractiveClient::start(&daemon, &["login", "--no-browser"]);
    let url = client.wait_for_word("http").await;
    daemon.browse(&url, "business").await;
    let outcome = client.end().await.ok();
    assert!(outcome.stderr.contains("Profile \"default\" belongs to another account"), "{outcome}");
    assert!(outcome.stderr.contains("profile \"default-2\""), "{outcome}");
}

#[tokio::test]
async fn error_of_the_provider_is_shown() {
    let (sandbox, daemon) = start_daemon().await;
    for (decision, text) in [("deny", "access_denied"), ("no_entitlement", "administrator")] {
        let mut client = InteractiveClient::start(&daemon, &["login", "--no-browser"]);
        let url = client.wait_for_word("http").await;
        sandbox.browser().refuse(&url, decision).await.unwrap();
        let outcome = client.end().await;
        assert_eq!(outcome.code, 4, "{outcome}");
        assert!(outcome.stderr.contains(text), "{outcome}");
    }
}

#[tokio::test]
async fn pasted_address_signs_in_after_a_wrong_one() {
    let (sandbox, daemon) = start_daemon().await;
    let mut client = InteractiveClient::start(&daemon, &["login", "--paste"]);
    let url = client.wait_for_word("http").await;
    client.send_line("https://example.com/nothing?here=1").await;
    client.wait_for_word("hint:").await;
    let address = sandbox.browser().redirect(&url, "plus").await.unwrap();
    client.send_line(&address).await;
    let outcome = client.end().await.ok();
    assert!(outcome.stderr.contains("Signed in as user@example.com"), "{outcome}");
}

#[tokio::test]
async fn login_that_waits_for_a_paste_ends_with_its_input() {
    let (_sandbox, daemon) = start_daemon().await;
    run(&daemon, &["login", "--paste"]).await.failed(2, "stdin ended before the address");
    let mut client = InteractiveClient::start(&daemon, &["login", "--paste"]);
    client.wait_for_word("http").await;
    client.send_line("https://example.com/nothing?here=1").await;
    client.end().await.failed(2, "stdin ended before the address");
    assert_eq!(daemon.get("/v1/status").await["pending_logins"], 0);
}

#[tokio::test]
async fn pending_logins_are_listed_and_cancelled() {
    let (_sandbox, daemon) = start_daemon().await;
    assert_eq!(run(&daemon, &["logins"]).await.ok().stdout, "no login is pending\n");
    let mut ids = Vec::new();
    for args in [&["login", "work", "--no-wait"][..], &["login", "home", "--device", "--no-wait"]] {
        ids.push(run(&daemon, args).await.ok().stdout.lines().last().unwrap().to_owned());
    }
    let shown = run(&daemon, &["logins"]).await.ok().stdout;
    let lines: Vec<_> = shown.lines().collect();
    assert!(lines[0].starts_with(&format!("{}  work  browser  ", ids[0])), "{shown}");
    assert!(lines[1].starts_with(&format!("{}  home  device code  ", ids[1])), "{shown}");
    run(&daemon, &["login", "--cancel", &ids[0]]).await.ok();
    let left = run(&daemon, &["logins", "--json"]).await.ok().json();
    assert_eq!((left["logins"].as_array().unwrap().len(), &left["logins"][0]["id"]), (1, &json!(ids[1])));
    run(&daemon, &["login", "--cancel", "lg_unknown"]).await.failed(3, "there is no login");
    daemon.sign_in("default", "plus").await;
    let ended = daemon.post("/v1/logins", json!({"profile": "other"})).await;
    daemon.browse(ended["authorize_url"].as_str().unwrap(), "plus").await;
    run(&daemon, &["login", "--cancel", ended["id"].as_str().unwrap()])
        .await
        .failed(2, "not pending any more");
}

#[tokio::test]
async fn device_code_signs_in_or_reports_the_denial() {
    let (sandbox, daemon) = start_daemon().await;
    let mut client = InteractiveClient::start(&daemon, &["login", "--device"]);
    client.wait_for_word("code:").await;
    let code = client.stderr_text.lines().last().unwrap().split_whitespace().last().unwrap().to_owned();
    assert!(client.stderr_text.contains("/codex/device"), "{}", client.stderr_text);
    assert!(sandbox.approve_device(&code, "plus"), "{code}");
    let outcome = client.end().await.ok();
    assert!(outcome.stderr.contains("Signed in as user@example.com"), "{outcome}");
    let started = run(&daemon, &["login", "other", "--device", "--no-wait"]).await.ok();
    let [url, code, id] = started.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{started}") };
    assert!(url.ends_with("/codex/device") && id.starts_with("lg_"), "{started}");
    assert!(sandbox.deny_device(code));
    run(&daemon, &["login", "--resume", id]).await.failed(4, "hint:");
}

#[tokio::test]
async fn login_is_started_and_resumed_later() {
    let (_sandbox, daemon) = start_daemon().await;
    let started = run(&daemon, &["login", "--no-wait"]).await.ok();
    let [url, id] = started.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{started}") };
    assert!(started.stderr.contains(&format!("authctl login --resume {id}")), "{started}");
    daemon.browse(url, "plus").await;
    let outcome = run(&daemon, &["login", "--resume", id]).await.ok();
    assert!(outcome.stderr.contains("Signed in as user@example.com"), "{outcome}");
    run(&daemon, &["login", "--resume", "lg_unknown"]).await.failed(3, "hint:");
}

#[tokio::test]
async fn ctrl_c_cancels_the_login() {
    let (sandbox, daemon) = start_daemon().await;
    let mut client = InteractiveClient::start(&daemon, &["login", "--no-browser"]);
    let url = client.wait_for_word("http").await;
    client.interrupt().await;
    let outcome = client.exit().await;
    assert_eq!(outcome.code, 130, "{outcome}");
    assert_eq!(daemon.get("/v1/status").await["pending_logins"], 0);
    let page = daemon.browse(&url, "plus").await;
    assert_eq!(page.status, 400, "{}", page.html);
    assert_eq!(sandbox.count(Route::CodeExchange), 0);
}

#[tokio::test]
async fn ctrl_c_ends_the_client_during_the_code_exchange() {
    let (sandbox, daemon) = start_daemon().await;
    sandbox.faults().push(Route::CodeExchange, Fault::Stall);
    let mut client = InteractiveClient::start(&daemon, &["login", "--paste"]);
    let url = client.wait_for_word("http").await;
    client.send_line(&sandbox.browser().redirect(&url, "plus").await.unwrap()).await;
    sandbox.wait_for(Route::CodeExchange, 1).await;
    client.interrupt().await;
    let outcome = client.exit().await;
    assert!(outcome.code == 130 && outcome.stderr.contains("too late to cancel the login"), "{outcome}");
    // The daemon completes the exchange without the client.
    sandbox.faults().release();
    while daemon.get("/v1/profiles").await["profiles"] == json!([]) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn ctrl_c_ends_the_client_if_the_daemon_hangs() {
    let (_sandbox, daemon) = start_daemon().await;
    for times in 1..=2 {
        let mut client = InteractiveClient::start(&daemon, &["login", "--paste"]);
        client.wait_for_word("http").await;
        daemon.signal(Signal::STOP);
        for _ in 0..times {
            client.interrupt().await;
        }
        let outcome = client.exit().await;
        daemon.signal(Signal::CONT);
        assert_eq!(outcome.code, 130, "{outcome}");
    }
}

#[tokio::test]
async fn login_survives_a_daemon_restart() {
    let (_sandbox, mut daemon) = start_daemon().await;
    let mut client = InteractiveClient::start(&daemon, &["login", "--paste"]);
    client.wait_for_word("http").await;
    daemon.sigterm_and_wait().await;
    client.wait_for_word("stopped;").await;
    daemon.start_again().await;
    client.interrupt().await;
    assert_eq!(client.exit().await.code, 130);
}

#[tokio::test]
async fn daemon_starts_after_the_stopping_one_has_ended() {
    let (sandbox, mut daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::Refresh, Fault::Stall);
    tokio::select! {
        answer = daemon.try_request("POST", "/v1/profiles/-/refresh", &[], "{}") => panic!("{answer:?}"),
        () = sandbox.wait_for(Route::Refresh, 1) => {}
    }
    daemon.signal(Signal::TERM);
    while daemon.socket().exists() {
        tokio::task::yield_now().await;
    }
    let refused = async {
        let log = daemon.state().join("authd.log");
        while !std::fs::read_to_string(&log).unwrap_or_default().contains("already serves") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sandbox.faults().release();
    };
    let (outcome, ()) = tokio::join!(run(&daemon, &["login", "--no-wait"]), refused);
    let started = daemon.get("/v1/status").await["pid"].as_i64().unwrap();
    let started = rustix::process::Pid::from_raw(started.try_into().unwrap()).unwrap();
    rustix::process::kill_process(started, Signal::TERM).unwrap();
    assert_eq!(outcome.code, 0, "{outcome}");
    assert!(daemon.wait().await.success());
    while daemon.socket().exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
