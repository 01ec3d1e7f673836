//! A real gnome-keyring on a D-Bus of its own: the suite that every store passes, and the keyring locked,
//! hanging, without a default collection, and gone. Each test starts itself again inside a session.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests panic where they cannot go on, and say what they skip"
)]

mod support;

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use authd_store::{Config, Key, Kind, State, Store, StoreError, Wish};
use rustix::process::Signal;
use secrecy::ExposeSecret;
use support::{config, conforms, private};

/// Set for the copy of a test that runs inside a session.
const INSIDE: &str = "AUTHD_TEST_INSIDE_A_KEYRING_SESSION";

/// Runs a test of this file again, inside a D-Bus session with a home of its own. False inside.
fn outside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let installed = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !installed("dbus-run-session") || !installed("gnome-keyring-daemon") {
        eprintln!("skipped: dbus-run-session or gnome-keyring-daemon is not installed");
        return true;
    }
    let home = private();
    let mut session = Command::new("dbus-run-session");
    session.arg("--").arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    session.env("HOME", home.path()).env("XDG_RUNTIME_DIR", home.path()).env(INSIDE, "1");
    for variable in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "DISPLAY", "WAYLAND_DISPLAY"] {
        session.env_remove(variable);
    }
    let output = session.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("1 passed"), "{told}");
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
    let told = String::from_utf8(found.stdout).unwrap();
    let pid = told.split_whitespace().last().unwrap().parse().unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// A store that remembers the keychain, and is not patient.
fn keychain(directory: &tempfile::TempDir) -> Store {
    let config = Config { deadline: Duration::from_secs(1), ..config(directory.path(), Wish::Auto) };
    Store::open(config, Some(Kind::Keychain))
}

async fn healed(store: &Store) {
    let healing = tokio::spawn({
        let store = store.clone();
        async move { store.heal().await }
    });
    let mut status = store.watch();
    let ready = status.wait_for(|status| status.state == State::Ready);
    tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap().unwrap();
    healing.abort();
}

#[tokio::test]
async fn a_real_keyring_conforms_and_its_items_are_labelled() {
    if outside("a_real_keyring_conforms_and_its_items_are_labelled") {
        return;
    }
    unlock();
    let directory = private();
    let store = Store::open(config(directory.path(), Wish::Auto), None);
    conforms(&store, Kind::Keychain).await;
    let key = Key::profile("work");
    store.save(&key, "authd: profile work (old@example.com)", "old".into()).await.unwrap();
    store.save(&key, "authd: profile work (user@example.com)", "in the keyring".into()).await.unwrap();
    let mut tool = Command::new("secret-tool");
    if let Ok(output) = tool.args(["search", "--all", "service", "authd-test"]).output() {
        let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("label = authd: profile work (user@example.com)"), "{told}");
        assert!(!told.contains("old@example.com"), "one item a profile, with its newest label: {told}");
    }
    let again = Store::open(config(directory.path(), Wish::Keychain), Some(Kind::Keychain));
    assert_eq!(again.load(&key).await.unwrap().unwrap().expose_secret(), "in the keyring");
}

#[tokio::test]
async fn everything_moves_to_files_and_back_and_nothing_is_left() {
    if outside("everything_moves_to_files_and_back_and_nothing_is_left") {
        return;
    }
    unlock();
    let directory = private();
    let store = keychain(&directory);
    let keys: Vec<Key> = (0..7).map(|n| Key::profile(&format!("p{n}"))).collect();
    for key in &keys {
        store.save(key, "authd: a profile", key.to_string().into()).await.unwrap();
    }
    let unwritable = store.migrate(Kind::File, || Err(std::io::Error::other("no room"))).await.unwrap_err();
    assert!(unwritable.to_string().contains("nothing is moved"), "{unwritable}");
    assert_eq!(store.status().kind, Some(Kind::Keychain));
    assert_eq!(std::fs::read_dir(directory.path().join("store")).unwrap().count(), 0, "no copy is left");
    for (to, other) in [(Kind::File, Wish::Keychain), (Kind::Keychain, Wish::File)] {
        let moved = store.migrate(to, || Ok(())).await.unwrap();
        assert_eq!((moved.records, moved.left_behind), (7, None));
        assert_eq!(store.status().kind, Some(to));
        for key in &keys {
            assert_eq!(store.load(key).await.unwrap().unwrap().expose_secret(), key.to_string());
        }
        let left = Store::open(config(directory.path(), other), None).list().await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }
    assert_eq!(store.migrate(Kind::Keychain, || Ok(())).await.unwrap().records, 0);
    // A locked keyring keeps what it has: nothing can be read, so nothing is moved.
    call("org.freedesktop.Secret.Service.Lock", "array:objpath:/org/freedesktop/secrets/aliases/default");
    assert!(matches!(store.migrate(Kind::File, || Ok(())).await, Err(StoreError::Locked { .. })));
}

#[tokio::test]
async fn a_locked_keyring_is_told_as_such_and_heals_when_it_is_unlocked() {
    if outside("a_locked_keyring_is_told_as_such_and_heals_when_it_is_unlocked") {
        return;
    }
    unlock();
    let directory = private();
    let (store, key) = (keychain(&directory), Key::profile("work"));
    store.save(&key, "authd: profile work", "kept".into()).await.unwrap();
    call("org.freedesktop.Secret.Service.Lock", "array:objpath:/org/freedesktop/secrets/aliases/default");
    for error in [
        store.load(&key).await.unwrap_err(),
        store.save(&key, "authd: profile work", "newer".into()).await.unwrap_err(),
        store.probe().await.unwrap_err(),
    ] {
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    }
    assert_eq!(store.status().state, State::Locked);
    unlock();
    healed(&store).await;
    assert_eq!(store.load(&key).await.unwrap().unwrap().expose_secret(), "kept");
}

#[tokio::test]
async fn a_keyring_that_hangs_costs_one_deadline_and_heals() {
    if outside("a_keyring_that_hangs_costs_one_deadline_and_heals") {
        return;
    }
    unlock();
    let directory = private();
    let (store, key) = (keychain(&directory), Key::profile("work"));
    store.save(&key, "authd: profile work", "kept".into()).await.unwrap();
    signal(Signal::STOP);
    let first = store.load(&key).await.unwrap_err().to_string();
    assert!(first.contains("did not answer within"), "{first}");
    // Nobody queues up behind a call that hangs.
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..50 {
        let next = store.save(&key, "", "later".into()).await.unwrap_err().to_string();
        assert!(next.contains("has not answered for"), "{next}");
    }
    signal(Signal::CONT);
    healed(&store).await;
    assert_eq!(store.load(&key).await.unwrap().unwrap().expose_secret(), "kept");
}

#[tokio::test]
async fn a_keyring_without_a_default_collection_is_no_store_and_files_are_used_instead() {
    if outside("a_keyring_without_a_default_collection_is_no_store_and_files_are_used_instead") {
        return;
    }
    let mut daemon = Command::new("gnome-keyring-daemon");
    daemon.args(["--start", "--components=secrets"]).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(daemon.status().unwrap().success());
    let directory = private();
    let error = keychain(&directory).probe().await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable { detail } if detail.contains("default collection")),
        "{error}"
    );
    let store = Store::open(config(directory.path(), Wish::Auto), None);
    assert_eq!(store.probe().await.unwrap(), Kind::File);
    assert!(store.status().detail.contains("default collection"), "{:?}", store.status());
}

#[tokio::test]
async fn a_keyring_that_comes_up_later_is_found_without_a_restart() {
    if outside("a_keyring_that_comes_up_later_is_found_without_a_restart") {
        return;
    }
    let directory = private();
    let store = keychain(&directory);
    assert!(store.probe().await.is_err());
    unlock();
    healed(&store).await;
    store.save(&Key::profile("work"), "authd: profile work", "kept".into()).await.unwrap();
    signal(Signal::KILL);
    unlock();
    // The first call after the keyring's death may meet the old connection; then it is made anew.
    drop(store.load(&Key::profile("work")).await);
    healed(&store).await;
    assert!(store.load(&Key::profile("work")).await.unwrap().is_some());
}
