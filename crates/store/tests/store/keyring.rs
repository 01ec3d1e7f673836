//! Tests with a real gnome-keyring on its own D-Bus: the conformance suite, and a keyring that is
//! locked, hanging, stopped or without a default collection. Each test runs itself again inside a
//! session.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use authd_store::{Config, Key, Kind, ProfilePlace, State, Store, StoreError, StorePreference};
use rustix::process::Signal;
use secrecy::ExposeSecret;

use crate::support::{Fixture, conforms, names, private, save, text};

/// Set for a test that runs inside a session.
const IN_SESSION: &str = "AUTHD_TEST_IN_KEYRING_SESSION";

/// Runs a test of this file again, in a D-Bus session with its own home. Returns false in the
/// session.
fn has_run_in_session(test: &str) -> bool {
    if std::env::var_os(IN_SESSION).is_some() {
        return false;
    }
    let installed = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !installed("dbus-run-session") || !installed("gnome-keyring-daemon") {
        eprintln!("skipped: dbus-run-session or gnome-keyring-daemon is not installed");
        return true;
    }
    let home = private();
    let mut session = Command::new("dbus-run-session");
    session.arg("--").arg(std::env::current_exe().unwrap()).args([
        "--exact",
        &format!("keyring::{test}"),
        "--nocapture",
    ]);
    session.env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.path()).env(IN_SESSION, "1");
    for variable in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "DISPLAY", "WAYLAND_DISPLAY"] {
        session.env_remove(variable);
    }
    let output = session.output().unwrap();
    let output_text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output_text.contains("1 passed"), "{output_text}");
    true
}

/// Starts the keyring, or unlocks the one that runs.
fn unlock() {
    let mut daemon = Command::new("gnome-keyring-daemon");
    daemon
        .args(["--replace", "--unlock", "--components=secrets"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    let mut daemon = daemon.stderr(Stdio::null()).spawn().unwrap();
    daemon.stdin.take().unwrap().write_all(b"password").unwrap();
    assert!(daemon.wait().unwrap().success());
}

/// Calls the keyring over D-Bus.
fn call(method: &str, argument: &str) {
    let mut send = Command::new("dbus-send");
    send.args(["--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets"]);
    assert!(send.arg(method).arg(argument).stdout(Stdio::null()).status().unwrap().success());
}

/// Sends the keyring's process a signal.
fn signal(signal: Signal) {
    let found = Command::new("dbus-send")
        .args(["--session", "--print-reply=literal", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"])
        .args(["org.freedesktop.DBus.GetConnectionUnixProcessID", "string:org.freedesktop.secrets"])
        .output()
        .unwrap();
    let output_text = String::from_utf8(found.stdout).unwrap();
    let pid = output_text.split_whitespace().last().unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A keychain store with a short deadline.
fn keychain(fixture: &Fixture) -> Store {
    let config = Config { deadline: Duration::from_secs(1), ..fixture.config(StorePreference::Keychain) };
    Store::open(config, fixture.state_dir.clone())
}

fn lock() {
    call("org.freedesktop.Secret.Service.Lock", "array:objpath:/org/freedesktop/secrets/aliases/default");
}

async fn wait_until_recovered(store: &Store) {
    let recovering = tokio::spawn({
        let store = store.clone();
        async move { store.recover_loop().await }
    });
    let mut status = store.watch();
    let ready = status.wait_for(|status| status.state == State::Ready);
    tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap().unwrap();
    recovering.abort();
}

#[tokio::test]
async fn real_keyring_conforms_and_its_items_are_labelled() {
    if has_run_in_session("real_keyring_conforms_and_its_items_are_labelled") {
        return;
    }
    unlock();
    let fixture = Fixture::new();
    let store = fixture.store(StorePreference::Auto);
    conforms(&store, Kind::Keychain).await;
    let key = Key::profile("work");
    store.save(&key, "authd: profile work (old@example.com)", "old".into()).await.unwrap();
    store.save(&key, "authd: profile work (user@example.com)", "in the keyring".into()).await.unwrap();
    let mut tool = Command::new("secret-tool");
    if let Ok(output) = tool.args(["search", "--all", "service", "authd-test"]).output() {
        let output_text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output_text.contains("label = authd: profile work (user@example.com)"), "{output_text}");
        assert!(
            !output_text.contains("old@example.com"),
            "one item a profile, with its newest label: {output_text}"
        );
    }
    let again = fixture.store(StorePreference::File);
    assert_eq!(again.load(&key).await.unwrap().unwrap().expose_secret(), "in the keyring");
}

#[tokio::test]
async fn migration_to_files_and_back_moves_all_records() {
    if has_run_in_session("migration_to_files_and_back_moves_all_records") {
        return;
    }
    unlock();
    let fixture = Fixture::new();
    let store = keychain(&fixture);
    for n in 0..7 {
        save(&store, &format!("p{n}"), &format!("text {n}")).await;
    }
    let in_keychain = store.of_another_program("authd-test");
    store.set_profile_place(ProfilePlace::Fleet).await.unwrap();
    for to in [Kind::File, Kind::Keychain] {
        let report = store.migrate(to).await.unwrap();
        assert_eq!((report.records, report.left_behind), (7, None));
        assert_eq!((store.status().kind, store.remembered()), (Some(to), Some(to)));
        let json = std::fs::read_to_string(fixture.path("store.json")).unwrap();
        assert_eq!(json, format!(r#"{{"version":2,"kind":"{to}","profiles":"fleet"}}"#));
        for n in 0..7 {
            assert_eq!(text(&store, &format!("p{n}")).await.unwrap(), format!("text {n}"));
        }
        let left = in_keychain.list().await.unwrap().profiles.len() + fixture.names("store").len();
        assert_eq!(left, 7, "one copy of each");
    }
    assert_eq!(store.migrate(Kind::Keychain).await.unwrap().records, 0);
    // With a locked keyring the migration fails and moves nothing.
    lock();
    assert!(matches!(store.migrate(Kind::File).await, Err(StoreError::Locked { .. })));
    assert_eq!(store.remembered(), Some(Kind::Keychain));
}

#[tokio::test]
async fn migrations_and_a_rekey_carry_registered_clients_along() {
    if has_run_in_session("migrations_and_a_rekey_carry_registered_clients_along") {
        return;
    }
    unlock();
    let fixture = Fixture::new();
    let store = keychain(&fixture);
    let key = Key::client("0123456789abcdef");
    let labels = || {
        let found = Command::new("secret-tool").args(["search", "--all", "service", "authd-test"]).output();
        found.map(|output| String::from_utf8(output.stdout).unwrap())
    };
    store.save(&key, "authd: client at https://issuer.example", "registered".into()).await.unwrap();
    if let Ok(labels) = labels() {
        assert!(labels.contains("label = authd: client at https://issuer.example"), "{labels}");
    }
    for to in [Kind::File, Kind::Keychain] {
        assert_eq!(store.migrate(to).await.unwrap().records, 1);
        if to == Kind::File {
            assert_eq!(store.rekey().await.unwrap().records, 1);
        }
        assert_eq!(store.load(&key).await.unwrap().unwrap().expose_secret(), "registered");
        let listing = store.list().await.unwrap();
        assert_eq!((listing.clients, listing.codex), (vec![key.clone()], Vec::new()), "{to}");
    }
    // The issuer is in the record, which the store does not read.
    if let Ok(labels) = labels() {
        assert!(labels.contains("label = authd: registered client 0123456789abcdef"), "{labels}");
    }
}

#[tokio::test]
async fn migration_refuses_existing_and_damaged_records() {
    if has_run_in_session("migration_refuses_existing_and_damaged_records") {
        return;
    }
    unlock();
    let (theirs, ours) = (Fixture::new(), Fixture::new());
    save(&keychain(&theirs), "work", "theirs").await;
    let store = ours.files();
    save(&store, "work", "ours").await;
    let remembered = std::fs::read_to_string(ours.path("store.json")).unwrap();
    let refused = store.migrate(Kind::Keychain).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Refused { detail } if detail.contains("profile.work")),
        "{refused}"
    );
    assert_eq!(text(&keychain(&theirs), "work").await.as_deref(), Some("theirs"));
    keychain(&theirs).delete(&Key::profile("work")).await.unwrap();
    let path = ours.path("store/profile.work.age");
    let encrypted = std::fs::read(&path).unwrap();
    std::fs::write(&path, "damaged").unwrap();
    save(&store, "home", "ours").await;
    let refused = store.migrate(Kind::Keychain).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Damaged { key, .. } if key == "profile.work"), "{refused}");
    assert_eq!(keychain(&theirs).list().await.unwrap().profiles, names(&[]));
    assert_eq!(std::fs::read_to_string(ours.path("store.json")).unwrap(), remembered);
    std::fs::write(&path, encrypted).unwrap();
    assert_eq!(store.migrate(Kind::Keychain).await.unwrap().records, 2);
}

#[tokio::test]
async fn migration_interrupted_by_a_crash_is_rolled_back_or_finished() {
    if has_run_in_session("migration_interrupted_by_a_crash_is_rolled_back_or_finished") {
        return;
    }
    unlock();
    let fixture = Fixture::new();
    save(&fixture.files(), "work", "record").await;
    let in_keychain = fixture.files().of_another_program("authd-test");
    for (json, kind) in [
        (r#"{"version":1,"kind":"file","other":"keychain"}"#, Kind::File),
        (r#"{"version":1,"kind":"keychain","other":"file"}"#, Kind::Keychain),
    ] {
        save(&in_keychain, "work", "record").await;
        std::fs::write(fixture.path("store.json"), json).unwrap();
        let store = fixture.store(StorePreference::Auto);
        assert_eq!(text(&store, "work").await.as_deref(), Some("record"));
        wait_until_recovered(&store).await;
        let looping = tokio::spawn({
            let store = store.clone();
            async move { store.recover_loop().await }
        });
        let done = format!("{{\"version\":1,\"kind\":\"{kind}\"}}");
        while std::fs::read_to_string(fixture.path("store.json")).unwrap() != done {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        looping.abort();
        assert_eq!(text(&fixture.store(StorePreference::Auto), "work").await.as_deref(), Some("record"));
        let left = in_keychain.list().await.unwrap().profiles.len() + fixture.names("store").len();
        assert_eq!(left, 1);
    }
    // Copies of an earlier migration do not prevent a migration to the same store.
    save(&fixture.store(StorePreference::Auto), "work", "newer").await;
    std::fs::write(fixture.path("store.json"), r#"{"version":1,"kind":"keychain","other":"file"}"#).unwrap();
    std::fs::write(fixture.path("store/profile.work.age"), "leftover").unwrap();
    let store = fixture.store(StorePreference::Auto);
    assert_eq!(store.migrate(Kind::File).await.unwrap().records, 1);
    assert_eq!(text(&fixture.files(), "work").await.as_deref(), Some("newer"));
}

#[tokio::test]
async fn locked_keyring_is_reported_and_recovers_after_unlock() {
    if has_run_in_session("locked_keyring_is_reported_and_recovers_after_unlock") {
        return;
    }
    unlock();
    let fixture = Fixture::new();
    let (store, key) = (keychain(&fixture), Key::profile("work"));
    store.save(&key, "authd: profile work", "kept".into()).await.unwrap();
    lock();
    for error in [
        store.load(&key).await.unwrap_err(),
        store.list().await.unwrap_err(),
        store.save(&key, "authd: profile work", "newer".into()).await.unwrap_err(),
        store.probe().await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    }
    assert_eq!(store.status().state, State::Locked);
    unlock();
    wait_until_recovered(&store).await;
    assert_eq!(store.load(&key).await.unwrap().unwrap().expose_secret(), "kept");
}

#[tokio::test]
async fn hanging_keyring_costs_one_deadline_and_recovers() {
    if has_run_in_session("hanging_keyring_costs_one_deadline_and_recovers") {
        return;
    }
    unlock();
    let fixture = Fixture::new();
    let (store, key) = (keychain(&fixture), Key::profile("work"));
    store.save(&key, "authd: profile work", "kept".into()).await.unwrap();
    signal(Signal::STOP);
    let first = store.load(&key).await.unwrap_err().to_string();
    assert!(first.contains("did not answer within"), "{first}");
    // Calls behind a hanging call fail at once.
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..50 {
        let next = store.save(&key, "", "later".into()).await.unwrap_err().to_string();
        assert!(next.contains("has not answered for"), "{next}");
    }
    // A new state directory uses files instead.
    let other = Fixture::new();
    let config = Config { deadline: Duration::from_secs(1), ..other.config(StorePreference::Auto) };
    let files = Store::open(config, other.state_dir.clone());
    assert_eq!(files.probe().await.unwrap(), Kind::File);
    signal(Signal::CONT);
    wait_until_recovered(&store).await;
    assert_eq!(store.load(&key).await.unwrap().unwrap().expose_secret(), "kept");
}

#[tokio::test]
async fn files_replace_a_keyring_without_a_default_collection() {
    if has_run_in_session("files_replace_a_keyring_without_a_default_collection") {
        return;
    }
    let mut daemon = Command::new("gnome-keyring-daemon");
    daemon.args(["--start", "--components=secrets"]).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(daemon.status().unwrap().success());
    let fixture = Fixture::new();
    let error = keychain(&Fixture::new()).probe().await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable { detail } if detail.contains("default collection")),
        "{error}"
    );
    let store = fixture.store(StorePreference::Auto);
    assert_eq!(store.probe().await.unwrap(), Kind::File);
    let status = store.status();
    assert!(status.fallback.as_ref().is_some_and(|cause| cause.contains("default collection")), "{status:?}");
}

#[tokio::test]
async fn keyring_that_starts_later_is_found_without_a_restart() {
    if has_run_in_session("keyring_that_starts_later_is_found_without_a_restart") {
        return;
    }
    let fixture = Fixture::new();
    let store = keychain(&fixture);
    assert!(store.probe().await.is_err());
    unlock();
    wait_until_recovered(&store).await;
    store.save(&Key::profile("work"), "authd: profile work", "kept".into()).await.unwrap();
    signal(Signal::KILL);
    unlock();
    // The first call after the keyring's end may use the old connection; the next one reconnects.
    drop(store.load(&Key::profile("work")).await);
    wait_until_recovered(&store).await;
    assert_eq!(store.list().await.unwrap().profiles, names(&["work"]));
    assert!(store.load(&Key::profile("work")).await.unwrap().is_some());
}
