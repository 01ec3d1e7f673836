//! The small verbs, and what happens without a daemon.

use std::os::unix::fs::PermissionsExt;

use authd_sandbox::{
    Account, Config, Route, Sandbox,
    house::{House, HouseConfig},
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{Waiting, command, household, run};

#[tokio::test]
async fn credentials_are_printed_ready_to_use() {
    let (_sandbox, house) = household().await;
    house.sign_in("default", "plus").await;
    house.sign_in("work", "business").await;
    let lines = run(&house, &["headers"]).await.ok().stdout;
    let names: Vec<_> =
        lines.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    assert_eq!(names, ["Authorization", "chatgpt-account-id", "version", "originator", "User-Agent"]);
    let token = run(&house, &["token"]).await.ok().stdout;
    assert!(lines.contains(&format!("Authorization: Bearer {token}")), "{lines}");
    let key = run(&house, &["token", "work", "--json"]).await.ok().json();
    assert!(key["token"].as_str().unwrap().starts_with("sk-") && key["expires_at"].is_null(), "{key}");
    assert!(run(&house, &["url"]).await.ok().stdout.ends_with("/backend-api/codex\n"));
    let by_env = command(&house, &["url"]).env("AUTHCTL_PROFILE", "work").output().await.unwrap();
    assert!(String::from_utf8_lossy(&by_env.stdout).ends_with("/v1\n"));
    let bad = command(&house, &["url"]).env("AUTHCTL_PROFILE", "No Body").output().await.unwrap();
    assert_eq!(bad.status.code(), Some(2));
}

#[tokio::test]
async fn profiles_are_shown_renamed_chosen_refreshed_and_left() {
    let (sandbox, house) = household().await;
    let empty = run(&house, &["status"]).await.ok();
    assert!(empty.stdout.contains("nobody is signed in; run: authctl login"), "{empty}");
    run(&house, &["headers"]).await.failed(3, "authctl login");
    house.sign_in("default", "plus").await;
    house.sign_in("work", "business").await;
    let shown = run(&house, &["status"]).await.ok().stdout;
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    assert!(shown.contains("* default") && shown.contains("listening on 127.0.0.1"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colours where there is no terminal");
    run(&house, &["use", "work"]).await.ok();
    let renamed = run(&house, &["rename", "default", "home", "--json"]).await.ok().json();
    assert_eq!(renamed["name"], "home");
    assert_eq!(run(&house, &["profiles", "-q"]).await.ok().stdout, "home\nwork\n");
    let all = run(&house, &["status", "--json"]).await.ok().json();
    assert_eq!(all["profiles"]["default"], "work");
    let before = all["profiles"]["profiles"][0]["generation"].as_u64().unwrap();
    let after = run(&house, &["refresh", "home", "--json"]).await.ok().json()["generation"].as_u64().unwrap();
    assert!(after > before);
    run(&house, &["status", "nobody"]).await.failed(3, "nobody");
    let told = run(&house, &["logout", "nobody", "--json"]).await.failed(3, "nobody").json();
    assert_eq!((&told["code"], &told["status"]), (&json!("profile_unknown"), &json!(404)));
    run(&house, &["logout", "work"]).await.ok();
    assert_eq!(sandbox.count(Route::Revoke), 0, "forgetting is local");
    let revoked = run(&house, &["logout", "--all", "--revoke"]).await.ok();
    assert!(revoked.stderr.contains("sessions on other machines"), "{revoked}");
    assert_eq!(sandbox.count(Route::Revoke), 1);
    assert_eq!(house.get("/v1/profiles").await["profiles"], json!([]));
}

#[tokio::test]
async fn the_store_is_shown_and_a_login_goes_to_codex_and_back() {
    let (_sandbox, house) = household().await;
    house.sign_in("default", "plus").await;
    let shown = run(&house, &["store", "status"]).await.ok().stdout;
    assert!(shown.contains("memory: nothing survives authd, ready"), "{shown}");
    run(&house, &["store", "rekey"]).await.failed(2, "memory has no key");
    run(&house, &["store", "migrate", "--to", "keychain"]).await.failed(7, "unavailable");
    let home = house.dir().join("home/.codex");
    std::fs::create_dir_all(&home).unwrap();
    run(&house, &["codex", "install"]).await.ok();
    assert!(std::fs::read_to_string(home.join("auth.json")).unwrap().contains("chatgptAuthTokens"));
    run(&house, &["codex", "uninstall"]).await.ok();
    assert!(!home.join("auth.json").exists());
    // A login that somebody makes there meanwhile is theirs, and they are told so.
    run(&house, &["codex", "install"]).await.ok();
    std::fs::write(home.join("auth.json"), r#"{"OPENAI_API_KEY":"sk-of-somebody"}"#).unwrap();
    let told = run(&house, &["codex", "uninstall"]).await.ok();
    assert!(told.stderr.contains("is left as it is"), "{told}");
    run(&house, &["export", "codex"]).await.failed(2, "move it away");
    std::fs::remove_file(home.join("auth.json")).unwrap();
    let given = run(&house, &["export", "codex", "--json"]).await.ok().json();
    assert!(given["path"].as_str().unwrap().ends_with("home/.codex/auth.json"), "{given}");
    run(&house, &["token"]).await.failed(3, "authctl login");
    let told = run(&house, &["import", "codex", "-p", "mine"]).await.ok();
    assert!(told.stderr.contains("user@example.com is profile \"mine\" now"), "{told}");
    run(&house, &["import", "codex"]).await.failed(2, "kept by somebody else");
}

#[tokio::test]
async fn a_watched_status_is_shown_again_when_something_changes() {
    let (_sandbox, house) = household().await;
    let mut watching =
        command(&house, &["status", "--watch"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut until = async |words: &str| while !lines.next_line().await.unwrap().unwrap().contains(words) {};
    until("nobody is signed in").await;
    house.sign_in("default", "plus").await;
    until("user@example.com").await;
}

#[tokio::test]
async fn the_doctor_names_what_is_wrong_and_what_to_do() {
    let (sandbox, mut house) = household().await;
    house.sign_in("default", "plus").await;
    let well = run(&house, &["doctor"]).await.ok();
    for words in
        ["✓ socket", "✓ store", "browsers return to 127.0.0.1:", "no proxy", "answers (", "✓ profile default"]
    {
        assert!(well.stdout.contains(words), "no {words:?} in {well}");
    }
    sandbox.revoke_account("plus");
    run(&house, &["refresh"]).await.failed(4, "authctl login");
    let dead = run(&house, &["doctor"]).await;
    assert_eq!(dead.code, 4, "{dead}");
    assert!(
        dead.stdout.contains("✗ profile default") && dead.stdout.contains("→ run: authctl login"),
        "{dead}"
    );
    sandbox.pause().await;
    let cut_off = run(&house, &["doctor", "--json"]).await;
    assert_eq!(cut_off.code, 5, "{cut_off}");
    let findings = cut_off.json()["findings"].as_array().unwrap().clone();
    assert!(findings.iter().any(|finding| finding["code"] == "provider_unreachable"), "{cut_off}");
    house.sigterm_and_wait().await;
    let gone = run(&house, &["doctor"]).await;
    assert_eq!(gone.code, 9, "{gone}");
    assert!(gone.stdout.contains("✗ daemon") && gone.stdout.contains("→ start it"), "{gone}");
}

#[tokio::test]
async fn a_port_held_by_a_stranger_is_named_and_other_ways_in_work() {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = stranger.local_addr().unwrap().port();
    let config = HouseConfig::new(crate::authd(), &sandbox);
    let mut house = House::start(config).await;
    house.sigterm_and_wait().await;
    let toml = std::fs::read_to_string(house.config()).unwrap();
    std::fs::write(house.config(), toml.replace("ports = [0]", &format!("ports = [{port}]"))).unwrap();
    house.start_again().await;
    let said = run(&house, &["doctor"]).await;
    assert_eq!(said.code, 8, "{said}");
    assert!(said.stdout.contains(&format!("(process {})", std::process::id())), "{said}");
    run(&house, &["login", "--no-browser"]).await.failed(8, "--device");
    let mut client = Waiting::start(&house, &["login", "--paste"]);
    let url = client.hear("http").await;
    let address = sandbox.browser().redirect(&url, "plus").await.unwrap();
    client.type_in(&address).await;
    client.end().await.ok();
    drop(stranger);
    while house.get("/v1/status").await["callback"]["state"] != "listening" {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn nobody_gets_a_browser_who_did_not_ask_for_one() {
    let (sandbox, house) = household().await;
    house.sign_in("default", "plus").await;
    sandbox.revoke_account("plus");
    let opened = house.dir().join("opened");
    let browser = house.dir().join("browser");
    std::fs::write(&browser, format!("#!/bin/sh\necho \"$1\" >> {}\n", opened.display())).unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o700)).unwrap();
    run(&house, &["refresh"]).await.failed(4, "authctl login");
    for _ in 0..25 {
        let asks = (0..20).map(|_| {
            let mut command = command(&house, &["ask", "What is 2+2?"]);
            command.env("BROWSER", &browser).env("DISPLAY", ":0").output()
        });
        for asked in futures_util::future::join_all(asks).await {
            assert_eq!(asked.unwrap().status.code(), Some(4));
        }
    }
    assert!(!opened.exists(), "500 requests on a dead login open no browser");
}

#[tokio::test]
async fn exec_becomes_the_command() {
    let (_sandbox, house) = household().await;
    house.sign_in("default", "plus").await;
    let script = r#"echo "$OPENAI_BASE_URL $CHATGPT_ACCOUNT_ID $OPENAI_API_KEY"; exit 3"#;
    let said = run(&house, &["exec", "--", "sh", "-c", script]).await;
    assert_eq!(said.code, 3, "{said}");
    let token = run(&house, &["token"]).await.ok().stdout;
    assert!(said.stdout.ends_with(&token) && said.stdout.contains("/backend-api/codex bc3618e3"), "{said}");
    run(&house, &["exec", "--", "no-such-program-here"]).await.failed(127, "no-such-program-here");
}

#[tokio::test]
async fn without_a_daemon_login_starts_one_and_the_rest_say_how() {
    let (sandbox, mut house) = household().await;
    house.sigterm_and_wait().await;
    for verb in [&["status"][..], &["token"], &["ask", "What?"], &["check"], &["logout"]] {
        run(&house, verb).await.failed(9, "systemctl --user start authd");
    }
    let mut client = Waiting::start(&house, &["login", "--no-browser"]);
    client.hear("running:").await;
    let url = client.hear("http").await;
    sandbox.browser().sign_in(&url, "plus").await.unwrap();
    client.end().await.ok();
    let status = run(&house, &["status", "--json"]).await.ok().json();
    let log = house.state().join("authd.log");
    assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    let pid = status["daemon"]["pid"].to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    while house.try_request("GET", "/v1/status", &[], "").await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_daemon_that_cannot_start_says_why() {
    let (_sandbox, mut house) = household().await;
    house.sigterm_and_wait().await;
    std::fs::write(house.config(), "[client]\nmodle = 1\n").unwrap();
    let said = run(&house, &["login", "--no-browser"]).await.failed(9, "did you mean client.model");
    assert!(said.stderr.contains("authd.log"), "{said}");
}

#[tokio::test]
async fn scripts_and_pages_are_made_from_the_same_definitions() {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let house = House::start(HouseConfig::new(crate::authd(), &sandbox)).await;
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&house, &["completions", shell]).await.ok().stdout;
        assert!(script.contains("authctl") && script.contains("logout"), "{shell}");
    }
    let pages = house.dir().join("man");
    run(&house, &["man", pages.to_str().unwrap()]).await.ok();
    for page in ["authctl.1", "authctl-login.1", "authctl-ask.1"] {
        assert!(std::fs::read_to_string(pages.join(page)).unwrap().contains(".TH"), "{page}");
    }
}
