//! Credentials at rest, seen from outside: what the daemon does while its store is locked, hangs, lies or
//! fails, and that nothing is lost by it.

use std::fs;

use authd_sandbox::{
    Fault, Route,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

use crate::support::{AUTHD, finished, sandbox, start};

/// A test daemon whose store does as it is told.
async fn moody(sandbox: &authd_sandbox::Sandbox) -> (TestDaemon, impl Fn(&str)) {
    moody_for(sandbox, "300ms").await
}

/// The same, and what it does may take this long.
async fn moody_for(sandbox: &authd_sandbox::Sandbox, deadline: &str) -> (TestDaemon, impl Fn(&str)) {
    let directory = tempfile::tempdir().unwrap();
    let mood = directory.path().join("mood");
    // What follows directly belongs to `[store]`.
    let control = format!("memory_control = \"{}\"\ndeadline = \"{deadline}\"", mood.display());
    let daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox).toml(&control)).await;
    (daemon, move |word: &str| {
        fs::write(directory.path().join("mood"), word).unwrap();
    })
}

async fn profile(daemon: &TestDaemon) -> Value {
    daemon.get("/v1/profiles/-").await
}

#[tokio::test]
async fn a_bad_store_is_told_and_cached_credentials_are_served() {
    let sandbox = sandbox().await;
    let (daemon, tell) = moody(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    for (mood, state, code) in [
        ("locked", "locked", "store_locked"),
        ("unavailable", "unavailable", "store_unavailable"),
        ("hang", "unavailable", "store_unavailable"),
    ] {
        tell(mood);
        let body = json!({"api_key": "sk-own-key"}).to_string();
        let own = daemon.request("PUT", &format!("/v1/profiles/{mood}/api-key"), &[], body).await;
        // What was signed in is kept in memory, and loudly not saved.
        assert_eq!(own.json()["state"], "unsaved", "{mood}: {}", own.text());
        assert_eq!(own.json()["last_error"]["code"], code, "{}", own.text());
        assert_eq!(daemon.get("/v1/status").await["store"]["state"], state);
        daemon.get("/v1/profiles/-/headers").await;
        tell("well");
        while daemon.get("/v1/status").await["store"]["state"] != "ready" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    assert!(daemon.log().contains("IS NOT SAVED"), "{}", daemon.log());
}

#[tokio::test]
async fn a_rotated_token_that_cannot_be_saved_is_kept_served_and_saved_later() {
    let sandbox = sandbox().await;
    let (mut daemon, tell) = moody(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    sandbox.faults().push(Route::Refresh, authd_sandbox::Fault::Stall);
    let asking = {
        let path = daemon.socket();
        tokio::spawn(async move {
            authd_api::Client::new(path).refresh(None, &authd_api::RefreshBody::default()).await
        })
    };
    // The journal is written; then the store fails, and only then the provider answers.
    sandbox.wait_for(Route::Refresh, 1).await;
    tell("fail-save");
    sandbox.faults().release();
    let told = asking.await.unwrap().unwrap_err().to_string();
    assert!(told.contains("not saved yet"), "{told}");
    assert_eq!(profile(&daemon).await["state"], "unsaved");
    assert_eq!(profile(&daemon).await["generation"], 2, "the new token is served from memory");
    // A stop waits for the save: the store comes back while the daemon is on its way out.
    daemon.signal(rustix::process::Signal::TERM);
    tell("well");
    assert!(daemon.wait().await.success());
    assert!(!daemon.log().contains("still under way"), "{}", daemon.log());
    assert_eq!(sandbox.count(Route::Refresh), 1);
}

#[tokio::test]
async fn a_new_key_and_a_refused_move_lose_nothing() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    let rekeyed = daemon.post("/v1/store/rekey", Value::Null).await;
    assert_eq!(rekeyed["kind"], "file", "{rekeyed}");
    // There is no keychain here: its bus is nowhere.
    let refused = daemon.request("POST", "/v1/store/migrate", &[], r#"{"to":"keychain"}"#).await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    let nonsense = daemon.request("POST", "/v1/store/migrate", &[], r#"{"to":"memory"}"#).await;
    assert_eq!(nonsense.json()["code"], "bad_request", "{}", nonsense.text());
    daemon.restart().await;
    daemon.get("/v1/profiles/-/headers").await;
    assert_eq!(daemon.get("/v1/status").await["store"]["kind"], "file");
}

/// A finished login is taken out of the store by and by: calls to it keep their order, and these come after that.
async fn login_is_out_of_the_store(daemon: &TestDaemon) {
    daemon.request("PUT", "/v1/profiles/spare/api-key", &[], r#"{"api_key": "sk-spare"}"#).await;
    daemon.request("DELETE", "/v1/profiles/spare", &[], "").await;
}

/// Moves everything to files, where a restart finds it.
async fn records_at_rest(daemon: &TestDaemon) -> u64 {
    daemon.post("/v1/store/migrate", json!({"to": "file"})).await["records"].as_u64().unwrap()
}

#[tokio::test]
async fn a_profile_is_renamed_although_its_old_record_cannot_be_deleted_yet() {
    let sandbox = sandbox().await;
    let (mut daemon, tell) = moody(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    login_is_out_of_the_store(&daemon).await;
    tell("fail-delete");
    let renamed = daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"work"}"#).await;
    assert!(renamed.status.is_success(), "{}", renamed.text());
    assert_eq!(daemon.get("/v1/profiles").await["default"], "work");
    tell("well");
    assert_eq!(records_at_rest(&daemon).await, 2, "the old record is there still");
    daemon.restart().await;
    daemon.get("/v1/profiles/work/headers").await;
    while daemon.state().join("store/profile.default.age").exists() {
        tokio::task::yield_now().await;
    }
    assert!(daemon.state().join("store/profile.work.age").exists());
}

#[tokio::test]
async fn a_name_that_was_not_saved_leaves_no_record_behind() {
    let sandbox = sandbox().await;
    let (mut daemon, tell) = moody(&sandbox).await;
    // With a key, nothing is saved by and by that a bad store would hold up.
    daemon.sign_in("default", "business").await;
    login_is_out_of_the_store(&daemon).await;
    tell("hang");
    let refused = daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"work"}"#).await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    assert_eq!(daemon.get("/v1/profiles").await["default"], "default");
    // The store saves late what it was told to save. The copy is deleted behind that, and the name is free again.
    tell("well");
    daemon.get("/v1/profiles/default/headers").await;
    let again = async || daemon.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"work"}"#).await;
    while !again().await.status.is_success() {
        tokio::task::yield_now().await;
    }
    assert_eq!(records_at_rest(&daemon).await, 1);
    daemon.restart().await;
    daemon.get("/v1/profiles/work/headers").await;
    assert_eq!(daemon.get("/v1/profiles").await["profiles"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_login_that_cannot_be_forgotten_here_is_taken_away_from_there() {
    let sandbox = sandbox().await;
    let (mut daemon, tell) = moody(&sandbox).await;
    // With a key, nothing is saved by and by that a bad store would hold up.
    daemon.sign_in("default", "business").await;
    login_is_out_of_the_store(&daemon).await;
    let path = daemon.dir().join("auth.json");
    for mood in ["fail-delete", "hang"] {
        tell(mood);
        let body = json!({"target": "codex", "path": path}).to_string();
        let refused = daemon.request("POST", "/v1/profiles/-/export", &[], body).await;
        assert_eq!(refused.json()["code"], "store_unavailable", "{mood}: {}", refused.text());
        assert!(!path.exists(), "{mood}: it would have two owners");
        // A store that hung forgets the record now, late: it is saved again.
        tell("well");
        while profile(&daemon).await["state"] != "ready"
            || daemon.get("/v1/status").await["store"]["state"] != "ready"
        {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(records_at_rest(&daemon).await, 1);
    daemon.restart().await;
    daemon.get("/v1/profiles/-/headers").await;
}

/// Somebody signs in while a record of the login before that is on its way to a store that takes its time.
#[tokio::test]
async fn of_two_records_on_their_way_the_later_one_stays() {
    let sandbox = sandbox().await;
    sandbox.faults().push_times(Route::WhamAccountsCheck, Fault::status(503, ""), 2);
    let (mut daemon, tell) = moody_for(&sandbox, "20s").await;
    daemon.sign_in("default", "plus").await;
    let (login, url) = start(&daemon, json!({"profile": "default", "replace": true})).await;
    tell("hang");
    let refresh = daemon.request("POST", "/v1/profiles/default/refresh", &[], "{}");
    let sign_in = async {
        daemon.browse(&url, "business-without-organization").await;
        finished(&daemon, &login).await
    };
    let well_again = async {
        sandbox.wait_for(Route::CodeExchange, 2).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        tell("well");
    };
    let (_, login, ()) = tokio::join!(refresh, sign_in, well_again);
    assert_eq!(login["state"], "succeeded", "{login}");
    let who = profile(&daemon).await["email"].clone();
    records_at_rest(&daemon).await;
    daemon.restart().await;
    daemon.get("/v1/profiles/-/headers").await;
    assert_eq!(profile(&daemon).await["email"], who);
}

/// In ChatGPT mode the id token is at rest only.
#[tokio::test]
async fn a_login_is_not_given_away_without_its_id_token() {
    let sandbox = sandbox().await;
    // Where its requests go would be saved by and by, and an export waits for that.
    sandbox.faults().push(Route::WhamAccountsCheck, Fault::status(503, ""));
    let (daemon, tell) = moody(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let path = daemon.dir().join("auth.json");
    let export = async || {
        let body = json!({"target": "codex", "path": path}).to_string();
        daemon.request("POST", "/v1/profiles/-/export", &[], body).await
    };
    tell("lie");
    let refused = export().await;
    assert!(refused.text().contains("authctl refresh"), "{}", refused.text());
    assert!(!path.exists() && profile(&daemon).await["state"] == "ready");
    // Here it lied about a record that is there.
    tell("well");
    daemon.post("/v1/profiles/-/refresh", json!({})).await;
    assert!(export().await.status.is_success());
    let login: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(login["tokens"]["id_token"].as_str().unwrap().split('.').count(), 3);
}

/// The index of an earlier version names the default and what is to be deleted. It is read once.
#[tokio::test]
async fn the_index_of_an_earlier_version_is_taken_over() {
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
    // A mark in a record says more than an index.
    assert_eq!(daemon.get("/v1/profiles").await["default"], "default");
    while index.exists() {
        tokio::task::yield_now().await;
    }
    assert!(daemon.state().join("store.json").exists());
    // A damaged one is set aside, and nothing depends on it.
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
    let told = daemon.request("GET", "/v1/profiles/-/headers", &[], "").await;
    assert!(told.status.is_client_error() || told.status.is_server_error());
    assert!(told.text().contains("upgrade authd"), "{}", told.text());
    daemon.sigterm_and_wait().await;
    assert_eq!(fs::read(&record).unwrap(), before);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_said_to_be_revoked() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    let record = daemon.state().join("store/profile.default.age");
    let whole = fs::read(&record).unwrap();
    let revoke =
        async |daemon: &TestDaemon| daemon.request("DELETE", "/v1/profiles/-?revoke=true", &[], "").await;
    daemon.sigterm_and_wait().await;
    fs::write(&record, "not sealed").unwrap();
    daemon.start_again().await;
    let refused = revoke(&daemon).await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    assert_eq!(refused.json()["hint"], "to forget it on this machine alone: authctl logout default");
    // It is read again, once it can be.
    fs::write(&record, whole).unwrap();
    assert_eq!((revoke(&daemon).await.status.as_u16(), sandbox.count(Route::Revoke)), (204, 1));
    assert_eq!(daemon.get("/v1/profiles").await["profiles"], json!([]));
    // Whoever does not ask for more can always forget it here.
    daemon.sign_in("default", "plus").await;
    daemon.sigterm_and_wait().await;
    fs::write(&record, "not sealed").unwrap();
    daemon.start_again().await;
    assert_eq!(daemon.request("DELETE", "/v1/profiles/-", &[], "").await.status, 204);
    assert_eq!(sandbox.count(Route::Revoke), 1);
}
