//! Managed Codex homes: their state, deleted logins, links, locks, and edits by a user.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use authd_sandbox::test_daemon::TestDaemon;
use serde_json::{Value, json};

use crate::{
    events::Stream,
    helpers::{daemon, sandbox},
};

async fn install(daemon: &TestDaemon, profile: &str, home: &Path) -> Value {
    let body = json!({"home": home}).to_string();
    daemon.request("PUT", &format!("/v1/profiles/{profile}/codex"), &[], body).await.json()
}

async fn uninstall(daemon: &TestDaemon, home: &Path) -> Value {
    daemon.request("DELETE", "/v1/profiles/-/codex", &[], json!({"home": home}).to_string()).await.json()
}

/// Waits until the only home has this state, and returns it.
async fn home_in_state(daemon: &TestDaemon, state: &str) -> Value {
    loop {
        let mut homes = daemon.get("/v1/codex").await;
        if homes["homes"][0]["state"] == state {
            return homes["homes"][0].take();
        }
        tokio::task::yield_now().await;
    }
}

async fn doctor_row(daemon: &TestDaemon) -> Value {
    let diagnosis = daemon.get("/v1/diagnosis").await;
    let findings = diagnosis["findings"].as_array().unwrap();
    findings.iter().find(|it| it["check"].as_str().unwrap().starts_with("codex ")).unwrap().clone()
}

fn codex_home(daemon: &TestDaemon) -> (PathBuf, PathBuf) {
    let home = daemon.dir().join("codex");
    fs::create_dir_all(&home).unwrap();
    (home.clone(), home.join("auth.json"))
}

const KEY_OF_THE_USER: &str = "{\n  \"auth_mode\": \"apikey\",\n  \"OPENAI_API_KEY\": \"sk-of-the-user\"\n}";

#[tokio::test]
async fn a_deleted_login_is_written_again() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let (home, path) = codex_home(&daemon);
    install(&daemon, "default", &home).await;
    let written = fs::read_to_string(&path).unwrap();
    let status = home_in_state(&daemon, "present").await;
    assert_eq!((&status["home"], &status["path"]), (&json!(home), &json!(path)));
    assert_eq!((&status["profile"], &status["keychain"]), (&json!("default"), &json!(false)));
    assert!(status["last_written"].is_string() && status["last_error"].is_null(), "{status}");
    assert_eq!(doctor_row(&daemon).await["state"], "ok");
    fs::remove_file(&path).unwrap();
    while fs::read_to_string(&path).unwrap_or_default() != written {
        tokio::task::yield_now().await;
    }
    // The whole home, too. Nothing is written before there is a directory again.
    fs::rename(&home, daemon.dir().join("moved")).unwrap();
    let missing = home_in_state(&daemon, "missing").await;
    assert!(missing["last_error"]["detail"].as_str().unwrap().ends_with("does not exist"), "{missing}");
    assert_eq!(doctor_row(&daemon).await["state"], "failed");
    fs::create_dir(&home).unwrap();
    while fs::read_to_string(&path).unwrap_or_default() != written {
        tokio::task::yield_now().await;
    }
    // A home that does not come back can be removed from the list.
    fs::rename(&home, daemon.dir().join("moved-again")).unwrap();
    assert_eq!(uninstall(&daemon, &home).await["outcome"], "removed");
    assert_eq!(daemon.get("/v1/codex").await, json!({"homes": []}));
}

#[tokio::test]
async fn a_foreign_login_is_left_alone_and_reported() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let (home, path) = codex_home(&daemon);
    let mut events = Stream::open(&daemon).await;
    install(&daemon, "default", &home).await;
    home_in_state(&daemon, "present").await;
    fs::write(&path, KEY_OF_THE_USER).unwrap();
    home_in_state(&daemon, "foreign_login").await;
    let row = doctor_row(&daemon).await;
    assert_eq!(row["state"], "warning");
    assert!(row["remedy"].as_str().unwrap().contains("authctl codex install -p default --home"), "{row}");
    assert_eq!(fs::read_to_string(&path).unwrap(), KEY_OF_THE_USER);
    let changed = events.wait_for("codex_home", |changed| changed["state"] == "foreign_login").await;
    assert_eq!(changed["home"], json!(home));
    assert_eq!(uninstall(&daemon, &home).await["outcome"], "left_alone");
    events.wait_for("codex_home_gone", |gone| gone["home"] == json!(home)).await;
    assert_eq!(daemon.get("/v1/codex").await, json!({"homes": []}));
    assert_eq!(fs::read_to_string(&path).unwrap(), KEY_OF_THE_USER);
}

/// An editor ends a file with a line break. Such a file counted as one of authd's.
#[tokio::test]
async fn an_edited_login_is_the_users() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "business").await;
    let (home, path) = codex_home(&daemon);
    install(&daemon, "default", &home).await;
    home_in_state(&daemon, "present").await;
    let ours = fs::read_to_string(&path).unwrap();
    for edited in
        [format!("{KEY_OF_THE_USER}\n"), format!("{ours}\n"), "{\"bedrock_api_key\": {}}".to_owned()]
    {
        fs::write(&path, &edited).unwrap();
        home_in_state(&daemon, "foreign_login").await;
        daemon.sign_in("default", "business").await;
        assert_eq!(fs::read_to_string(&path).unwrap(), edited);
        // An explicit installation keeps the login, and its removal restores it.
        install(&daemon, "default", &home).await;
        home_in_state(&daemon, "present").await;
        assert_eq!(uninstall(&daemon, &home).await["outcome"], "restored");
        assert_eq!(fs::read_to_string(&path).unwrap(), edited);
        let body = json!({"target": "codex", "path": path}).to_string();
        let refused = daemon.request("POST", "/v1/profiles/-/export", &[], body).await;
        assert_eq!(refused.json()["code"], "conflict", "{}", refused.text());
        install(&daemon, "default", &home).await;
    }
}

#[tokio::test]
async fn a_login_is_written_through_a_symbolic_link() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let (home, path) = codex_home(&daemon);
    let target = daemon.dir().join("dotfiles");
    fs::create_dir(&target).unwrap();
    let target = target.join("login.json");
    fs::write(&target, KEY_OF_THE_USER).unwrap();
    symlink("../dotfiles/login.json", &path).unwrap();
    install(&daemon, "default", &home).await;
    let status = home_in_state(&daemon, "present").await;
    assert_eq!(status["link"], "../dotfiles/login.json");
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../dotfiles/login.json"));
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
    let written = fs::read_to_string(&target).unwrap();
    assert!(written.contains("chatgptAuthTokens"));
    // A deleted target is written again; a sign-out in Codex deletes the link.
    fs::write(&target, KEY_OF_THE_USER).unwrap();
    home_in_state(&daemon, "foreign_login").await;
    fs::write(&target, &written).unwrap();
    home_in_state(&daemon, "present").await;
    fs::remove_file(&path).unwrap();
    while !fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
        tokio::task::yield_now().await;
    }
    assert_eq!(uninstall(&daemon, &home).await["outcome"], "restored");
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../dotfiles/login.json"));
    assert_eq!(fs::read_to_string(&target).unwrap(), KEY_OF_THE_USER);

    // Export and import go through the link, too.
    fs::write(&target, &written).unwrap();
    daemon.post("/v1/profiles/-/export", json!({"target": "codex", "path": path})).await;
    assert!(fs::read_to_string(&target).unwrap().contains("\"auth_mode\": \"chatgpt\""));
    daemon.post("/v1/import", json!({"source": "codex", "path": path})).await;
    assert!(fs::read_to_string(&target).unwrap().contains("chatgptAuthTokens"));
    assert_eq!(fs::read_link(&path).unwrap(), Path::new("../dotfiles/login.json"));
    assert_eq!(home_in_state(&daemon, "present").await["link"], "../dotfiles/login.json");
}

#[tokio::test]
async fn a_home_with_two_names_is_one_home() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let (home, path) = codex_home(&daemon);
    let other = daemon.dir().join("other-name");
    symlink(&home, &other).unwrap();
    install(&daemon, "default", &other).await;
    assert_eq!(home_in_state(&daemon, "present").await["home"], json!(home));
    install(&daemon, "work", &home).await;
    let homes = daemon.get("/v1/codex").await;
    assert_eq!(homes["homes"].as_array().unwrap().len(), 1, "{homes}");
    assert_eq!(uninstall(&daemon, &other).await["outcome"], "removed");
    assert!(!path.exists());
}

/// A Codex home with a login of its own: the home, its file and the text of that.
async fn codex_with_login(daemon: &TestDaemon) -> (PathBuf, PathBuf, String) {
    daemon.sign_in("codex", "business-without-organization").await;
    let (home, path) = codex_home(daemon);
    daemon.post("/v1/profiles/codex/export", json!({"target": "codex", "path": path})).await;
    let login = fs::read_to_string(&path).unwrap();
    (home, path, login)
}

#[tokio::test]
async fn a_hard_linked_or_read_only_login_is_refused_and_unchanged() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let (home, path, login) = codex_with_login(&daemon).await;
    let refused = async |reason: &str| {
        for (method, route, body) in [
            ("PUT", "/v1/profiles/default/codex", json!({"home": home})),
            ("POST", "/v1/profiles/default/export", json!({"target": "codex", "path": path})),
            ("POST", "/v1/import", json!({"source": "codex", "path": path})),
        ] {
            let refused = daemon.request(method, route, &[], body.to_string()).await;
            assert_eq!(refused.json()["code"], "conflict", "{}", refused.text());
            assert!(refused.text().contains(reason), "{}", refused.text());
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), login);
        assert_eq!(daemon.get("/v1/codex").await, json!({"homes": []}));
    };
    let other = daemon.dir().join("copy.json");
    fs::hard_link(&path, &other).unwrap();
    refused("has 2 names (hard links)").await;
    fs::remove_file(&other).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    refused("is read-only").await;
    // Nothing was spent: the login still works.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    daemon.post("/v1/import", json!({"source": "codex", "path": path})).await;
}

#[tokio::test]
async fn a_lock_that_codex_holds_is_waited_for() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let (home, path, login) = codex_with_login(&daemon).await;
    let lock = |name: &str| {
        let file = File::create(home.join(name)).unwrap();
        file.lock().unwrap();
        file
    };
    for name in ["auth.lock", "auth.json.lock"] {
        let held = lock(name);
        let body = json!({"source": "codex", "path": path}).to_string();
        let refused = daemon.request("POST", "/v1/import", &[], body).await;
        assert_eq!(refused.json()["code"], "conflict", "{}", refused.text());
        let detail = format!("another program holds the lock {}", home.join(name).display());
        assert_eq!(refused.json()["detail"], json!(detail));
        assert_eq!(fs::read_to_string(&path).unwrap(), login, "nothing was spent");
        drop(held);
    }
    // Codex changes the login while authd waits: authd uses the login that Codex has left.
    let held = lock("auth.lock");
    let body = json!({"source": "codex", "path": path}).to_string();
    let (imported, ()) = tokio::join!(daemon.request("POST", "/v1/import", &[], body), async {
        fs::write(&path, KEY_OF_THE_USER).unwrap();
        drop(held);
    });
    assert_eq!(imported.json()["mode"], "api-key", "{}", imported.text());
    uninstall(&daemon, &home).await;

    // The sync tries again later, and says meanwhile why the login is old.
    install(&daemon, "default", &home).await;
    home_in_state(&daemon, "present").await;
    let old = fs::read_to_string(&path).unwrap();
    let held = lock("auth.json.lock");
    fs::remove_file(&path).unwrap();
    let waiting = loop {
        let mut homes = daemon.get("/v1/codex").await;
        if homes["homes"][0]["last_error"].is_object() {
            break homes["homes"][0]["last_error"].take();
        }
        tokio::task::yield_now().await;
    };
    assert!(waiting["detail"].as_str().unwrap().contains("auth.json.lock"), "{waiting}");
    drop(held);
    while fs::read_to_string(&path).unwrap_or_default() != old {
        tokio::task::yield_now().await;
    }
}
