//! One suite for every kind of store: memory, age-encrypted files, and a real gnome-keyring on a D-Bus
//! of its own. And stores that are locked, slow, lying, failing or absent.
#![expect(clippy::unwrap_used, reason = "tests panic where they cannot go on")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use authd_store::{Config, Key, KeySource, Kind, State, Store, StoreError, Wish};
use secrecy::ExposeSecret;

fn config(directory: &Path, kind: Wish) -> Config {
    Config {
        kind,
        state_dir: directory.to_path_buf(),
        service: "authd-test".to_owned(),
        key: KeySource {
            credentials_directory: None,
            passphrase_file: None,
            key_file: directory.join("store.key"),
        },
        deadline: Duration::from_secs(20),
        memory_control: Some(directory.join("mood")),
    }
}

fn private() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

/// What every store does.
async fn conforms(store: &Store, kind: Kind) {
    assert_eq!(store.probe().await.unwrap(), kind);
    assert_eq!(store.status().state, State::Ready);
    let (work, home, login) = (Key::profile("work"), Key::profile("home.2"), Key::login("lg_x-Y_1"));
    assert!(store.load(&work).await.unwrap().is_none());
    store.delete(&work).await.unwrap();
    // As long as a real record, and with every kind of letter.
    let long = format!("{{\"text\":\"{}\",\"odd\":\"ä\\u0000 \\n 漢\"}}", "x".repeat(12_000));
    for (key, text) in [(&work, long.as_str()), (&home, "{}"), (&login, "sealed")] {
        store.save(key, "authd: a label", text.into()).await.unwrap();
        assert_eq!(store.load(key).await.unwrap().unwrap().expose_secret(), text);
    }
    store.save(&work, "authd: another label", "second".into()).await.unwrap();
    assert_eq!(store.load(&work).await.unwrap().unwrap().expose_secret(), "second");
    let mut keys = store.list().await.unwrap();
    keys.sort();
    assert_eq!(keys, [home.clone(), work.clone(), login.clone()]);
    for key in [&work, &home, &login] {
        store.delete(key).await.unwrap();
        assert!(store.load(key).await.unwrap().is_none());
    }
    assert!(store.list().await.unwrap().is_empty());
}

#[tokio::test]
async fn memory_conforms() {
    let directory = private();
    conforms(&Store::open(config(directory.path(), Wish::Memory), None), Kind::Memory).await;
}

#[tokio::test]
async fn files_conform_and_are_private_and_survive() {
    let directory = private();
    let store = Store::open(config(directory.path(), Wish::File), None);
    conforms(&store, Kind::File).await;
    let key = Key::profile("work");
    store.save(&key, "", "kept".into()).await.unwrap();
    for (path, mode) in [("store", 0o700), ("store.key", 0o600), ("store/profile.work.age", 0o600)] {
        let found = fs::metadata(directory.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path}");
    }
    fs::write(directory.path().join("store/notes.txt"), "not ours").unwrap();
    fs::write(directory.path().join("store/.profile.work.age.tmp"), "left by a crash").unwrap();
    let next = Store::open(config(directory.path(), Wish::File), Some(Kind::File));
    assert_eq!(next.load(&key).await.unwrap().unwrap().expose_secret(), "kept");
    assert_eq!(next.list().await.unwrap(), std::slice::from_ref(&key));
    next.save(&key, "", "again".into()).await.unwrap();
    let sealed = fs::read(directory.path().join("store/profile.work.age")).unwrap();
    assert!(
        sealed.starts_with(b"age-encryption.org/v1") && !sealed.windows(5).any(|window| window == b"again")
    );
}

#[tokio::test]
async fn files_open_with_the_stock_age_tool() {
    let directory = private();
    let store = Store::open(config(directory.path(), Wish::File), None);
    store.save(&Key::profile("work"), "", "plain text".into()).await.unwrap();
    let mut age = Command::new("age");
    age.arg("-d").arg("-i").arg(directory.path().join("store.key"));
    match age.arg(directory.path().join("store/profile.work.age")).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "plain text", "{output:?}"),
        Err(_) => eprintln!("skipped: the age tool is not installed"),
    }
}

#[tokio::test]
async fn a_passphrase_or_a_systemd_credential_opens_the_files_and_a_wrong_one_does_not() {
    let directory = private();
    let passphrase = directory.path().join("passphrase");
    fs::write(&passphrase, "correct horse\n").unwrap();
    let with = |path: &Path| {
        let mut config = config(directory.path(), Wish::File);
        config.key.passphrase_file = Some(path.to_path_buf());
        Store::open(config, None)
    };
    let key = Key::profile("work");
    with(&passphrase).save(&key, "", "sealed".into()).await.unwrap();
    assert_eq!(with(&passphrase).load(&key).await.unwrap().unwrap().expose_secret(), "sealed");
    fs::write(&passphrase, "wrong horse").unwrap();
    assert!(matches!(with(&passphrase).load(&key).await, Err(StoreError::Locked { .. })));
    let credentials = directory.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("authd-key"), "correct horse").unwrap();
    let mut config = config(directory.path(), Wish::File);
    config.key.passphrase_file = Some(passphrase.clone());
    config.key.credentials_directory = Some(credentials);
    assert_eq!(Store::open(config, None).load(&key).await.unwrap().unwrap().expose_secret(), "sealed");
    assert!(!directory.path().join("store.key").exists());
}

#[tokio::test]
async fn a_damaged_file_and_an_open_directory_are_refused_and_left_alone() {
    let directory = private();
    let store = Store::open(config(directory.path(), Wish::File), None);
    let key = Key::profile("work");
    store.save(&key, "", "text".into()).await.unwrap();
    let path = directory.path().join("store/profile.work.age");
    let mut sealed = fs::read(&path).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    fs::write(&path, &sealed).unwrap();
    assert!(matches!(store.load(&key).await, Err(StoreError::Damaged { .. })));
    assert_eq!(fs::read(&path).unwrap(), sealed);
    assert_eq!(store.status().state, State::Ready, "one damaged record says nothing of the store");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let error =
        Store::open(config(directory.path(), Wish::File), None).probe().await.unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[tokio::test]
async fn a_bad_store_is_told_apart_and_heals_without_a_restart() {
    let directory = private();
    let mood = directory.path().join("mood");
    let mut config = config(directory.path(), Wish::Memory);
    config.deadline = Duration::from_millis(300);
    let store = Store::open(config, None);
    let key = Key::profile("work");
    for (word, state) in [
        ("locked", State::Locked),
        ("unavailable", State::Unavailable),
        ("lie", State::Unavailable),
        ("fail-save", State::Unavailable),
        ("hang", State::Unavailable),
    ] {
        fs::write(&mood, word).unwrap();
        let error = store.save(&key, "", "text".into()).await.expect_err(word);
        assert_eq!(store.status().state, state, "{word}: {error}");
        assert_eq!(matches!(error, StoreError::Locked { .. }), state == State::Locked, "{word}");
        let told = store.status().detail;
        match word {
            "lie" => assert!(told.contains("something else than was written"), "{told}"),
            "hang" => assert!(told.contains("did not answer within"), "{told}"),
            _ => {}
        }
    }
    let healing = store.clone();
    let task = tokio::spawn(async move { healing.heal().await });
    fs::write(&mood, "well").unwrap();
    let mut status = store.watch();
    let healed = status.wait_for(|status| status.state == State::Ready);
    tokio::time::timeout(Duration::from_secs(30), healed).await.unwrap().unwrap();
    task.abort();
    store.save(&key, "", "text".into()).await.unwrap();
}

#[tokio::test]
async fn the_remembered_store_is_never_replaced_by_another() {
    let directory = private();
    // There is no keychain in this process: its bus is nowhere.
    let store = Store::open(config(directory.path(), Wish::Auto), Some(Kind::Keychain));
    if std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_none() {
        assert!(store.probe().await.is_err());
        assert!(store.save(&Key::profile("work"), "", "text".into()).await.is_err());
    }
    assert_eq!(store.status().kind, Some(Kind::Keychain));
    assert!(!directory.path().join("store").exists());
}

/// Set for the copy of this test that runs inside a D-Bus session with a keyring.
const INSIDE: &str = "AUTHD_TEST_INSIDE_A_KEYRING_SESSION";

#[tokio::test]
async fn a_real_gnome_keyring_conforms() {
    if std::env::var_os(INSIDE).is_some() {
        return inside_a_keyring_session().await;
    }
    let installed = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !installed("dbus-run-session") || !installed("gnome-keyring-daemon") {
        eprintln!("skipped: dbus-run-session or gnome-keyring-daemon is not installed");
        return;
    }
    let home = private();
    let script = "printf password | gnome-keyring-daemon --unlock --components=secrets >/dev/null && \
                  exec \"$0\" --exact a_real_gnome_keyring_conforms --nocapture";
    let mut session = Command::new("dbus-run-session");
    session.args(["--", "sh", "-c", script]).arg(std::env::current_exe().unwrap());
    session.env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.path()).env(INSIDE, "1");
    for variable in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "DISPLAY"] {
        session.env_remove(variable);
    }
    let output = session.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
}

async fn inside_a_keyring_session() {
    let directory = private();
    let store = Store::open(config(directory.path(), Wish::Auto), None);
    conforms(&store, Kind::Keychain).await;
    let key = Key::profile("work");
    store.save(&key, "authd: profile work (user@example.com)", "in the keyring".into()).await.unwrap();
    let mut tool = Command::new("secret-tool");
    if let Ok(output) = tool.args(["search", "service", "authd-test"]).output() {
        let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("label = authd: profile work (user@example.com)"), "{told}");
    }
    let again = Store::open(config(directory.path(), Wish::Keychain), Some(Kind::Keychain));
    assert_eq!(again.load(&key).await.unwrap().unwrap().expose_secret(), "in the keyring");
}
