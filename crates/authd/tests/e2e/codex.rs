//! Logins shared with the Codex CLI: import, refresh and export. A login never has two owners.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use authd_sandbox::{
    Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::helpers::{AUTHD, daemon, sandbox, value};

/// A login file as the Codex CLI writes it, for an account of the sandbox.
async fn codex_login(daemon: &TestDaemon, sandbox: &Sandbox, account: &str) -> (std::path::PathBuf, String) {
    // The tokens come from a login of the daemon, which exports it to Codex at once.
    let before = sandbox.issued_secrets().len();
    let home = daemon.dir().join("codex");
    fs::create_dir_all(&home).unwrap();
    let path = home.join("auth.json");
    daemon.sign_in("for-codex", account).await;
    let body = json!({"target": "codex", "path": path});
    daemon.post("/v1/profiles/for-codex/export", body).await;
    assert!(sandbox.issued_secrets().len() > before);
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

async fn current_token(daemon: &TestDaemon, profile: &str) -> String {
    let headers = daemon.get(&format!("/v1/profiles/{profile}/headers")).await;
    value(&headers, "Authorization").trim_start_matches("Bearer ").to_owned()
}

#[tokio::test]
async fn a_codex_login_is_imported_and_its_file_follows_each_refresh() {
    let sandbox = sandbox().await;
    let mut daemon = daemon(&sandbox).await;
    let (path, original) = codex_login(&daemon, &sandbox, "plus").await;
    assert!(
        daemon.get("/v1/profiles").await["profiles"].as_array().unwrap().is_empty(),
        "an exported login is no longer a profile"
    );
    let file: Value = serde_json::from_str(&original).unwrap();
    let old_refresh = file["tokens"]["refresh_token"].as_str().unwrap().to_owned();
    assert!(!old_refresh.is_empty());

    let profile =
        daemon.post("/v1/import", json!({"source": "codex", "path": path, "profile": "mine"})).await;
    assert_eq!(
        (&profile["name"], &profile["state"], &profile["mode"]),
        (&json!("mine"), &json!("ready"), &json!("chatgpt"))
    );
    assert_eq!(sandbox.count(Route::Refresh), 1, "one refresh verifies it");
    let external = read(&path);
    assert_eq!(
        (&external["auth_mode"], &external["tokens"]["refresh_token"]),
        (&json!("chatgptAuthTokens"), &json!(""))
    );
    assert_eq!(external["tokens"]["access_token"], current_token(&daemon, "mine").await);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&path).unwrap().contains(&old_refresh));

    daemon.post("/v1/profiles/mine/refresh", json!({})).await;
    let fresh = current_token(&daemon, "mine").await;
    while read(&path)["tokens"]["access_token"] != fresh {
        tokio::task::yield_now().await;
    }
    let renamed = daemon.request("PATCH", "/v1/profiles/mine", &[], r#"{"name":"ours"}"#).await;
    assert!(renamed.status.is_success(), "{}", renamed.text());
    daemon.restart().await;
    // The memory store loses the login with the restart.
    assert_eq!(read(&path)["tokens"]["refresh_token"], "");
}

#[tokio::test]
async fn an_imported_login_survives_a_restart_and_is_exported_complete() {
    let sandbox = sandbox().await;
    let config = TestDaemonConfig::new(crate::helpers::AUTHD, &sandbox).store("file");
    let mut daemon = TestDaemon::start(config).await;
    let (path, _) = codex_login(&daemon, &sandbox, "plus").await;
    daemon.post("/v1/import", json!({"source": "codex", "path": path})).await;
    daemon.restart().await;
    daemon.post("/v1/profiles/default/refresh", json!({})).await;
    let fresh = current_token(&daemon, "default").await;
    while read(&path)["tokens"]["access_token"] != fresh {
        tokio::task::yield_now().await;
    }
    let home = path.parent().unwrap();
    let refused =
        daemon.request("DELETE", "/v1/profiles/-/codex", &[], json!({"home": home}).to_string()).await;
    assert_eq!(refused.json()["code"], "conflict", "{}", refused.text());
    daemon.post("/v1/profiles/-/export", json!({"target": "codex", "path": path})).await;
    let exported = read(&path);
    assert_eq!(exported["auth_mode"], "chatgpt");
    // The exported token is valid: it can be imported again.
    daemon.post("/v1/import", json!({"source": "codex", "path": path})).await;
}

#[tokio::test]
async fn a_failed_import_does_not_change_the_login_file() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (path, original) = codex_login(&daemon, &sandbox, "plus").await;
    let import = || async {
        daemon.request("POST", "/v1/import", &[], json!({"source": "codex", "path": path}).to_string()).await
    };
    sandbox.faults().push(Route::Refresh, Fault::status(503, ""));
    let unreachable = import().await;
    assert_eq!(unreachable.json()["code"], "provider_unreachable", "{}", unreachable.text());
    sandbox.revoke_account("plus");
    let dead = import().await;
    assert_eq!(dead.json()["code"], "login_required", "{}", dead.text());
    assert_eq!(fs::read_to_string(&path).unwrap(), original);
    assert!(daemon.get("/v1/profiles").await["profiles"].as_array().unwrap().is_empty());
    for (text, expected) in [
        ("{", "not a login"),
        ("{}", "holds no Codex login"),
        (r#"{"auth_mode":"agentIdentity"}"#, "agentIdentity"),
    ] {
        fs::write(&path, text).unwrap();
        let refused = import().await;
        assert!(refused.status == 409 && refused.text().contains(expected), "{}", refused.text());
    }
    let relative =
        daemon.request("POST", "/v1/import", &[], r#"{"source":"codex","path":"auth.json"}"#).await;
    assert_eq!(relative.json()["code"], "bad_request");
}

/// The import of a dead login does not sign out a good login of the same user, even if the good
/// login's record is not loaded yet.
#[tokio::test]
async fn a_dead_login_of_the_same_user_is_refused_as_a_conflict() {
    let sandbox = sandbox().await;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, &sandbox).store("file")).await;
    let (path, _) = codex_login(&daemon, &sandbox, "plus").await;
    let dead = read(&path);
    daemon.sign_in("default", "plus").await;
    let dead_token = dead["tokens"]["refresh_token"].as_str().unwrap().to_owned();
    for name in ["default", "imported"] {
        daemon.restart().await;
        let body = json!({"source": "codex", "path": path, "profile": name}).to_string();
        let refused = daemon.request("POST", "/v1/import", &[], body).await;
        assert_eq!(refused.json()["code"], "conflict", "{}", refused.text());
        assert_eq!(refused.json()["profile"], "default", "{}", refused.text());
        assert_eq!(daemon.get("/v1/profiles").await["profiles"].as_array().unwrap().len(), 1);
        daemon.get("/v1/profiles/default/headers").await;
    }
    // A record that cannot be read could belong to the same user.
    daemon.sigterm_and_wait().await;
    let record = daemon.state().join("store/profile.default.age");
    let content = fs::read(&record).unwrap();
    fs::remove_file(&record).unwrap();
    fs::create_dir(&record).unwrap();
    daemon.start_again().await;
    let body = json!({"source": "codex", "path": path, "profile": "imported"}).to_string();
    let refused = daemon.request("POST", "/v1/import", &[], body).await;
    assert_eq!(refused.json()["code"], "store_unavailable", "{}", refused.text());
    assert_eq!(read(&path)["tokens"]["refresh_token"], dead_token, "the file is unchanged");
    // The daemon repeats its read, and must not meet half of the record.
    let copy = record.with_extension("copy");
    fs::write(&copy, content).unwrap();
    fs::remove_dir(&record).unwrap();
    fs::rename(&copy, &record).unwrap();
    daemon.get("/v1/profiles/default/headers").await;
    daemon.post("/v1/profiles/default/refresh", json!({})).await;
}

#[tokio::test]
async fn codex_install_supplies_a_home_and_uninstall_restores_it() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let (path, original) = codex_login(&daemon, &sandbox, "business-without-organization").await;
    let home = json!({"home": path.parent().unwrap()}).to_string();
    let installed = daemon.request("PUT", "/v1/profiles/default/codex", &[], home.clone()).await;
    assert!(installed.status.is_success(), "{}", installed.text());
    assert_eq!(read(&path)["tokens"]["access_token"], current_token(&daemon, "default").await);
    let replaced = daemon.request("PUT", "/v1/profiles/work/codex", &[], home.clone()).await;
    assert!(replaced.status.is_success(), "{}", replaced.text());
    assert_eq!(read(&path)["OPENAI_API_KEY"], current_token(&daemon, "work").await);
    let restored = daemon.request("DELETE", "/v1/profiles/-/codex", &[], home.clone()).await;
    assert!(restored.status.is_success(), "{}", restored.text());
    assert_eq!(fs::read_to_string(&path).unwrap(), original);
    let repeated = daemon.request("DELETE", "/v1/profiles/-/codex", &[], home.clone()).await;
    assert_eq!(repeated.json()["code"], "conflict");
    // In a home without a login file, no file remains.
    fs::remove_file(&path).unwrap();
    daemon.request("PUT", "/v1/profiles/default/codex", &[], home.clone()).await;
    assert!(path.exists());
    daemon.request("DELETE", "/v1/profiles/-/codex", &[], home.clone()).await;
    assert!(!path.exists());
    // A login that the user makes in Codex meanwhile is left alone.
    daemon.request("PUT", "/v1/profiles/default/codex", &[], home.clone()).await;
    fs::write(&path, &original).unwrap();
    daemon.post("/v1/profiles/default/refresh", json!({})).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), original);
    let response = daemon.request("DELETE", "/v1/profiles/-/codex", &[], home).await;
    assert_eq!(response.json()["outcome"], "left_alone", "{}", response.text());
    assert_eq!(fs::read_to_string(&path).unwrap(), original);
}

#[tokio::test]
async fn an_export_never_overwrites_a_login() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let (path, original) = codex_login(&daemon, &sandbox, "business-without-organization").await;
    let refused_export = async |hint: &str| {
        let before = fs::read_to_string(&path).unwrap();
        let body = json!({"target": "codex", "path": path}).to_string();
        let refused = daemon.request("POST", "/v1/profiles/-/export", &[], body).await;
        assert_eq!(refused.json()["code"], "conflict", "{}", refused.text());
        assert!(refused.json()["hint"].as_str().unwrap().contains(hint), "{}", refused.text());
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        daemon.get("/v1/profiles/default/headers").await;
    };
    let key = "{\"OPENAI_API_KEY\": \"sk-of-the-user\"}\n";
    for content in [&*original, key, "what is this?"] {
        fs::write(&path, content).unwrap();
        refused_export("move it away").await;
    }
    // While the home is supplied, an export would lose the stored original.
    fs::write(&path, &original).unwrap();
    let home = json!({"home": path.parent().unwrap()}).to_string();
    daemon.request("PUT", "/v1/profiles/default/codex", &[], home.clone()).await;
    refused_export("authctl codex uninstall").await;
    // The user signs in to Codex meanwhile: uninstall restores that login.
    let newer = original.replace('\n', " ");
    fs::write(&path, &newer).unwrap();
    let repeated = daemon.request("PUT", "/v1/profiles/default/codex", &[], home.clone()).await;
    assert!(repeated.status.is_success(), "{}", repeated.text());
    assert_eq!(read(&path)["tokens"]["access_token"], current_token(&daemon, "default").await);
    daemon.request("DELETE", "/v1/profiles/-/codex", &[], home).await;
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
}

#[tokio::test]
async fn a_home_is_restored_after_the_last_profile_is_removed() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (path, original) = codex_login(&daemon, &sandbox, "plus").await;
    daemon.sign_in("default", "business").await;
    let home = json!({"home": path.parent().unwrap()}).to_string();
    daemon.request("PUT", "/v1/profiles/-/codex", &[], home.clone()).await;
    assert_ne!(fs::read_to_string(&path).unwrap(), original);
    daemon.request("DELETE", "/v1/profiles/default", &[], "").await;
    let restored = daemon.request("DELETE", "/v1/profiles/-/codex", &[], home).await;
    assert_eq!(restored.json()["outcome"], "restored", "{}", restored.text());
    assert_eq!(restored.json()["profile"], "default");
    assert_eq!(fs::read_to_string(&path).unwrap(), original);
}

#[tokio::test]
async fn an_imported_login_that_is_signed_out_leaves_no_file() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    let (path, _) = codex_login(&daemon, &sandbox, "plus").await;
    daemon.post("/v1/import", json!({"source": "codex", "path": path})).await;
    daemon.request("DELETE", "/v1/profiles/default", &[], "").await;
    let home = json!({"home": path.parent().unwrap()}).to_string();
    let removed = daemon.request("DELETE", "/v1/profiles/-/codex", &[], home).await;
    assert_eq!(removed.json()["outcome"], "removed", "{}", removed.text());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_path_that_is_no_login_file_is_not_read() {
    let sandbox = sandbox().await;
    let daemon = daemon(&sandbox).await;
    daemon.sign_in("default", "plus").await;
    let (pipe, large) = (daemon.dir().join("auth.json"), daemon.dir().join("large.json"));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::write(&large, " ".repeat((1 << 20) + 1)).unwrap();
    for (path, expected) in [
        (pipe.as_path(), "not a regular file"),
        (Path::new("/dev/zero"), "not a regular file"),
        (daemon.dir(), "not a regular file"),
        (&large, "longer than 1048576 bytes"),
    ] {
        let body = json!({"source": "codex", "path": path}).to_string();
        let refused = daemon.request("POST", "/v1/import", &[], body).await;
        assert!(refused.status == 409 && refused.text().contains(expected), "{}", refused.text());
    }
    let home = json!({"home": daemon.dir()}).to_string();
    let refused = daemon.request("PUT", "/v1/profiles/-/codex", &[], home).await;
    assert_eq!(refused.status, 409, "{}", refused.text());
}

/// Set in the process that runs the test inside a D-Bus session.
const INSIDE: &str = "AUTHD_TEST_INSIDE_A_KEYRING_SESSION";

/// Runs `secret-tool`, which uses the keychain as Codex's library does.
fn secret_tool(args: &[&str], input: &str) -> String {
    let mut tool =
        Command::new("secret-tool").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let tool = tool.as_mut().unwrap();
    tool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert!(tool.wait().unwrap().success(), "secret-tool {args:?}");
    std::io::read_to_string(tool.stdout.take().unwrap()).unwrap()
}

/// Codex stores its login in the keychain if `cli_auth_credentials_store` is set so.
#[tokio::test]
async fn a_login_in_codexs_keychain_item_is_imported() {
    if std::env::var_os(INSIDE).is_none() {
        let installed = |program: &str| Command::new(program).arg("--version").output().is_ok();
        if !["dbus-run-session", "gnome-keyring-daemon", "secret-tool"].into_iter().all(installed) {
            println!("skipped: dbus, gnome-keyring and libsecret-tools are needed");
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let mut session = Command::new("dbus-run-session");
        session.arg("--").arg(std::env::current_exe().unwrap()).env(INSIDE, "1");
        session.env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.path());
        session.args(["--exact", "codex::a_login_in_codexs_keychain_item_is_imported", "--nocapture"]);
        let output = session.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let mut keyring = Command::new("gnome-keyring-daemon");
    keyring.args(["--unlock", "--components=secrets"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut keyring = keyring.stderr(Stdio::null()).spawn().unwrap();
    keyring.stdin.take().unwrap().write_all(b"password").unwrap();
    assert!(keyring.wait().unwrap().success());

    let sandbox = sandbox().await;
    let bus = std::env::var("DBUS_SESSION_BUS_ADDRESS").unwrap();
    let config = TestDaemonConfig::new(crate::helpers::AUTHD, &sandbox).store("file");
    let mut daemon = TestDaemon::start(config.env("DBUS_SESSION_BUS_ADDRESS", &bus)).await;
    let (path, original) = codex_login(&daemon, &sandbox, "plus").await;
    fs::remove_file(&path).unwrap();
    // The state that Codex 0.169 leaves: no file, and an item of keyring 3.6.3.
    let home = fs::canonicalize(path.parent().unwrap()).unwrap();
    let hash = Sha256::digest(home.as_os_str().as_encoded_bytes());
    let user = format!("cli|{}", hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>());
    let item =
        ["service", "Codex Auth", "username", &user, "target", "default", "application", "rust-keyring"];
    let label = format!("--label={user}@Codex Auth:default (keyring v3.6.3)");
    secret_tool(&[["store", &label].as_slice(), &item].concat(), &original);
    let lookup = || -> Value {
        serde_json::from_str(&secret_tool(&[["lookup"].as_slice(), &item].concat(), "")).unwrap()
    };

    daemon.post("/v1/import", json!({"source": "codex", "path": path})).await;
    let external = lookup();
    assert_eq!(external["auth_mode"], "chatgptAuthTokens");
    assert_eq!(external["tokens"]["refresh_token"], "");
    assert_eq!(external["tokens"]["access_token"], current_token(&daemon, "default").await);
    assert!(!path.exists(), "Codex reads its item, so there must be no file");

    // The item follows a refresh after a restart, too.
    daemon.restart().await;
    daemon.post("/v1/profiles/default/refresh", json!({})).await;
    let fresh = current_token(&daemon, "default").await;
    while lookup()["tokens"]["access_token"] != fresh {
        tokio::task::yield_now().await;
    }
    // The export goes to the same item, and makes no second one.
    daemon.post("/v1/profiles/default/export", json!({"target": "codex", "path": path})).await;
    assert_ne!(lookup()["tokens"]["refresh_token"], "");
    let found = secret_tool(&["search", "--all", "service", "Codex Auth"], "");
    assert_eq!(found.matches("[/").count(), 1, "{found}");
    assert!(found.contains("keyring v3.6.3"), "the item is Codex's: {found}");
    assert!(daemon.get("/v1/profiles").await["profiles"].as_array().unwrap().is_empty());

    // Install supplies another login, and uninstall restores the item.
    daemon.sign_in("ours", "business").await;
    let before = lookup();
    let body = json!({"home": home});
    let installed = daemon.request("PUT", "/v1/profiles/ours/codex", &[], body.to_string()).await;
    assert_eq!(installed.json()["path"], json!(home), "{}", installed.text());
    assert_ne!(lookup(), before);
    daemon.request("DELETE", "/v1/profiles/ours/codex", &[], body.to_string()).await;
    assert_eq!(lookup(), before);
}
