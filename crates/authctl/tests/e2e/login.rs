//! Signing in, in each of the ways there are.

use std::time::Duration;

use authd_sandbox::{Fault, Route};
use rustix::process::Signal;
use serde_json::json;

use crate::{Waiting, household, run};

#[tokio::test]
async fn a_browser_signs_in_and_the_client_says_who_and_why() {
    let (_sandbox, house) = household().await;
    let mut client = Waiting::start(&house, &["login", "--no-browser"]);
    let url = client.hear("http").await;
    let page = house.browse(&url, "plus").await;
    assert!(page.html.contains("user@example.com"), "{}", page.html);
    let said = client.end().await.ok();
    assert!(
        said.stderr.contains("Signed in as user@example.com, plan plus, in ChatGPT mode, because"),
        "{said}"
    );
    assert_eq!(said.stdout, "");
    let mut client = Waiting::start(&house, &["login", "work", "--no-browser", "--json"]);
    let url = client.hear("http").await;
    house.browse(&url, "business").await;
    let login = client.end().await.ok().json();
    assert_eq!((&login["state"], &login["result"]["mode"]), (&json!("succeeded"), &json!("api-key")));
    assert!(login["result"]["mode_reason"].as_str().is_some_and(|why| !why.is_empty()));
}

#[tokio::test]
async fn somebody_else_lands_under_the_next_name_and_is_told() {
    let (_sandbox, house) = household().await;
    house.sign_in("default", "plus").await;
    let mut client = Waiting::start(&house, &["login", "--no-browser"]);
    let url = client.hear("http").await;
    house.browse(&url, "business").await;
    let said = client.end().await.ok();
    assert!(said.stderr.contains("Somebody else is signed in as \"default\""), "{said}");
    assert!(said.stderr.contains("profile \"default-2\""), "{said}");
}

#[tokio::test]
async fn a_refusal_at_the_provider_reaches_the_person() {
    let (sandbox, house) = household().await;
    for (decision, words) in [("deny", "access_denied"), ("no_entitlement", "administrator")] {
        let mut client = Waiting::start(&house, &["login", "--no-browser"]);
        let url = client.hear("http").await;
        sandbox.browser().refuse(&url, decision).await.unwrap();
        let said = client.end().await;
        assert_eq!(said.code, 4, "{said}");
        assert!(said.stderr.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_pasted_address_signs_in_and_a_wrong_one_may_be_mended() {
    let (sandbox, house) = household().await;
    let mut client = Waiting::start(&house, &["login", "--paste"]);
    let url = client.hear("http").await;
    client.type_in("https://example.com/nothing?here=1").await;
    client.hear("hint:").await;
    let address = sandbox.browser().redirect(&url, "plus").await.unwrap();
    client.type_in(&address).await;
    let said = client.end().await.ok();
    assert!(said.stderr.contains("Signed in as user@example.com"), "{said}");
}

#[tokio::test]
async fn a_device_code_signs_in_and_is_refused_in_words() {
    let (sandbox, house) = household().await;
    let mut client = Waiting::start(&house, &["login", "--device"]);
    client.hear("code:").await;
    let code = client.heard.lines().last().unwrap().split_whitespace().last().unwrap().to_owned();
    assert!(client.heard.contains("/codex/device"), "{}", client.heard);
    assert!(sandbox.approve_device(&code, "plus"), "{code}");
    let said = client.end().await.ok();
    assert!(said.stderr.contains("Signed in as user@example.com"), "{said}");
    let started = run(&house, &["login", "other", "--device", "--no-wait"]).await.ok();
    let [url, code, id] = started.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{started}") };
    assert!(url.ends_with("/codex/device") && id.starts_with("lg_"), "{started}");
    assert!(sandbox.deny_device(code));
    run(&house, &["login", "--resume", id]).await.failed(4, "hint:");
}

#[tokio::test]
async fn a_login_is_started_here_and_confirmed_later() {
    let (_sandbox, house) = household().await;
    let started = run(&house, &["login", "--no-wait"]).await.ok();
    let [url, id] = started.stdout.lines().collect::<Vec<_>>()[..] else { panic!("{started}") };
    assert!(started.stderr.contains(&format!("authctl login --resume {id}")), "{started}");
    house.browse(url, "plus").await;
    let said = run(&house, &["login", "--resume", id]).await.ok();
    assert!(said.stderr.contains("Signed in as user@example.com"), "{said}");
    run(&house, &["login", "--resume", "lg_unknown"]).await.failed(3, "hint:");
}

#[tokio::test]
async fn ctrl_c_calls_the_login_off() {
    let (sandbox, house) = household().await;
    let mut client = Waiting::start(&house, &["login", "--no-browser"]);
    let url = client.hear("http").await;
    client.interrupt().await;
    let said = client.end().await;
    assert_eq!(said.code, 130, "{said}");
    assert_eq!(house.get("/v1/status").await["pending_logins"], 0);
    let page = house.browse(&url, "plus").await;
    assert_eq!(page.status, 400, "{}", page.html);
    assert_eq!(sandbox.count(Route::CodeExchange), 0);
}

#[tokio::test]
async fn ctrl_c_ends_the_client_while_a_code_is_redeemed() {
    let (sandbox, house) = household().await;
    sandbox.faults().push(Route::CodeExchange, Fault::Stall);
    let mut client = Waiting::start(&house, &["login", "--paste"]);
    let url = client.hear("http").await;
    client.type_in(&sandbox.browser().redirect(&url, "plus").await.unwrap()).await;
    sandbox.wait_for(Route::CodeExchange, 1).await;
    client.interrupt().await;
    let said = client.end().await;
    assert!(said.code == 130 && said.stderr.contains("too late to call the sign-in off"), "{said}");
    // What the provider was asked for comes to its end without the client.
    sandbox.faults().release();
    while house.get("/v1/profiles").await["profiles"] == json!([]) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn ctrl_c_ends_the_client_although_the_daemon_hangs() {
    let (_sandbox, house) = household().await;
    for times in 1..=2 {
        let mut client = Waiting::start(&house, &["login", "--paste"]);
        client.hear("http").await;
        house.signal(Signal::STOP);
        for _ in 0..times {
            client.interrupt().await;
        }
        let said = client.end().await;
        house.signal(Signal::CONT);
        assert_eq!(said.code, 130, "{said}");
    }
}

#[tokio::test]
async fn a_login_outlives_its_daemon() {
    let (_sandbox, mut house) = household().await;
    let mut client = Waiting::start(&house, &["login", "--paste"]);
    client.hear("http").await;
    house.sigterm_and_wait().await;
    client.hear("away;").await;
    house.start_again().await;
    client.interrupt().await;
    assert_eq!(client.end().await.code, 130);
}

#[tokio::test]
async fn a_daemon_is_started_as_soon_as_the_one_that_is_ending_has_ended() {
    let (sandbox, mut house) = household().await;
    house.sign_in("default", "plus").await;
    sandbox.faults().push(Route::Refresh, Fault::Stall);
    tokio::select! {
        answer = house.try_request("POST", "/v1/profiles/-/refresh", &[], "{}") => panic!("{answer:?}"),
        () = sandbox.wait_for(Route::Refresh, 1) => {}
    }
    house.signal(Signal::TERM);
    while house.socket().exists() {
        tokio::task::yield_now().await;
    }
    let refused = async {
        let log = house.state().join("authd.log");
        while !std::fs::read_to_string(&log).unwrap_or_default().contains("already serves") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sandbox.faults().release();
    };
    let (said, ()) = tokio::join!(run(&house, &["login", "--no-wait"]), refused);
    let started = house.get("/v1/status").await["pid"].as_i64().unwrap();
    let started = rustix::process::Pid::from_raw(started.try_into().unwrap()).unwrap();
    rustix::process::kill_process(started, Signal::TERM).unwrap();
    assert_eq!(said.code, 0, "{said}");
    assert!(house.wait().await.success());
    while house.socket().exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
