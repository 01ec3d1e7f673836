//! The commands about the store, on the nodes of a fleet.

use authd_sandbox::{
    Account, Config, Sandbox,
    postgres::TestPostgres,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use crate::{authd, run, start_daemon};

async fn node(sandbox: &Sandbox, postgres: &TestPostgres, kind: &str, name: &str) -> TestDaemon {
    let toml = postgres.node_toml(name).unwrap();
    TestDaemon::start(TestDaemonConfig::new(authd(), sandbox).store(kind).toml(&toml)).await
}

#[tokio::test]
async fn logins_move_to_the_fleet_and_back_with_the_commands_of_the_messages() {
    let Some(mut postgres) = TestPostgres::start().unwrap() else { return };
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let a = node(&sandbox, &postgres, "file", "node-a").await;
    a.sign_in("work", "plus").await;
    let before = run(&a, &["store", "status"]).await.ok().stdout;
    for text in
        ["encrypted files, ready", "fleet, not in use", "authctl store migrate --to postgres", "node-a"]
    {
        assert!(before.contains(text), "no {text:?} in {before}");
    }
    let moved = run(&a, &["store", "migrate", "--to", "postgres"]).await.ok().stderr;
    assert!(moved.contains("moved 1 records: fleet, ready: PostgreSQL at 127.0.0.1:"), "{moved}");
    assert!(!moved.contains("other nodes"), "{moved}");
    let after = run(&a, &["store", "status"]).await.ok().stdout;
    for text in [
        "fleet, ready: PostgreSQL at",
        "node node-a, schema authd, version",
        "renewals allowed",
        "this machine: ",
    ] {
        assert!(after.contains(text), "no {text:?} in {after}");
    }
    let status = run(&a, &["status"]).await.ok().stdout;
    assert!(status.contains("\nnode      node-a, answered ") && status.contains("* work"), "{status}");
    let doctor = run(&a, &["doctor"]).await.ok().stdout;
    for text in ["✓ store", "✓ fleet clock", "✓ local store", "✓ profile work"] {
        assert!(doctor.contains(text), "no {text:?} in {doctor}");
    }
    // The database is stopped: the valid token is served.
    postgres.stop().unwrap();
    run(&a, &["headers"]).await.ok();
    while run(&a, &["store", "status", "--json"]).await.ok().json()["store"]["state"] == "ready" {}
    let down = run(&a, &["store", "status"]).await.ok();
    assert!(down.stdout.starts_with("fleet, unavailable: PostgreSQL at "), "{down}");
    let doctor = run(&a, &["doctor"]).await;
    assert!(doctor.code == 7 && doctor.stdout.contains("✗ store"), "{doctor}");
    run(&a, &["store", "migrate", "--to", "file", "--take-all"]).await.failed(7, "PostgreSQL at ");
    postgres.restart().unwrap();
    while run(&a, &["store", "status", "--json"]).await.ok().json()["store"]["state"] != "ready" {}

    run(&a, &["store", "migrate", "--to", "file"]).await.failed(2, "--take-all");
    let json = run(&a, &["store", "status", "--json"]).await.ok().json();
    assert_eq!(json["store"]["kind"], "postgres", "{json}");
    let back = run(&a, &["store", "migrate", "--to", "file", "--take-all"]).await.ok().stderr;
    assert!(back.contains("the other nodes have lost them"), "{back}");
    let json = run(&a, &["store", "status", "--json"]).await.ok().json();
    assert_eq!((&json["store"]["kind"], &json["profiles"]), (&"file".into(), &1.into()), "{json}");
    run(&a, &["headers"]).await.ok();
}

#[tokio::test]
async fn the_move_to_a_fleet_says_what_is_missing_and_what_it_costs() {
    let (_sandbox, daemon) = start_daemon().await;
    run(&daemon, &["store", "migrate", "--to", "postgres"]).await.failed(2, "[store.postgres]");
    let help = run(&daemon, &["store", "migrate", "--help"]).await.ok().stdout;
    assert!(help.contains("the other nodes lose them"), "{help}");
}
