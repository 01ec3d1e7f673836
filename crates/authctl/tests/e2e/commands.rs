//! The shorter commands, and all commands without a daemon.

use std::os::unix::fs::PermissionsExt;

use authd_sandbox::{
    Account, Config, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{InteractiveClient, command, run, start_daemon};

#[tokio::test]
async fn credentials_are_printed_for_programs() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let lines = run(&daemon, &["headers"]).await.ok().stdout;
    let names: Vec<_> =
        lines.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    assert_eq!(names, ["Authorization", "chatgpt-account-id", "version", "originator", "User-Agent"]);
    let token = run(&daemon, &["token"]).await.ok().stdout;
    assert!(lines.contains(&format!("Authorization: Bearer {token}")), "{lines}");
    let key = run(&daemon, &["token", "work", "--json"]).await.ok().json();
    assert!(key["token"].as_str().unwrap().starts_with("sk-") && key["expires_at"].is_null(), "{key}");
    assert!(run(&daemon, &["url"]).await.ok().stdout.ends_with("/backend-api/codex\n"));
    let by_env = command(&daemon, &["url"]).env("AUTHCTL_PROFILE", "work").output().await.unwrap();
    assert!(String::from_utf8_lossy(&by_env.stdout).ends_with("/v1\n"));
    let bad = command(&daemon, &["url"]).env("AUTHCTL_PROFILE", "No Body").output().await.unwrap();
    assert_eq!(bad.status.code(), Some(2));
}

#[tokio::test]
async fn profiles_are_shown_renamed_selected_refreshed_and_deleted() {
    let (sandbox, daemon) = start_daemon().await;
    let empty = run(&daemon, &["status"]).await.ok();
    assert!(empty.stdout.contains("no profile is signed in; run: authctl login"), "{empty}");
    for command in ["headers", "token", "url", "check", "refresh", "logout", "env"] {
        run(&daemon, &[command]).await.failed(4, "authctl login");
    }
    run(&daemon, &["ask", "What is 2+2?"]).await.failed(4, "authctl login");
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let shown = run(&daemon, &["status"]).await.ok().stdout;
    assert!(shown.contains("* default") && shown.contains("listening on 127.0.0.1"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colours where there is no terminal");
    run(&daemon, &["use", "work"]).await.ok();
    let renamed = run(&daemon, &["rename", "default", "home", "--json"]).await.ok().json();
    assert_eq!(renamed["name"], "home");
    assert_eq!(run(&daemon, &["profiles", "-q"]).await.ok().stdout, "home\nwork\n");
    let all = run(&daemon, &["status", "--json"]).await.ok().json();
    assert_eq!(all["profiles"]["default"], "work");
    let before = all["profiles"]["profiles"][0]["generation"].as_u64().unwrap();
    let after =
        run(&daemon, &["refresh", "home", "--json"]).await.ok().json()["generation"].as_u64().unwrap();
    assert!(after > before);
    run(&daemon, &["status", "nobody"]).await.failed(3, "nobody");
    let outcome = run(&daemon, &["logout", "nobody", "--json"]).await.failed(3, "nobody").json();
    assert_eq!((&outcome["code"], &outcome["status"]), (&json!("profile_unknown"), &json!(404)));
    run(&daemon, &["logout", "work"]).await.ok();
    assert_eq!(sandbox.count(Route::Revoke), 0, "logout without --revoke is local");
    let revoked = run(&daemon, &["logout", "--all", "--revoke"]).await.ok();
    assert!(revoked.stderr.contains("sessions on other machines"), "{revoked}");
    assert_eq!(sandbox.count(Route::Revoke), 1);
    assert_eq!(daemon.get("/v1/profiles").await["profiles"], json!([]));
}

#[tokio::test]
async fn store_is_shown_and_a_login_moves_to_codex_and_back() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let shown = run(&daemon, &["store", "status"]).await.ok().stdout;
    assert!(shown.contains("memory: nothing survives authd, ready"), "{shown}");
    run(&daemon, &["store", "rekey"]).await.failed(2, "memory store has no key");
    run(&daemon, &["store", "migrate", "--to", "keychain"]).await.failed(7, "unavailable");
    let home = daemon.dir().join("home/.codex");
    std::fs::create_dir_all(&home).unwrap();
    run(&daemon, &["codex", "install"]).await.ok();
    assert!(std::fs::read_to_string(home.join("auth.json")).unwrap().contains("chatgptAuthTokens"));
    run(&daemon, &["codex", "uninstall"]).await.ok();
    assert!(!home.join("auth.json").exists());
    // A login that Codex made meanwhile stays.
    run(&daemon, &["codex", "install"]).await.ok();
    std::fs::write(home.join("auth.json"), r#"{"OPENAI_API_KEY":"sk-of-somebody"}"#).unwrap();
    let outcome = run(&daemon, &["codex", "uninstall"]).await.ok();
    assert!(outcome.stderr.contains("is left as it is"), "{outcome}");
    run(&daemon, &["export", "codex"]).await.failed(2, "move it away");
    std::fs::remove_file(home.join("auth.json")).unwrap();
    let given = run(&daemon, &["export", "codex", "--json"]).await.ok().json();
    assert!(given["path"].as_str().unwrap().ends_with("home/.codex/auth.json"), "{given}");
    run(&daemon, &["token"]).await.failed(4, "authctl login");
    let outcome = run(&daemon, &["import", "codex", "-p", "mine"]).await.ok();
    assert!(outcome.stderr.contains("user@example.com is profile \"mine\" now"), "{outcome}");
    run(&daemon, &["import", "codex"]).await.failed(2, "another program owns the login");
}

#[tokio::test]
async fn watched_status_is_printed_again_after_a_change() {
    let (_sandbox, daemon) = start_daemon().await;
    let mut watching =
        command(&daemon, &["status", "--watch"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut until = async |text: &str| while !lines.next_line().await.unwrap().unwrap().contains(text) {};
    until("no profile is signed in").await;
    daemon.sign_in("default", "plus").await;
    until("  profile default: new, ready").await;
    until("user@example.com").await;
}

#[tokio::test]
async fn watched_status_as_json_is_one_object_a_line() {
    let (_sandbox, daemon) = start_daemon().await;
    let mut watching = command(&daemon, &["status", "--watch", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = async || -> serde_json::Value {
        serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap()
    };
    let first = next().await;
    assert!(
        first["at"].is_string() && first["changes"] == json!([]) && first["daemon"].is_object(),
        "{first}"
    );
    daemon.sign_in("default", "plus").await;
    loop {
        let update = next().await;
        if update["profiles"]["profiles"][0]["state"] == "ready" {
            let changes = update["changes"].as_array().unwrap();
            assert!(changes.contains(&json!("profile default: new, ready")), "{update}");
            return;
        }
    }
}

#[tokio::test]
async fn ascii_locale_gets_ascii() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    for args in [&["doctor"][..], &["status"], &["login", "--no-wait"], &["--help"], &["ask", "--help"]] {
        let output = command(&daemon, args).env("LANG", "C").output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && text.is_ascii(), "{}", String::from_utf8_lossy(&text));
    }
    let doctor = command(&daemon, &["doctor"]).env("LANG", "de_DE.ISO-8859-1").output().await.unwrap();
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("+ socket"));
}

#[tokio::test]
async fn pipe_gets_whole_lines_and_the_local_time() {
    let (_sandbox, daemon) = start_daemon().await;
    let name = "a-profile-with-a-name-that-is-rather-long-for-a-table";
    daemon.sign_in(name, "plus").await;
    let shown = command(&daemon, &["status"]).env("TZ", "Etc/GMT-5").output().await.unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&format!("* {name}  user@example.com")), "{shown}");
    let expires_at = daemon.get("/v1/profiles/-").await["expires_at"].as_str().unwrap().to_owned();
    let hour: u8 = expires_at[11..13].parse().unwrap();
    assert!(shown.contains(&format!(" {:02}:{})", (hour + 5) % 24, &expires_at[14..16])), "{shown}");
}

#[tokio::test]
async fn doctor_shows_problems_and_remedies() {
    let (sandbox, mut daemon) = start_daemon().await;
    let outcome = run(&daemon, &["doctor"]).await;
    assert_eq!(outcome.code, 4, "{outcome}");
    assert!(
        outcome.stdout.contains("✗ profiles") && outcome.stdout.contains("→ run: authctl login"),
        "{outcome}"
    );
    daemon.sign_in("default", "plus").await;
    let healthy = run(&daemon, &["doctor"]).await.ok();
    for text in
        ["✓ socket", "✓ store", "browsers return to 127.0.0.1:", "no proxy", "answers (", "✓ profile default"]
    {
        assert!(healthy.stdout.contains(text), "no {text:?} in {healthy}");
    }
    sandbox.revoke_account("plus");
    run(&daemon, &["refresh"]).await.failed(4, "authctl login");
    let signed_out = run(&daemon, &["doctor"]).await;
    assert_eq!(signed_out.code, 4, "{signed_out}");
    assert!(
        signed_out.stdout.contains("✗ profile default") && signed_out.stdout.contains("→ run: authctl login"),
        "{signed_out}"
    );
    sandbox.pause().await;
    let offline = run(&daemon, &["doctor", "--json"]).await;
    assert_eq!(offline.code, 5, "{offline}");
    let findings = offline.json()["findings"].as_array().unwrap().clone();
    assert!(findings.iter().any(|finding| finding["code"] == "provider_unreachable"), "{offline}");
    daemon.sigterm_and_wait().await;
    let stopped = run(&daemon, &["doctor"]).await;
    assert_eq!(stopped.code, 9, "{stopped}");
    assert!(stopped.stdout.contains("✗ daemon") && stopped.stdout.contains("→ start it"), "{stopped}");
}

#[tokio::test]
async fn login_works_with_a_callback_port_in_use() {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let port_owner = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = port_owner.local_addr().unwrap().port();
    let config = TestDaemonConfig::new(crate::authd(), &sandbox);
    let mut daemon = TestDaemon::start(config).await;
    daemon.sigterm_and_wait().await;
    let toml = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), toml.replace("ports = [0]", &format!("ports = [{port}]"))).unwrap();
    daemon.start_again().await;
    let outcome = run(&daemon, &["doctor"]).await;
    assert_eq!(outcome.code, 8, "{outcome}");
    assert!(outcome.stdout.contains(&format!("(process {})", std::process::id())), "{outcome}");
    run(&daemon, &["login", "--no-browser"]).await.failed(8, "--device");
    let mut client = InteractiveClient::start(&daemon, &["login", "--paste"]);
    let url = client.wait_for_word("http").await;
    let address = sandbox.browser().redirect(&url, "plus").await.unwrap();
    client.send_line(&address).await;
    client.end().await.ok();
    drop(port_owner);
    while daemon.get("/v1/status").await["callback"]["state"] != "listening" {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn failed_requests_open_no_browser() {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    sandbox.revoke_account("plus");
    let opened = daemon.dir().join("opened");
    let browser = daemon.dir().join("browser");
    std::fs::write(&browser, format!("#!/bin/sh\necho \"$1\" >> {}\n", opened.display())).unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o700)).unwrap();
    run(&daemon, &["refresh"]).await.failed(4, "authctl login");
    for _ in 0..25 {
        let requests = (0..20).map(|_| {
            let mut command = command(&daemon, &["ask", "What is 2+2?"]);
            command.env("BROWSER", &browser).env("DISPLAY", ":0").output()
        });
        for output in futures_util::future::join_all(requests).await {
            assert_eq!(output.unwrap().status.code(), Some(4));
        }
    }
    assert!(!opened.exists(), "500 requests with a revoked login open no browser");
}

#[tokio::test]
async fn raw_exec_replaces_the_process() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let script = r#"echo "$OPENAI_BASE_URL $CHATGPT_ACCOUNT_ID $OPENAI_API_KEY"; exit 3"#;
    let outcome = run(&daemon, &["exec", "--raw", "--", "sh", "-c", script]).await;
    assert_eq!(outcome.code, 3, "{outcome}");
    let token = run(&daemon, &["token"]).await.ok().stdout;
    assert!(
        outcome.stdout.ends_with(&token) && outcome.stdout.contains("/backend-api/codex bc3618e3"),
        "{outcome}"
    );
    run(&daemon, &["exec", "--raw", "no-such-program-here"]).await.failed(127, "no-such-program-here");
    let mut client = command(&daemon, &["exec", "--raw", "printenv", "OPENAI_ORGANIZATION"]);
    let output = client.env("OPENAI_ORGANIZATION", "of another account").output().await.unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]));
}

#[tokio::test]
async fn login_starts_the_daemon_and_other_commands_have_a_hint() {
    let (sandbox, mut daemon) = start_daemon().await;
    daemon.sigterm_and_wait().await;
    for args in [&["status"][..], &["token"], &["ask", "What?"], &["check"], &["logout"]] {
        let outcome = run(&daemon, args).await.failed(9, "no daemon listens on");
        // No unit serves the socket of this environment.
        assert!(outcome.stderr.contains(&format!("start it: {} &", crate::authd().display())), "{outcome}");
    }
    let problem = run(&daemon, &["token", "--json"]).await.failed(9, "the socket does not exist").json();
    assert_eq!((&problem["code"], &problem["title"]), (&json!("no_daemon"), &json!("No daemon")));
    std::os::unix::net::UnixListener::bind(daemon.socket()).unwrap();
    run(&daemon, &["token"]).await.failed(9, "left the socket behind");
    let mut client = InteractiveClient::start(&daemon, &["login", "--no-browser"]);
    client.wait_for_word("running:").await;
    let url = client.wait_for_word("http").await;
    sandbox.browser().sign_in(&url, "plus").await.unwrap();
    client.end().await.ok();
    let status = run(&daemon, &["status", "--json"]).await.ok().json();
    let log = daemon.state().join("authd.log");
    assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
    let pid = status["daemon"]["pid"].to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    while daemon.try_request("GET", "/v1/status", &[], "").await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn failed_start_shows_the_log() {
    let (_sandbox, mut daemon) = start_daemon().await;
    daemon.sigterm_and_wait().await;
    std::fs::write(daemon.config(), "[client]\nmodle = 1\n").unwrap();
    let outcome = run(&daemon, &["login", "--no-browser"]).await.failed(9, "did you mean client.model");
    assert!(outcome.stderr.contains("authd.log"), "{outcome}");
}

#[tokio::test]
async fn logout_leaves_no_default_and_signs_nobody_else_out() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let outcome = run(&daemon, &["logout"]).await.ok();
    assert!(outcome.stderr.contains("No profile is the default now; there are: work."), "{outcome}");
    run(&daemon, &["logout"]).await.failed(3, "there is no default");
    run(&daemon, &["token"]).await.failed(3, "authctl use PROFILE");
    let profiles = daemon.get("/v1/profiles").await;
    assert_eq!((&profiles["default"], &profiles["profiles"][0]["name"]), (&json!(null), &json!("work")));
    run(&daemon, &["use", "work"]).await.ok();
    run(&daemon, &["logout", "-q"]).await.ok();
}

#[tokio::test]
async fn unknown_profile_is_answered_with_the_known_ones() {
    let (_sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    for args in [&["token", "wrok"][..], &["status", "wrok"], &["logout", "wrok"], &["use", "wrok"]] {
        let hint = "hint: did you mean \"work\"? there are: default, work\n";
        let outcome = run(&daemon, args).await.failed(3, hint);
        assert!(!outcome.stderr.contains("authctl login"), "{outcome}");
    }
    run(&daemon, &["token", "elsewhere"]).await.failed(3, "hint: there are: default, work\n");
    run(&daemon, &["token", "default", "-p", "work"]).await.failed(2, "two profiles are named");
    run(&daemon, &["doctor", "-p", "work"]).await.failed(2, "--profile has no meaning for this command");
}

#[tokio::test]
async fn second_daemon_names_the_one_that_owns_the_logins() {
    let (_sandbox, daemon) = start_daemon().await;
    let other = daemon.dir().join("other.sock");
    let outcome = run(&daemon, &["login", "--no-wait", "--socket", other.to_str().unwrap()]).await;
    let (pid, socket) = (daemon.pid().unwrap(), daemon.socket());
    let owner = format!("another authd (process {pid}) with the socket {} owns the logins", socket.display());
    let outcome = outcome.failed(9, &owner);
    // It is told at the second try, not after the time that a start may take.
    let log = std::fs::read_to_string(daemon.state().join("authd.log")).unwrap();
    assert_eq!(log.matches("owns the logins").count(), 2, "{log}\n{outcome}");
}

#[tokio::test]
async fn completions_and_manual_pages_are_generated() {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let daemon = TestDaemon::start(TestDaemonConfig::new(crate::authd(), &sandbox)).await;
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&daemon, &["completions", shell]).await.ok().stdout;
        assert!(script.contains("authctl") && script.contains("logout"), "{shell}");
    }
    let pages = daemon.dir().join("man");
    run(&daemon, &["man", pages.to_str().unwrap()]).await.ok();
    for page in ["authctl.1", "authctl-login.1", "authctl-ask.1"] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        let title = page.trim_end_matches(".1").to_uppercase();
        let version = env!("CARGO_PKG_VERSION");
        assert!(text.starts_with(&format!(".TH {title} 1 20")), "{page}");
        assert!(text.lines().next().unwrap().contains(&format!("\"authctl {version}\"")), "{page}");
        for section in ["EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
            assert!(text.contains(&format!(".SH {section}\n")), "{page}: {section}");
        }
    }
    let main = std::fs::read_to_string(pages.join("authctl.1")).unwrap();
    assert!(main.contains(".SH ENVIRONMENT\n") && main.contains(".SH FILES\n"));
    let authd = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../authd/authd.1");
    std::fs::copy(authd, pages.join("authd.1")).unwrap();
    let all = std::fs::read_dir(&pages).unwrap().map(|page| page.unwrap().path());
    match std::process::Command::new("mandoc").args(["-T", "lint"]).args(all).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), ""),
        Err(error) => assert!(std::env::var_os("CI").is_none(), "mandoc: {error}"),
    }
}

#[tokio::test]
async fn providers_are_listed_and_a_check_has_an_exit_code() {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let toml = format!("[providers.lab]\nissuer = 'http://{closed}'\nclient_id = 'me'");
    let daemon = TestDaemon::start(TestDaemonConfig::new(crate::authd(), &sandbox).toml(&toml)).await;
    let list = run(&daemon, &["providers"]).await.ok().stdout;
    assert!(list.contains(&format!("lab        configuration  http://{closed}\n")), "{list}");
    assert!(list.contains("gitlab     template       https://gitlab.com\n"), "{list}");
    let check = run(&daemon, &["providers", "check", "microsoft"]).await.ok().stdout;
    assert!(check.contains("- metadata                the endpoints are defined by name"), "{check}");
    assert!(check.contains("! client id               none is configured\n"), "{check}");
    let failed = run(&daemon, &["providers", "check", "lab"]).await.failed(5, "").stdout;
    let request = format!("GET http://{closed}/.well-known/oauth-authorization-server  ---\n");
    assert!(failed.starts_with(&format!("{request}✗ discovery  {closed} cannot be reached: ")), "{failed}");
    assert!(failed.contains("→ check the URL and the network"), "{failed}");
    run(&daemon, &["providers", "check", "slack"]).await.failed(3, "no provider with this name");
}
