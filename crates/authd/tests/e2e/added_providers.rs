//! The providers that a user adds at run time: they outlast restarts, and no fault of their list
//! loses one.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::PathBuf};

use authd_sandbox::{
    Sandbox,
    test_daemon::{Reply, TestDaemon, TestDaemonConfig},
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    helpers::{AUTHD, reload, sandbox},
    providers::{aspect, start_provider},
};

const LINEAR: &str = "https://mcp.linear.app/mcp";

/// A daemon with a state directory of its own.
async fn start(sandbox: &Sandbox, toml: &str) -> TestDaemon {
    TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox).store("file").toml(toml)).await
}

async fn put(daemon: &TestDaemon, name: &str, body: Value) -> Reply {
    daemon.request("PUT", &format!("/v1/providers/{name}"), &[], body.to_string()).await
}

async fn delete(daemon: &TestDaemon, name: &str) -> Reply {
    daemon.request("DELETE", &format!("/v1/providers/{name}"), &[], "").await
}

/// The added providers, as listed.
async fn added(daemon: &TestDaemon) -> Vec<Value> {
    let listed = daemon.get("/v1/providers").await;
    let all = listed["providers"].as_array().unwrap().iter();
    all.filter(|one| one["defined_in"] == "added").cloned().collect()
}

async fn names(daemon: &TestDaemon) -> BTreeSet<String> {
    added(daemon).await.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

fn list_of(daemon: &TestDaemon) -> PathBuf {
    daemon.state().join("providers.json")
}

fn assert_code(reply: &Reply, status: u16, code: &str, words: &str) {
    assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (status, &json!(code)), "{}", reply.text());
    assert!(reply.json()["detail"].as_str().unwrap().contains(words), "{}", reply.text());
}

#[tokio::test]
async fn an_added_provider_outlasts_a_restart_until_it_is_removed() {
    let (sandbox, url) = (sandbox().await, start_provider(json!({})).await);
    let mut daemon = start(&sandbox, "").await;
    let lab = json!({"mcp": format!("{url}/mcp"), "client_id": "me", "scopes": ["read"]});
    let expected =
        json!({"name": "lab", "defined_in": "added", "mcp": format!("{url}/mcp"), "git_hosts": []});
    let first = put(&daemon, "lab", lab.clone()).await;
    assert_eq!((first.status.as_u16(), first.json()), (201, expected.clone()));
    let again = put(&daemon, "lab", lab).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, expected.clone()));
    let other = put(&daemon, "lab", json!({"mcp": LINEAR})).await;
    assert_code(&other, 409, "conflict", "its definition is another one");
    // A template's name is free.
    assert_eq!(put(&daemon, "github", json!({"mcp": LINEAR})).await.status.as_u16(), 201);

    daemon.restart().await;
    assert_eq!(names(&daemon).await, ["github", "lab"].map(str::to_owned).into());
    assert_eq!(added(&daemon).await[1], expected);
    let check = daemon.post("/v1/providers/check", json!({"provider": "lab"})).await;
    assert_eq!(aspect(&check, "MCP server")["detail"], format!("{url}/mcp"));
    assert_eq!(aspect(&check, "client id")["detail"], "configured");
    let mode = fs::metadata(list_of(&daemon)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    assert_eq!(delete(&daemon, "lab").await.status.as_u16(), 204);
    assert_code(&delete(&daemon, "lab").await, 404, "provider_unknown", "no provider with this name");
    daemon.kill9().await;
    daemon.start_again().await;
    assert_eq!(names(&daemon).await, ["github".to_owned()].into());
}

#[tokio::test]
async fn an_invalid_definition_is_refused_with_its_key() {
    let sandbox = sandbox().await;
    let daemon = start(&sandbox, "").await;
    for (name, body, words) in [
        ("lab", json!({"mcp": LINEAR, "dpop": true}), "unknown field \"dpop\""),
        ("lab", json!({}), "missing field \"mcp\""),
        ("lab", json!({"mcp": "http://rs.example/mcp"}), "mcp must be an https URL"),
        ("lab", json!({"mcp": LINEAR, "client_secret_file": "/secret"}), "needs client_id"),
        (
            "lab",
            json!({"mcp": LINEAR, "client_id": "me", "client_secret_file": "secret"}),
            "client_secret_file must be an absolute path",
        ),
        ("lab", json!({"mcp": LINEAR, "client_metadata_url": "https://me.example"}), "with a path"),
        ("lab", json!({"mcp": LINEAR, "scopes": ["two words"]}), "scopes must be"),
        ("lab", json!({"mcp": LINEAR, "redirect_uri": "https://me.example/"}), "redirect_uri must be"),
        ("openai", json!({"mcp": LINEAR}), "the name is the built-in provider"),
        ("Lab", json!({"mcp": LINEAR}), "the name is not a name of a provider"),
        ("a%2Fb", json!({"mcp": LINEAR}), "the name is not a name of a provider"),
    ] {
        assert_code(&put(&daemon, name, body).await, 400, "bad_request", words);
    }
    assert_eq!(added(&daemon).await, [] as [Value; 0]);
    assert!(!list_of(&daemon).exists());
}

#[tokio::test]
async fn a_definition_of_the_configuration_wins_over_an_added_one() {
    let (sandbox, url) = (sandbox().await, start_provider(json!({})).await);
    let daemon = start(&sandbox, "").await;
    put(&daemon, "lab", json!({"mcp": LINEAR})).await;
    let before = fs::read_to_string(daemon.config()).unwrap();
    let section = format!("[providers.lab]\nmcp = '{url}/mcp'\n");
    fs::write(daemon.config(), format!("{before}\n{section}")).unwrap();
    reload(&daemon).await;
    let check = daemon.post("/v1/providers/check", json!({"provider": "lab"})).await;
    assert_eq!(aspect(&check, "MCP server")["detail"], format!("{url}/mcp"));
    let replaced = added(&daemon).await.remove(0);
    assert!(replaced["error"].as_str().unwrap().contains("authd.toml defines"), "{replaced}");
    while !daemon.log().contains("replaces the added one") {
        daemon.get("/v1/status").await;
    }
    // The same definition is there already, another one is a conflict.
    let same = put(&daemon, "lab", json!({"mcp": format!("{url}/mcp")})).await;
    assert_eq!((same.status.as_u16(), &same.json()["defined_in"]), (200, &json!("configuration")));
    assert_code(&put(&daemon, "lab", json!({"mcp": LINEAR})).await, 409, "conflict", "another one");
    // The added one can still be removed, the other one only in its file.
    assert_eq!(delete(&daemon, "lab").await.status.as_u16(), 204);
    assert_code(&delete(&daemon, "lab").await, 409, "conflict", "is defined in authd.toml");
}

#[tokio::test]
async fn an_unreadable_list_is_not_an_empty_one() {
    let (sandbox, url) = (sandbox().await, start_provider(json!({})).await);
    let mut daemon = start(&sandbox, &format!("[providers.own]\nmcp = '{url}/mcp'\n")).await;
    put(&daemon, "lab", json!({"mcp": format!("{url}/mcp")})).await;
    daemon.sigterm_and_wait().await;
    let (list, copy) = (list_of(&daemon), daemon.state().join("copy"));
    fs::rename(&list, &copy).unwrap();
    fs::create_dir(&list).unwrap();
    daemon.start_again().await;
    let of = |provider: &str| json!({"provider": provider}).to_string();
    for (method, path, body) in [
        ("GET", "/v1/providers", String::new()),
        ("PUT", "/v1/providers/more", json!({"mcp": LINEAR}).to_string()),
        ("DELETE", "/v1/providers/lab", String::new()),
        ("POST", "/v1/providers/check", of("lab")),
        // An added definition may have the name of a template.
        ("POST", "/v1/providers/check", of("github")),
        ("POST", "/v1/logins", of("lab")),
    ] {
        let refused = daemon.request(method, path, &[], body).await;
        assert_code(&refused, 503, "store_unavailable", "providers.json");
        assert_eq!(refused.headers["retry-after"], "2");
    }
    let own = daemon.post("/v1/providers/check", json!({"provider": "own"})).await;
    assert_eq!(own["ok"], true, "a definition of the configuration needs no list");
    let findings = daemon.get("/v1/diagnosis").await["findings"].clone();
    let found = findings.as_array().unwrap().iter().find(|found| found["check"] == "providers").unwrap();
    assert_eq!((&found["state"], &found["code"]), (&json!("failed"), &json!("store_unavailable")));
    assert!(list.is_dir(), "the daemon must not replace what it cannot read");
    fs::remove_dir(&list).unwrap();
    fs::rename(&copy, &list).unwrap();
    assert_eq!(names(&daemon).await, ["lab".to_owned()].into());
    assert_eq!(put(&daemon, "more", json!({"mcp": LINEAR})).await.status.as_u16(), 201);
}

#[tokio::test]
async fn the_list_of_a_newer_version_is_not_overwritten() {
    let sandbox = sandbox().await;
    let mut daemon = start(&sandbox, "").await;
    daemon.sigterm_and_wait().await;
    let newer = r#"{"version":2,"providers":{},"groups":{}}"#;
    fs::write(list_of(&daemon), newer).unwrap();
    daemon.start_again().await;
    let refused = put(&daemon, "lab", json!({"mcp": LINEAR})).await;
    assert_code(&refused, 503, "store_unavailable", "a newer version of authd has written providers.json");
    daemon.restart().await;
    assert_eq!(fs::read_to_string(list_of(&daemon)).unwrap(), newer);
}

#[tokio::test]
async fn a_damaged_list_is_kept_under_another_name() {
    let sandbox = sandbox().await;
    let mut daemon = start(&sandbox, "").await;
    daemon.sigterm_and_wait().await;
    fs::write(list_of(&daemon), "{\"version\":1,").unwrap();
    daemon.start_again().await;
    assert_eq!(added(&daemon).await, [] as [Value; 0]);
    assert_eq!(put(&daemon, "lab", json!({"mcp": LINEAR})).await.status.as_u16(), 201);
    let backup = daemon.state().join("providers.json.damaged");
    assert_eq!(fs::read_to_string(backup).unwrap(), "{\"version\":1,");
    assert!(daemon.log().contains("list of added providers damaged"));
}

#[tokio::test]
async fn an_entry_that_cannot_be_used_stays_and_hides_no_other() {
    let sandbox = sandbox().await;
    let mut daemon = start(&sandbox, "").await;
    daemon.sigterm_and_wait().await;
    let newer = json!({"mcp": LINEAR, "dpop": {"alg": "ES256"}});
    let list = json!({"version": 1, "providers": {"good": {"mcp": LINEAR}, "newer": newer}});
    fs::write(list_of(&daemon), list.to_string()).unwrap();
    daemon.start_again().await;
    put(&daemon, "more", json!({"mcp": LINEAR})).await;
    daemon.restart().await;
    assert_eq!(names(&daemon).await, ["good", "more", "newer"].map(str::to_owned).into());
    let error = added(&daemon).await[2]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("\"dpop\""), "{error}");
    let written: Value = serde_json::from_str(&fs::read_to_string(list_of(&daemon)).unwrap()).unwrap();
    assert_eq!(written["providers"]["newer"], newer);
    for path in ["/v1/providers/check", "/v1/logins"] {
        let refused = daemon.request("POST", path, &[], r#"{"provider":"newer"}"#).await;
        assert_code(&refused, 409, "conflict", "\"dpop\"");
    }
    assert_code(&put(&daemon, "newer", json!({"mcp": LINEAR})).await, 409, "conflict", "\"dpop\"");
    let findings = daemon.get("/v1/diagnosis").await["findings"].clone();
    let mut findings = findings.as_array().unwrap().iter();
    assert!(findings.any(|found| found["check"] == "provider newer" && found["state"] == "warning"));
    assert_eq!(delete(&daemon, "newer").await.status.as_u16(), 204);
    assert_eq!(put(&daemon, "newer", json!({"mcp": LINEAR})).await.status.as_u16(), 201);
}

#[tokio::test]
async fn a_failed_write_changes_nothing() {
    let sandbox = sandbox().await;
    let mut daemon = start(&sandbox, "").await;
    put(&daemon, "lab", json!({"mcp": LINEAR})).await;
    // The next write cannot create its temporary file.
    let obstacle = daemon.state().join(".providers.json.tmp");
    fs::create_dir(&obstacle).unwrap();
    for refused in [put(&daemon, "more", json!({"mcp": LINEAR})).await, delete(&daemon, "lab").await] {
        assert_code(&refused, 503, "store_unavailable", "cannot be written");
        assert_eq!(names(&daemon).await, ["lab".to_owned()].into());
    }
    fs::remove_dir(&obstacle).unwrap();
    assert_eq!(put(&daemon, "more", json!({"mcp": LINEAR})).await.status.as_u16(), 201);
    daemon.restart().await;
    assert_eq!(names(&daemon).await, ["lab", "more"].map(str::to_owned).into());
}

#[tokio::test]
async fn of_concurrent_definitions_with_one_name_one_is_added() {
    let sandbox = sandbox().await;
    let mut daemon = start(&sandbox, "").await;
    let requests = (0..40).map(|n| {
        let (daemon, name) = (&daemon, format!("p{}", n % 20));
        let body = json!({"mcp": format!("https://rs{n}.example/mcp")});
        async move { put(daemon, &name, body).await.status.as_u16() }
    });
    let statuses = join_all(requests).await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 20, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 20, "{statuses:?}");
    let before = added(&daemon).await;
    daemon.restart().await;
    assert_eq!(added(&daemon).await, before);
}

#[tokio::test]
async fn removal_cancels_the_pending_logins_of_the_provider() {
    let (sandbox, url) = (sandbox().await, start_provider(json!({})).await);
    let daemon = start(&sandbox, "").await;
    for name in ["gone", "kept"] {
        let body = json!({"mcp": format!("{url}/mcp"), "client_id": "me"});
        assert_eq!(put(&daemon, name, body).await.status, 201);
    }
    let login = async |provider: &str| daemon.post("/v1/logins", json!({"provider": provider})).await;
    let (gone, kept) = (login("gone").await, login("kept").await);
    assert_eq!(delete(&daemon, "gone").await.status, 204);
    for (login, state) in [(gone, "cancelled"), (kept, "pending")] {
        let login = daemon.get(&format!("/v1/logins/{}", login["id"].as_str().unwrap())).await;
        assert_eq!(login["state"], state, "{login}");
    }
}
