//! Daemons over one PostgreSQL server: what the API, the diagnosis, the events and the metrics say
//! of the fleet.

use std::fs;

use authd_sandbox::{
    Fault, Route, Sandbox,
    postgres::TestPostgres,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

use crate::{
    events::Stream,
    helpers::{AUTHD, sandbox},
};

/// A daemon of this kind of store that knows the fleet.
async fn node(sandbox: &Sandbox, postgres: &TestPostgres, kind: &str, name: &str) -> TestDaemon {
    let toml = postgres.node_toml(name).unwrap();
    TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox).store(kind).toml(&toml)).await
}

async fn store(daemon: &TestDaemon) -> Value {
    daemon.get("/v1/status").await["store"].clone()
}

/// The state and the detail of a finding of the diagnosis.
async fn finding(daemon: &TestDaemon, check: &str) -> (String, String) {
    let diagnosis = daemon.get("/v1/diagnosis").await;
    let findings = diagnosis["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["check"] == check);
    let found = found.unwrap_or_else(|| panic!("no {check} in {diagnosis}"));
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("state"), text("detail"))
}

async fn wait_for_profile(daemon: &TestDaemon, matches: impl Fn(&Value) -> bool) -> Value {
    Stream::open(daemon).await.wait_for("profile", matches).await
}

fn store_json(daemon: &TestDaemon) -> String {
    fs::read_to_string(daemon.state().join("store.json")).unwrap()
}

#[tokio::test]
async fn a_login_moves_to_the_fleet_and_back_to_another_node() {
    let Some(postgres) = TestPostgres::start().unwrap() else { return };
    let sandbox = sandbox().await;
    let a = node(&sandbox, &postgres, "file", "node-a").await;
    a.sign_in("work", "plus").await;
    let mut events = Stream::open(&a).await;
    events.wait_for("store", |store| store["kind"] == "file").await;
    let before = store(&a).await;
    assert_eq!((&before["kind"], &before["local"]), (&json!("file"), &Value::Null), "{before}");
    assert_eq!(before["fleet"]["node"], "node-a");
    while store(&a).await["fleet"]["state"] == "connecting" {}
    let (state, detail) = finding(&a, "fleet").await;
    assert!(state == "warning" && detail.contains("authctl store migrate --to postgres"), "{detail}");

    let migrated = a.post("/v1/store/migrate", json!({"to": "postgres"})).await;
    assert_eq!((&migrated["records"], &migrated["left_behind"]), (&json!(1), &Value::Null), "{migrated}");
    assert_eq!(migrated["store"]["kind"], "postgres");
    events.wait_for("store", |store| store["kind"] == "postgres" && store["state"] == "ready").await;
    assert_eq!(store_json(&a), r#"{"version":2,"kind":"file","profiles":"fleet"}"#);
    let after = store(&a).await;
    assert_eq!(after["local"]["kind"], "file", "{after}");
    let fleet = &after["fleet"];
    assert_eq!((&fleet["state"], &fleet["schema"]), (&json!("connected"), &json!("authd")));
    assert!(fleet["server_version"].is_string() && fleet["lag_ms"].is_u64(), "{fleet}");
    assert!(fleet["clock_ahead_ms"].as_i64().unwrap().abs() < 5_000, "{fleet}");
    for (check, expected) in [("store", "node node-a"), ("fleet clock", "0."), ("local store", "")] {
        let (state, detail) = finding(&a, check).await;
        assert!(state == "ok" && detail.contains(expected), "{check}: {state} {detail}");
    }

    // A node without logins uses the fleet, as its configuration says.
    let b = node(&sandbox, &postgres, "postgres", "node-b").await;
    wait_for_profile(&b, |profile| profile["name"] == "work" && profile["state"] == "ready").await;
    assert_eq!(store(&b).await["kind"], "postgres");
    assert_eq!(
        b.get("/v1/profiles/-/headers").await["headers"],
        a.get("/v1/profiles/-/headers").await["headers"]
    );
    let metrics = b.request("GET", "/v1/metrics", &[], "").await.text();
    assert!(metrics.contains("authd_fleet_connected 1\n"), "{metrics}");

    // Back to one machine: it takes the logins of the fleet.
    let back = b.post("/v1/store/migrate", json!({"to": "file"})).await;
    assert_eq!((&back["records"], &back["store"]["kind"]), (&json!(1), &json!("file")), "{back}");
    assert!(store_json(&b).starts_with(r#"{"version":1,"kind":"file""#), "{}", store_json(&b));
    let mut events = Stream::open(&a).await;
    if a.get("/v1/profiles").await["profiles"] != json!([]) {
        events.wait_for("profile_gone", |gone| gone["name"] == "work").await;
    }
    b.post("/v1/profiles/work/refresh", json!({})).await;
    assert_eq!(a.get("/v1/profiles").await["profiles"], json!([]));
    for daemon in [&a, &b] {
        let log = daemon.log();
        assert!(!sandbox.issued_secrets().iter().any(|secret| log.contains(secret.as_str())), "{log}");
        assert!(!log.contains("correct"), "the password of the database: {log}");
    }
}

#[tokio::test]
async fn a_renewal_is_counted_and_names_its_node_on_the_others() {
    let Some(postgres) = TestPostgres::start().unwrap() else { return };
    let sandbox = sandbox().await;
    let a = node(&sandbox, &postgres, "file", "node-a").await;
    a.post("/v1/store/migrate", json!({"to": "postgres"})).await;
    let b = node(&sandbox, &postgres, "postgres", "node-b").await;
    a.sign_in("work", "plus").await;
    let profile =
        wait_for_profile(&b, |profile| profile["name"] == "work" && profile["state"] == "ready").await;
    let rejected = json!({"rejected_generation": profile["generation"]}).to_string();
    sandbox.faults().push(Route::Refresh, Fault::Stall);
    let of_a = a.request("POST", "/v1/profiles/work/refresh", &[], "{}");
    let of_b = async {
        sandbox.wait_for(Route::Refresh, 1).await;
        let waiting = b.request("POST", "/v1/profiles/work/refresh", &[], rejected);
        let shown = async {
            wait_for_profile(&b, |profile| profile["claimed_by"] == "node-a").await;
            let (_, detail) = finding(&b, "profile work").await;
            assert!(detail.ends_with("; node node-a renews it"), "{detail}");
            sandbox.faults().release();
        };
        tokio::join!(waiting, shown).0
    };
    let (of_a, of_b) = tokio::join!(of_a, of_b);
    assert!(of_a.status.is_success() && of_b.status.is_success(), "{} {}", of_a.text(), of_b.text());
    wait_for_profile(&b, |profile| profile["claimed_by"].is_null()).await;
    assert_eq!(sandbox.rotations(), 1);
    let fleet = store(&a).await["fleet"].clone();
    assert_eq!((&fleet["claims_granted"], &fleet["takeovers"]), (&json!(1), &json!(0)), "{fleet}");
    let fleet = store(&b).await["fleet"].clone();
    assert_eq!(fleet["claims_granted"], 0, "{fleet}");
    assert!(fleet["claims_waited"].as_u64().unwrap() > 0, "{fleet}");
    let metrics = a.request("GET", "/v1/metrics", &[], "").await.text();
    for line in [
        r#"authd_fleet_claims_total{result="granted"} 1"#,
        "authd_fleet_takeovers_total 0",
        "authd_fleet_conflicts_total ",
        "authd_fleet_reconnections_total 0",
        "authd_fleet_connected 1",
        "authd_fleet_lag_seconds ",
        "authd_fleet_clock_ahead_seconds ",
        r#"authd_fleet_call_seconds_bucket{le="+Inf",result="ok"} "#,
        "# UNIT authd_fleet_call_seconds seconds",
    ] {
        assert!(metrics.lines().any(|found| found.starts_with(line)), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("node-"), "a label names a node:\n{metrics}");
}

#[tokio::test]
async fn an_outage_of_the_database_is_shown_and_ends_by_itself() {
    let Some(mut postgres) = TestPostgres::start().unwrap() else { return };
    let sandbox = sandbox().await;
    let daemon = node(&sandbox, &postgres, "file", "node-a").await;
    daemon.sign_in("work", "plus").await;
    daemon.post("/v1/store/migrate", json!({"to": "postgres"})).await;
    let mut events = Stream::open(&daemon).await;
    events.wait_for("store", |store| store["state"] == "ready").await;
    postgres.stop().unwrap();
    let down = events.wait_for("store", |store| store["state"] == "unavailable").await;
    assert_eq!((&down["kind"], &down["local"]["state"]), (&json!("postgres"), &json!("ready")), "{down}");
    assert!(down["detail"].as_str().unwrap().starts_with("PostgreSQL at 127.0.0.1:"), "{down}");
    daemon.get("/v1/profiles/work/headers").await;
    let refused = daemon.request("POST", "/v1/profiles/work/refresh", &[], "{}").await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("not renewed: the credential store is unavailable: PostgreSQL"), "{detail}");
    let (state, detail) = finding(&daemon, "store").await;
    assert!(state == "failed" && detail.contains("; it last answered "), "{detail}");
    let metrics = daemon.request("GET", "/v1/metrics", &[], "").await.text();
    assert!(metrics.contains("authd_fleet_connected 0\n"), "{metrics}");
    postgres.restart().unwrap();
    // Earlier events may include the success of a call that ended just before the outage.
    Stream::open(&daemon).await.wait_for("store", |store| store["state"] == "ready").await;
    assert_eq!(finding(&daemon, "store").await.0, "ok");
}

#[tokio::test]
async fn a_node_without_the_settings_of_its_fleet_says_so_and_can_leave_it() {
    let Some(postgres) = TestPostgres::start().unwrap() else { return };
    let sandbox = sandbox().await;
    let mut daemon = node(&sandbox, &postgres, "file", "node-a").await;
    let refused = |text: String| assert!(text.contains("[store.postgres]"), "{text}");
    daemon.sign_in("work", "plus").await;
    daemon.post("/v1/store/migrate", json!({"to": "postgres"})).await;
    let configured = fs::read_to_string(daemon.config()).unwrap();
    let without = configured.split("[store.postgres]").next().unwrap();
    fs::write(daemon.config(), without).unwrap();
    daemon.restart().await;
    // The daemon serves requests before it has read where the profiles are.
    Stream::open(&daemon).await.wait_for("store", |store| store["state"] == "unavailable").await;
    let status = daemon.get("/v1/status").await;
    assert_eq!((&status["profiles"], &status["store"]["state"]), (&Value::Null, &json!("unavailable")));
    let detail = status["store"]["detail"].as_str().unwrap();
    assert!(detail.contains("authctl store migrate --to file"), "{detail}");
    let (state, detail) = finding(&daemon, "store").await;
    assert_eq!(state, "failed");
    refused(detail);
    refused(daemon.request("GET", "/v1/profiles/-/headers", &[], "").await.text());
    refused(daemon.request("POST", "/v1/store/migrate", &[], r#"{"to":"postgres"}"#).await.text());
    // Without its fleet the node has no profile. The fleet keeps them.
    daemon.post("/v1/store/migrate", json!({"to": "file"})).await;
    let status = daemon.get("/v1/status").await;
    assert_eq!((&status["profiles"], &status["store"]["state"]), (&json!(0), &json!("ready")));
    let other = node(&sandbox, &postgres, "postgres", "node-b").await;
    wait_for_profile(&other, |profile| profile["name"] == "work" && profile["state"] == "ready").await;
}
