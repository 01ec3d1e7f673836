//! Credentials at rest, seen from outside: what the daemon does while its store is locked, hangs, lies or
//! fails, and that nothing is lost by it.

use std::fs;

use authd_sandbox::{
    Fault, Route,
    house::{House, HouseConfig},
};
use serde_json::{Value, json};

use crate::support::{AUTHD, finished, sandbox, start};

/// A house whose store does as it is told.
async fn moody(sandbox: &authd_sandbox::Sandbox) -> (House, impl Fn(&str)) {
    moody_for(sandbox, "300ms").await
}

/// The same, and what it does may take this long.
async fn moody_for(sandbox: &authd_sandbox::Sandbox, deadline: &str) -> (House, impl Fn(&str)) {
    let directory = tempfile::tempdir().unwrap();
    let mood = directory.path().join("mood");
    // What follows directly belongs to `[store]`.
    let control = format!("memory_control = \"{}\"\ndeadline = \"{deadline}\"", mood.display());
    let house = House::start(HouseConfig::new(AUTHD, sandbox).toml(&control)).await;
    (house, move |word: &str| {
        fs::write(directory.path().join("mood"), word).unwrap();
    })
}

async fn profile(house: &House) -> Value {
    house.get("/v1/profiles/-").await
}

#[tokio::test]
async fn a_bad_store_is_told_and_cached_credentials_are_served() {
    let sandbox = sandbox().await;
    let (house, tell) = moody(&sandbox).await;
    house.sign_in("default", "plus").await;
    for (mood, state, code) in [
        ("locked", "locked", "store_locked"),
        ("unavailable", "unavailable", "store_unavailable"),
        ("hang", "unavailable", "store_unavailable"),
    ] {
        tell(mood);
        let body = json!({"api_key": "sk-own-key"}).to_string();
        let own = house.request("PUT", &format!("/v1/profiles/{mood}/api-key"), &[], body).await;
        // What was signed in is kept in memory, and loudly not saved.
        assert_eq!(own.json()["state"], "unsaved", "{mood}: {}", own.text());
        assert_eq!(own.json()["last_error"]["code"], code, "{}", own.text());
        assert_eq!(house.get("/v1/status").await["store"]["state"], state);
        house.get("/v1/profiles/-/headers").await;
        tell("well");
        while house.get("/v1/status").await["store"]["state"] != "ready" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    assert!(house.log().contains("IS NOT SAVED"), "{}", house.log());
}

#[tokio::test]
async fn a_rotated_token_that_cannot_be_saved_is_kept_served_and_saved_later() {
    let sandbox = sandbox().await;
    let (mut house, tell) = moody(&sandbox).await;
    house.sign_in("default", "plus").await;
    sandbox.faults().push(Route::Refresh, authd_sandbox::Fault::Stall);
    let asking = {
        let path = house.socket();
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
    assert_eq!(profile(&house).await["state"], "unsaved");
    assert_eq!(profile(&house).await["generation"], 2, "the new token is served from memory");
    // A stop waits for the save: the store comes back while the daemon is on its way out.
    house.signal(rustix::process::Signal::TERM);
    tell("well");
    assert!(house.wait().await.success());
    assert!(!house.log().contains("still under way"), "{}", house.log());
    assert_eq!(sandbox.count(Route::Refresh), 1);
}

#[tokio::test]
async fn a_new_key_and_a_refused_move_lose_nothing() {
    let sandbox = sandbox().await;
    let mut house = House::start(HouseConfig::new(AUTHD, &sandbox).store("file")).await;
    house.sign_in("default", "plus").await;
    let rekeyed = house.post("/v1/store/rekey", Value::Null).await;
    assert_eq!(rekeyed["kind"], "file", "{rekeyed}");
    // There is no keychain here: its bus is nowhere.
    let refused = house.request("POST", "/v1/store/migrate", &[], r#"{"to":"keychain"}"#).await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    let nonsense = house.request("POST", "/v1/store/migrate", &[], r#"{"to":"memory"}"#).await;
    assert_eq!(nonsense.json()["code"], "bad_request", "{}", nonsense.text());
    house.restart().await;
    house.get("/v1/profiles/-/headers").await;
    assert_eq!(house.get("/v1/status").await["store"]["kind"], "file");
}

/// A finished login is taken out of the store by and by: calls to it keep their order, and these come after that.
async fn login_is_out_of_the_store(house: &House) {
    house.request("PUT", "/v1/profiles/spare/api-key", &[], r#"{"api_key": "sk-spare"}"#).await;
    house.request("DELETE", "/v1/profiles/spare", &[], "").await;
}

/// Moves everything to files, where a restart finds it.
async fn records_at_rest(house: &House) -> u64 {
    house.post("/v1/store/migrate", json!({"to": "file"})).await["records"].as_u64().unwrap()
}

#[tokio::test]
async fn a_profile_is_renamed_although_its_old_record_cannot_be_deleted_yet() {
    let sandbox = sandbox().await;
    let (mut house, tell) = moody(&sandbox).await;
    house.sign_in("default", "plus").await;
    login_is_out_of_the_store(&house).await;
    tell("fail-delete");
    let renamed = house.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"work"}"#).await;
    assert!(renamed.status.is_success(), "{}", renamed.text());
    assert_eq!(house.get("/v1/profiles").await["default"], "work");
    tell("well");
    assert_eq!(records_at_rest(&house).await, 2, "the old record is there still");
    house.restart().await;
    house.get("/v1/profiles/work/headers").await;
    while house.state().join("store/profile.default.age").exists() {
        tokio::task::yield_now().await;
    }
    assert!(house.state().join("store/profile.work.age").exists());
}

#[tokio::test]
async fn a_name_that_was_not_saved_leaves_no_record_behind() {
    let sandbox = sandbox().await;
    let (mut house, tell) = moody(&sandbox).await;
    // With a key, nothing is saved by and by that a bad store would hold up.
    house.sign_in("default", "business").await;
    login_is_out_of_the_store(&house).await;
    tell("hang");
    let refused = house.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"work"}"#).await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    assert_eq!(house.get("/v1/profiles").await["default"], "default");
    // The store saves late what it was told to save. The copy is deleted behind that, and the name is free again.
    tell("well");
    house.get("/v1/profiles/default/headers").await;
    let again = async || house.request("PATCH", "/v1/profiles/default", &[], r#"{"name":"work"}"#).await;
    while !again().await.status.is_success() {
        tokio::task::yield_now().await;
    }
    assert_eq!(records_at_rest(&house).await, 1);
    house.restart().await;
    house.get("/v1/profiles/work/headers").await;
    assert_eq!(house.get("/v1/profiles").await["profiles"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_login_that_cannot_be_forgotten_here_is_taken_away_from_there() {
    let sandbox = sandbox().await;
    let (mut house, tell) = moody(&sandbox).await;
    // With a key, nothing is saved by and by that a bad store would hold up.
    house.sign_in("default", "business").await;
    login_is_out_of_the_store(&house).await;
    let path = house.dir().join("auth.json");
    for mood in ["fail-delete", "hang"] {
        tell(mood);
        let body = json!({"target": "codex", "path": path}).to_string();
        let refused = house.request("POST", "/v1/profiles/-/export", &[], body).await;
        assert_eq!(refused.json()["code"], "store_unavailable", "{mood}: {}", refused.text());
        assert!(!path.exists(), "{mood}: it would have two owners");
        // A store that hung forgets the record now, late: it is saved again.
        tell("well");
        while profile(&house).await["state"] != "ready"
            || house.get("/v1/status").await["store"]["state"] != "ready"
        {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(records_at_rest(&house).await, 1);
    house.restart().await;
    house.get("/v1/profiles/-/headers").await;
}

/// Somebody signs in while a record of the login before that is on its way to a store that takes its time.
#[tokio::test]
async fn of_two_records_on_their_way_the_later_one_stays() {
    let sandbox = sandbox().await;
    sandbox.faults().push_times(Route::WhamAccountsCheck, Fault::status(503, ""), 2);
    let (mut house, tell) = moody_for(&sandbox, "20s").await;
    house.sign_in("default", "plus").await;
    let (login, url) = start(&house, json!({"profile": "default", "replace": true})).await;
    tell("hang");
    let refresh = house.request("POST", "/v1/profiles/default/refresh", &[], "{}");
    let sign_in = async {
        house.browse(&url, "business-without-organization").await;
        finished(&house, &login).await
    };
    let well_again = async {
        sandbox.wait_for(Route::CodeExchange, 2).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        tell("well");
    };
    let (_, login, ()) = tokio::join!(refresh, sign_in, well_again);
    assert_eq!(login["state"], "succeeded", "{login}");
    let who = profile(&house).await["email"].clone();
    records_at_rest(&house).await;
    house.restart().await;
    house.get("/v1/profiles/-/headers").await;
    assert_eq!(profile(&house).await["email"], who);
}

/// In ChatGPT mode the id token is at rest only.
#[tokio::test]
async fn a_login_is_not_given_away_without_its_id_token() {
    let sandbox = sandbox().await;
    // Where its requests go would be saved by and by, and an export waits for that.
    sandbox.faults().push(Route::WhamAccountsCheck, Fault::status(503, ""));
    let (house, tell) = moody(&sandbox).await;
    house.sign_in("default", "plus").await;
    let path = house.dir().join("auth.json");
    let export = async || {
        let body = json!({"target": "codex", "path": path}).to_string();
        house.request("POST", "/v1/profiles/-/export", &[], body).await
    };
    tell("lie");
    let refused = export().await;
    assert!(refused.text().contains("authctl refresh"), "{}", refused.text());
    assert!(!path.exists() && profile(&house).await["state"] == "ready");
    // Here it lied about a record that is there.
    tell("well");
    house.post("/v1/profiles/-/refresh", json!({})).await;
    assert!(export().await.status.is_success());
    let login: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(login["tokens"]["id_token"].as_str().unwrap().split('.').count(), 3);
}

/// The index of an earlier version names the default and what is to be deleted. It is read once.
#[tokio::test]
async fn the_index_of_an_earlier_version_is_taken_over() {
    let sandbox = sandbox().await;
    let mut house = House::start(HouseConfig::new(AUTHD, &sandbox).store("file")).await;
    house.sign_in("default", "plus").await;
    house.sign_in("work", "business").await;
    house.sigterm_and_wait().await;
    let index = house.state().join("index.json");
    let text = json!({
        "version": 1, "store": "file", "discarded": [], "generations": 3, "default": "work",
        "profiles": {"default": null, "work": null},
    });
    fs::write(&index, text.to_string()).unwrap();
    fs::remove_file(house.state().join("store.json")).unwrap();
    house.start_again().await;
    // A mark in a record says more than an index.
    assert_eq!(house.get("/v1/profiles").await["default"], "default");
    while index.exists() {
        tokio::task::yield_now().await;
    }
    assert!(house.state().join("store.json").exists());
    // A damaged one is set aside, and nothing depends on it.
    house.sigterm_and_wait().await;
    fs::write(&index, "{\"version\":1,\"prof").unwrap();
    house.start_again().await;
    assert_eq!(house.get("/v1/profiles").await["profiles"].as_array().unwrap().len(), 2);
    for name in ["default", "work"] {
        house.get(&format!("/v1/profiles/{name}/headers")).await;
    }
    assert_eq!(house.sign_in("work", "business").await["result"]["name"], "work");
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_refused_without_damage() {
    let sandbox = sandbox().await;
    let mut house = House::start(HouseConfig::new(AUTHD, &sandbox).store("file")).await;
    house.sign_in("default", "plus").await;
    house.sigterm_and_wait().await;
    let key = house.state().join("store.key");
    let record = house.state().join("store/profile.default.age");
    let age = |args: &[&std::ffi::OsStr]| std::process::Command::new("age").args(args).output();
    let Ok(opened) = age(&["-d".as_ref(), "-i".as_ref(), key.as_ref(), record.as_ref()]) else { return };
    let text = String::from_utf8(opened.stdout).unwrap();
    let newer = house.dir().join("newer");
    fs::write(&newer, text.replacen("\"version\":1", "\"version\":99", 1)).unwrap();
    let keys = fs::read_to_string(&key).unwrap();
    let public = keys.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    fs::remove_file(&record).unwrap();
    let sealed =
        age(&["-r".as_ref(), public.as_ref(), "-o".as_ref(), record.as_ref(), newer.as_ref()]).unwrap();
    assert!(sealed.status.success(), "{sealed:?}");
    let before = fs::read(&record).unwrap();
    house.start_again().await;
    let told = house.request("GET", "/v1/profiles/-/headers", &[], "").await;
    assert!(told.status.is_client_error() || told.status.is_server_error());
    assert!(told.text().contains("upgrade authd"), "{}", told.text());
    house.sigterm_and_wait().await;
    assert_eq!(fs::read(&record).unwrap(), before);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_said_to_be_revoked() {
    let sandbox = sandbox().await;
    let mut house = House::start(HouseConfig::new(AUTHD, &sandbox).store("file")).await;
    house.sign_in("default", "plus").await;
    let record = house.state().join("store/profile.default.age");
    let whole = fs::read(&record).unwrap();
    let revoke = async |house: &House| house.request("DELETE", "/v1/profiles/-?revoke=true", &[], "").await;
    house.sigterm_and_wait().await;
    fs::write(&record, "not sealed").unwrap();
    house.start_again().await;
    let refused = revoke(&house).await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    assert_eq!(refused.json()["hint"], "to forget it on this machine alone: authctl logout default");
    // It is read again, once it can be.
    fs::write(&record, whole).unwrap();
    assert_eq!((revoke(&house).await.status.as_u16(), sandbox.count(Route::Revoke)), (204, 1));
    assert_eq!(house.get("/v1/profiles").await["profiles"], json!([]));
    // Whoever does not ask for more can always forget it here.
    house.sign_in("default", "plus").await;
    house.sigterm_and_wait().await;
    fs::write(&record, "not sealed").unwrap();
    house.start_again().await;
    assert_eq!(house.request("DELETE", "/v1/profiles/-", &[], "").await.status, 204);
    assert_eq!(sandbox.count(Route::Revoke), 1);
}
