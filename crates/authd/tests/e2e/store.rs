//! The daemon with a store that is locked, hangs, fails or loses records. No login is lost.

use std::fs;

use authd_sandbox::{
    Fault, Route,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

use crate::{
    authorization_server::{AuthorizationServer, callback_ports},
    helpers::{AUTHD, finished, sandbox, start},
};

/// A test daemon with a memory store, and a function that injects a fault into the store.
async fn daemon_with_store_faults(sandbox: &authd_sandbox::Sandbox) -> (TestDaemon, impl Fn(&str)) {
    daemon_with_store_deadline(sandbox, "300ms").await
}

/// The same, with this deadline for calls to the store.
async fn daemon_with_store_deadline(
    sandbox: &authd_sandbox::Sandbox,
    deadline: &str,
) -> (TestDaemon, impl Fn(&str)) {
    let directory = tempfile::tempdir().unwrap();
    let control_file = directory.path().join("control");
    // These keys directly follow the table `[store]`.
    let control = format!("memory_control = \"{}\"\ndeadline = \"{deadline}\"", control_file.display());
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox).toml(&control)).await;
    (daemon, move |fault: &str| {
        fs::write(directory.path().join("control"), fault).unwrap();
    })
}

async fn profile(daemon: &TestDaemon) -> Value {
    daemon.get("/v1/profiles/-").await
}

#[tokio::test]
async fn a_store_fault_is_reported_and_cached_credentials_are_served() {
    let sandbox = sandbox().await;
    let (daemon, inject) = daemon_with_store_faults(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    for (fault, state, code) in [
        ("locked", "locked", "store_locked"),
        ("unavailable", "unavailable", "store_unavailable"),
        ("hang", "unavailable", "store_unavailable"),
    ] {
        inject(fault);
        let body = json!({"api_key": "sk-own-key", "check": false}).to_string();
        let response = daemon.request("PUT", &format!("/v1/profiles/{fault}/api-key"), &[], body).await;
        // The credential is served from memory, and reported as unsaved.
        assert_eq!(response.json()["state"], "unsaved", "{fault}: {}", response.text());
        assert_eq!(response.json()["last_error"]["code"], code, "{}", response.text());
        assert_eq!(daemon.get("/v1/status").await["store"]["state"], state);
        daemon.get("/v1/profiles/-/headers").await;
        inject("well");
        while daemon.get("/v1/status").await["store"]["state"] != "ready" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    assert!(daemon.log().contains("newest credential not saved"), "{}", daemon.log());
}

#[tokio::test]
async fn a_rotated_token_that_cannot_be_saved_is_served_and_saved_later() {
    let sandbox = sandbox().await;
    let (mut daemon, inject) = daemon_with_store_faults(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::Refresh, authd_sandbox::Fault::Stall);
    let refresh = {
        let path = daemon.socket();
        tokio::spawn(async move {
            authd_api::Client::new(path).refresh(None, &authd_api::RefreshBody::default()).await
        })
    };
    // The journal entry is written, then the store fails, then the provider responds.
    sandbox.wait_for(Route::Refresh, 1).await;
    inject("fail-save");
    sandbox.faults().release();
    let error = refresh.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("the newest credential is not saved"), "{error}");
    assert_eq!(profile(&daemon).await["state"], "unsaved");
    assert_eq!(profile(&daemon).await["generation"], 2, "the new token is served from memory");
    // The shutdown waits for the save. The store recovers during the shutdown.
    daemon.signal(rustix::process::Signal::TERM);
    inject("well");
    assert!(daemon.wait().await.success());
    assert!(!daemon.log().contains("unfinished work"), "{}", daemon.log());
    assert_eq!(sandbox.count(Route::Refresh), 1);
}

/// Otherwise every login while a disk is full would leave a client at the server.
#[tokio::test]
async fn a_registered_client_that_cannot_be_saved_is_saved_at_the_next_login() {
    let (sandbox, server) = (sandbox().await, AuthorizationServer::start(json!({})).await);
    let fault = tempfile::NamedTempFile::new().unwrap();
    let toml = format!("memory_control = {:?}\n{}", fault.path(), server.definition());
    let config = TestDaemonConfig::new(AUTHD, &sandbox).toml(&toml).callback(&callback_ports());
    let mut daemon = TestDaemon::start(config).await;
    fs::write(fault.path(), "fail-save").unwrap();
    for _ in 0..2 {
        let refused = daemon.request("POST", "/v1/logins", &[], r#"{"provider": "lab"}"#).await;
        assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    }
    fs::write(fault.path(), "well").unwrap();
    let (login, url) = start(&daemon, json!({"provider": "lab"})).await;
    sandbox.browser().open(&url).await.unwrap();
    assert_eq!(finished(&daemon, &login).await["state"], "succeeded");
    // It is saved: the next run uses it.
    migrate_to_files(&daemon).await;
    daemon.restart().await;
    start(&daemon, json!({"provider": "lab"})).await;
    assert_eq!(server.registrations(), 1);
}

#[tokio::test]
async fn a_rekey_and_a_failed_migration_lose_no_login() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    let rekeyed = daemon.post("/v1/store/rekey", Value::Null).await;
    assert_eq!(rekeyed["kind"], "file", "{rekeyed}");
    // There is no session bus, and so no keychain.
    let refused = daemon.request("POST", "/v1/store/migrate", &[], r#"{"to":"keychain"}"#).await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    let nonsense = daemon.request("POST", "/v1/store/migrate", &[], r#"{"to":"memory"}"#).await;
    assert_eq!(nonsense.json()["code"], "bad_request", "{}", nonsense.text());
    daemon.restart().await;
    daemon.get("/v1/profiles/-/headers").await;
    assert_eq!(daemon.get("/v1/status").await["store"]["kind"], "file");
}

/// Waits until the record of a completed login is deleted. The daemon deletes it in the background,
/// and the store keeps the order of its calls.
async fn wait_until_login_is_deleted(daemon: &TestDaemon) {
    daemon
        .request("PUT", "/v1/profiles/spare/api-key", &[], r#"{"api_key": "sk-spare", "check": false}"#)
        .await;
    daemon.request("DELETE", "/v1/profiles/spare", &[], "").await;
}

/// Migrates all records to files, for a restart, and returns their number.
async fn migrate_to_files(daemon: &TestDaemon) -> u64 {
    daemon.post("/v1/store/migrate", json!({"to": "file"})).await["records"].as_u64().unwrap()
}

#[tokio::test]
async fn a_rename_succeeds_although_the_old_record_cannot_be_deleted_yet() {
    let sandbox = sandbox().await;
    let (mut daemon, inject) = daemon_with_store_faults(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    wait_until_login_is_deleted(&daemon).await;
    inject("fail-delete");
    let renamed = daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"work"}"#).await;
    assert!(renamed.status.is_success(), "{}", renamed.text());
    assert_eq!(daemon.get("/v1/profiles").await["default"], "work");
    inject("well");
    assert_eq!(migrate_to_files(&daemon).await, 2, "the old record still exists");
    daemon.restart().await;
    daemon.get("/v1/profiles/work/headers").await;
    while daemon.state().join("store/profile.default.age").exists() {
        tokio::task::yield_now().await;
    }
    assert!(daemon.state().join("store/profile.work.age").exists());
}

#[tokio::test]
async fn a_failed_rename_leaves_no_second_record() {
    let sandbox = sandbox().await;
    let (mut daemon, inject) = daemon_with_store_faults(&sandbox).await;
    // In API key mode no save in the background can wait for the store.
    daemon.sign_in("default", "business").await;
    wait_until_login_is_deleted(&daemon).await;
    inject("hang");
    let refused = daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"work"}"#).await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    assert_eq!(daemon.get("/v1/profiles").await["default"], "default");
    // The store completes the late save. Then the daemon deletes the copy, and the name is free.
    inject("well");
    daemon.get("/v1/profiles/default/headers").await;
    let rename = async || daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"work"}"#).await;
    while !rename().await.status.is_success() {
        tokio::task::yield_now().await;
    }
    assert_eq!(migrate_to_files(&daemon).await, 1);
    daemon.restart().await;
    daemon.get("/v1/profiles/work/headers").await;
    assert_eq!(daemon.get("/v1/profiles").await["profiles"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_export_whose_record_cannot_be_deleted_is_rolled_back() {
    let sandbox = sandbox().await;
    let (mut daemon, inject) = daemon_with_store_faults(&sandbox).await;
    // In API key mode no save in the background can wait for the store.
    daemon.sign_in("default", "business").await;
    wait_until_login_is_deleted(&daemon).await;
    let path = daemon.dir().join("auth.json");
    for fault in ["fail-delete", "hang"] {
        inject(fault);
        let body = json!({"target": "codex", "path": path}).to_string();
        let refused = daemon.request("POST", "/v1/profiles/-/export", &[], body).await;
        assert_eq!(refused.json()["code"], "store_unavailable", "{fault}: {}", refused.text());
        assert!(!path.exists(), "{fault}: the login would have two owners");
        // A store that hung deletes the record late. The daemon saves it again.
        inject("well");
        while profile(&daemon).await["state"] != "ready"
            || daemon.get("/v1/status").await["store"]["state"] != "ready"
        {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(migrate_to_files(&daemon).await, 1);
    daemon.restart().await;
    daemon.get("/v1/profiles/-/headers").await;
}

/// A new login completes while the store still saves a record of the previous login.
#[tokio::test]
async fn the_later_of_two_pending_saves_wins() {
    let sandbox = sandbox().await;
    sandbox.faults().push_times(Route::WhamAccountsCheck, Fault::status(503, ""), 2);
    let (mut daemon, inject) = daemon_with_store_deadline(&sandbox, "20s").await;
    daemon.sign_in("default", "plus").await;
    let (login, url) = start(&daemon, json!({"profile": "default", "replace": true})).await;
    inject("hang");
    let refresh = daemon.request("POST", "/v1/profiles/default/refresh", &[], "{}");
    let sign_in = async {
        daemon.browse(&url, "business-without-organization").await;
        finished(&daemon, &login).await
    };
    let recovery = async {
        sandbox.wait_for(Route::CodeExchange, 2).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        inject("well");
    };
    let (_, login, ()) = tokio::join!(refresh, sign_in, recovery);
    assert_eq!(login["state"], "succeeded", "{login}");
    let email = profile(&daemon).await["email"].clone();
    migrate_to_files(&daemon).await;
    daemon.restart().await;
    daemon.get("/v1/profiles/-/headers").await;
    assert_eq!(profile(&daemon).await["email"], email);
}

/// In ChatGPT mode the id token is in the record only.
#[tokio::test]
async fn a_login_is_not_exported_without_its_id_token() {
    let sandbox = sandbox().await;
    // The daemon would save the routing in the background, and an export waits for that.
    sandbox.faults().push(Route::WhamAccountsCheck, Fault::status(503, ""));
    let (daemon, inject) = daemon_with_store_faults(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let path = daemon.dir().join("auth.json");
    let export = async || {
        let body = json!({"target": "codex", "path": path}).to_string();
        daemon.request("POST", "/v1/profiles/-/export", &[], body).await
    };
    inject("lie");
    let refused = export().await;
    assert!(refused.text().contains("authctl refresh"), "{}", refused.text());
    assert!(!path.exists() && profile(&daemon).await["state"] == "ready");
    // The store denied a record that exists.
    inject("well");
    daemon.post("/v1/profiles/-/refresh", json!({})).await;
    assert!(export().await.status.is_success());
    let login: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(login["tokens"]["id_token"].as_str().unwrap().split('.').count(), 3);
}

#[tokio::test]
async fn no_profile_becomes_the_default_because_the_default_left() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    assert_eq!(daemon.request("DELETE", "/v1/profiles/-", &[], "").await.status, 204);
    for _ in 0..2 {
        assert_eq!(daemon.get("/v1/profiles").await["default"], Value::Null);
        let refused = daemon.request("DELETE", "/v1/profiles/-", &[], "").await;
        assert_eq!(refused.json()["code"], "profile_unknown", "{}", refused.text());
        daemon.get("/v1/profiles/work/headers").await;
        daemon.restart().await;
    }
    // The next sign-in is the default, as the first one is.
    daemon.sign_in("home", "plus").await;
    assert_eq!(daemon.get("/v1/profiles").await["default"], "home");
}

/// The index of an earlier version contains the default and the pending deletions. It is read once.
#[tokio::test]
async fn the_index_of_an_earlier_version_is_read_once() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    daemon.sigterm_and_wait().await;
    let index = daemon.state().join("index.json");
    let text = json!({
        "version": 1, "store": "file", "discarded": [], "generations": 3, "default": "work",
        "profiles": {"default": null, "work": null},
    });
    fs::write(&index, text.to_string()).unwrap();
    fs::remove_file(daemon.state().join("store.json")).unwrap();
    daemon.start_again().await;
    // The mark in a record overrides the index.
    assert_eq!(daemon.get("/v1/profiles").await["default"], "default");
    while index.exists() {
        tokio::task::yield_now().await;
    }
    assert!(daemon.state().join("store.json").exists());
    // A damaged index is set aside, and no profile depends on it.
    daemon.sigterm_and_wait().await;
    fs::write(&index, "{\"version\":1,\"prof").unwrap();
    daemon.start_again().await;
    assert_eq!(daemon.get("/v1/profiles").await["profiles"].as_array().unwrap().len(), 2);
    for name in ["default", "work"] {
        daemon.get(&format!("/v1/profiles/{name}/headers")).await;
    }
    assert_eq!(daemon.sign_in("work", "business").await["result"]["name"], "work");
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_refused_without_damage() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    daemon.sigterm_and_wait().await;
    let key = daemon.state().join("store.key");
    let record = daemon.state().join("store/profile.default.age");
    let age = |args: &[&std::ffi::OsStr]| std::process::Command::new("age").args(args).output();
    let Ok(opened) = age(&["-d".as_ref(), "-i".as_ref(), key.as_ref(), record.as_ref()]) else { return };
    let text = String::from_utf8(opened.stdout).unwrap();
    let newer = daemon.dir().join("newer");
    fs::write(&newer, text.replacen("\"version\":1", "\"version\":99", 1)).unwrap();
    let keys = fs::read_to_string(&key).unwrap();
    let public = keys.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    fs::remove_file(&record).unwrap();
    let sealed =
        age(&["-r".as_ref(), public.as_ref(), "-o".as_ref(), record.as_ref(), newer.as_ref()]).unwrap();
    assert!(sealed.status.success(), "{sealed:?}");
    let before = fs::read(&record).unwrap();
    daemon.start_again().await;
    let refused = daemon.request("GET", "/v1/profiles/-/headers", &[], "").await;
    assert!(refused.status.is_client_error() || refused.status.is_server_error());
    assert!(refused.text().contains("upgrade authd"), "{}", refused.text());
    let profile = profile(&daemon).await;
    let (state, required) = (&profile["state"], &profile["sign_in_required"]);
    assert_eq!((state, required), (&json!("login_required"), &json!(true)), "{profile}");
    let metrics = daemon.request("GET", "/v1/metrics", &[], "").await.text();
    for line in [r#"authd_profiles{state="login_required"} 1"#, "authd_sign_ins_required 1"] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    daemon.sigterm_and_wait().await;
    assert_eq!(fs::read(&record).unwrap(), before);
}

#[tokio::test]
async fn an_unreadable_record_is_not_reported_as_revoked() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    let record = daemon.state().join("store/profile.default.age");
    let content = fs::read(&record).unwrap();
    let revoke =
        async |daemon: &TestDaemon| daemon.request("DELETE", "/v1/profiles/-?revoke=true", &[], "").await;
    daemon.sigterm_and_wait().await;
    fs::write(&record, "not sealed").unwrap();
    daemon.start_again().await;
    let refused = revoke(&daemon).await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    assert_eq!(refused.json()["hint"], "to delete it only on this machine: authctl logout default");
    // The daemon reads the record again.
    fs::write(&record, content).unwrap();
    assert_eq!((revoke(&daemon).await.status.as_u16(), sandbox.count(Route::Revoke)), (204, 1));
    assert_eq!(daemon.get("/v1/profiles").await["profiles"], json!([]));
    // Without `revoke` the profile can always be deleted.
    daemon.sign_in("default", "plus").await;
    daemon.sigterm_and_wait().await;
    fs::write(&record, "not sealed").unwrap();
    daemon.start_again().await;
    assert_eq!(daemon.request("DELETE", "/v1/profiles/-", &[], "").await.status, 204);
    assert_eq!(sandbox.count(Route::Revoke), 1);
}
