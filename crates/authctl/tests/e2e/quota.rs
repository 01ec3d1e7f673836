//! `authctl quota`.

use authd_sandbox::{Account, Fault, NamedUsage, Route, Sandbox, Usage, test_daemon::TestDaemon};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{command, run, start_daemon};

/// Signs in to two personal accounts, `default` and `second`, and to `work` with an API key.
async fn signed_in() -> (Sandbox, TestDaemon) {
    let (sandbox, daemon) = start_daemon().await;
    sandbox.put_account(Account {
        name: "second".into(),
        user_id: "user-Second00000000000000D4".into(),
        account_id: "1c9e6679-7425-40de-944b-e07fc1f90ae7".into(),
        email: "second@example.com".into(),
        usage: Usage::of([(40.0, 18_000), (3.0, 604_800)]),
        ..Account::plus()
    });
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("second", "second").await;
    daemon.sign_in("work", "business").await;
    (sandbox, daemon)
}

#[tokio::test]
async fn windows_are_a_table_with_bars_and_the_binding_one_first() {
    let (sandbox, daemon) = signed_in().await;
    let spark = Usage::of([(90.0, 18_000)]).windows;
    let named =
        vec![NamedUsage { name: "GPT-5.3-Codex-Spark".into(), id: "codex_bengalfox".into(), windows: spark }];
    sandbox.set_usage("plus", Usage { named, ..Usage::of([(12.0, 18_000), (62.0, 604_800)]) });
    let shown = run(&daemon, &["quota"]).await.ok().stdout;
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 4, "{shown}");
    assert!(lines[1].starts_with("default  7d "), "{shown}");
    assert!(lines[1].contains(" ████████░░░░░░░░░░░░  38 %  in 3 d "), "{shown}");
    assert!(lines[2].contains("5h ") && lines[2].contains(" 88 %  in 2 h "), "{shown}");
    assert!(lines[3].contains("5h of GPT-5.3-Codex-Spark  ██░░"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colours where there is no terminal");
    let ascii = command(&daemon, &["quota"]).env("LC_ALL", "C").output().await.unwrap();
    assert!(String::from_utf8_lossy(&ascii.stdout).contains(" ########------------  38 %"), "{ascii:?}");
    assert_eq!(run(&daemon, &["quota", "-q"]).await.ok().stdout, "38\n");
    // The one of the environment, and a profile that has no limits.
    let second = command(&daemon, &["quota", "-q"]).env("AUTHCTL_PROFILE", "second").output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&second.stdout), "60\n");
    run(&daemon, &["quota", "work"]).await.failed(2, "profile \"work\" uses an API key");
    run(&daemon, &["quota", "nobody"]).await.failed(3, "nobody");
    run(&daemon, &["quota", "work", "--all"]).await.failed(2, "cannot be used with");
    let all = run(&daemon, &["quota", "--all"]).await.ok().stdout;
    assert!(all.contains("\nsecond   5h ") && all.contains("\nwork     -  "), "{all}");
    assert!(all.contains("\n! profile \"work\" uses an API key"), "{all}");
    assert_eq!(run(&daemon, &["quota", "--all", "-q"]).await.ok().stdout, "default 38\nsecond 60\nwork ?\n");
    assert_eq!(sandbox.count(Route::WhamUsage), 2, "each account was asked once");
}

#[tokio::test]
async fn best_profile_is_named_and_only_by_current_figures() {
    let (sandbox, daemon) = signed_in().await;
    assert_eq!(run(&daemon, &["quota", "--best"]).await.ok().stdout, "default\n");
    sandbox.set_usage("plus", Usage::of([(70.0, 18_000)]));
    run(&daemon, &["ask", "What is 2+2?"]).await.ok();
    let best = run(&daemon, &["quota", "--best", "--json"]).await.ok().json();
    assert_eq!((&best["best"], &best["quotas"].as_array().unwrap().len()), (&json!("second"), &3));
    // A reached limit leaves nothing, whatever room its windows have.
    let depleted = Some("workspace_owner_credits_depleted".to_owned());
    sandbox.set_usage("second", Usage { reached_type: depleted, ..Usage::of([(1.0, 18_000)]) });
    run(&daemon, &["ask", "-p", "second", "What is 2+2?"]).await.failed(5, "");
    assert_eq!(run(&daemon, &["quota", "--best"]).await.ok().stdout, "default\n");
    let second = run(&daemon, &["quota", "second"]).await.ok().stdout;
    assert!(second.contains("has reached its limit (workspace_owner_credits_depleted)"), "{second}");
}

#[tokio::test]
async fn what_is_unknown_is_an_error_with_its_reason() {
    let (sandbox, daemon) = start_daemon().await;
    run(&daemon, &["quota", "--best"]).await.failed(4, "authctl login");
    assert!(run(&daemon, &["quota", "--all"]).await.ok().stdout.contains("authctl login"));
    daemon.sign_in("work", "business").await;
    run(&daemon, &["quota", "--best"]).await.failed(2, "no profile has usage limits");
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::WhamUsage, Fault::status(404, r#"{"detail":"Not Found"}"#));
    let outcome = run(&daemon, &["quota", "default", "--json"]).await;
    let outcome = outcome.failed(5, "usage limits not received: the provider refused");
    assert_eq!(outcome.json()["code"], "provider_refused");
    run(&daemon, &["quota", "--best"]).await.failed(5, "authctl quota --all");
    assert!(run(&daemon, &["quota", "--all"]).await.ok().stdout.contains("usage limits not received"));
    assert_eq!((sandbox.count(Route::WhamUsage), sandbox.count(Route::Refresh)), (1, 0));
}

#[tokio::test]
async fn watch_shows_what_the_daemon_learns() {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let mut client = command(&daemon, &["quota", "--watch", "--json"]);
    let mut client = client.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut used = async || {
        let line = lines.next_line().await.unwrap().expect("the client continues");
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        line["quotas"][0]["windows"][0]["used_percent"].clone()
    };
    assert_eq!(used().await, json!(34.0));
    for percent in [50.0, 75.0] {
        sandbox.set_usage("plus", Usage::of([(percent, 18_000)]));
        run(&daemon, &["ask", "What is 2+2?"]).await.ok();
        while used().await != json!(percent) {}
    }
    client.kill().await.unwrap();
    assert_eq!(sandbox.count(Route::WhamUsage), 1);
}

#[tokio::test]
async fn check_has_the_usage_of_the_daemon() {
    let (sandbox, daemon) = start_daemon().await;
    daemon.sign_in("default", "plus").await;
    let shown = run(&daemon, &["check"]).await.ok().stdout;
    assert!(shown.contains("66 % left of 7d, 88 % left of 5h"), "{shown}");
    assert_eq!(sandbox.count(Route::WhamUsage), 1);
}
