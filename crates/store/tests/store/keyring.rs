//! A real gnome-keyring on a D-Bus of its own: the suite that every store passes, and the keyring locked,
//! hanging, without a default collection, and gone. Each test starts itself again inside a session.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use authd_store::{Config, Key, Kind, State, Store, StoreError, StorePreference};
use rustix::process::Signal;
use secrecy::ExposeSecret;

use crate::support::{Place, conforms, names, private, save, text};

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
    session.arg("--").arg(std::env::current_exe().unwrap()).args([
        "--exact",
        &format!("keyring::{test}"),
        "--nocapture",
    ]);
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

/// A store that asks for the keychain, with a short deadline.
fn keychain(place: &Place) -> Store {
    let config = Config { deadline: Duration::from_secs(1), ..place.config(StorePreference::Keychain) };
    Store::open(config, place.state_dir.clone())
}

fn lock() {
    call("org.freedesktop.Secret.Service.Lock", "array:objpath:/org/freedesktop/secrets/aliases/default");
}

async fn recovered(store: &Store) {
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
async fn a_real_keyring_conforms_and_its_items_are_labelled() {
    if outside("a_real_keyring_conforms_and_its_items_are_labelled") {
        return;
    }
    unlock();
    let place = Place::new();
    let store = place.store(StorePreference::Auto);
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
    let again = place.store(StorePreference::File);
    assert_eq!(again.load(&key).await.unwrap().unwrap().expose_secret(), "in the keyring");
}

#[tokio::test]
async fn everything_moves_to_files_and_back_and_nothing_is_left() {
    if outside("everything_moves_to_files_and_back_and_nothing_is_left") {
        return;
    }
    unlock();
    let place = Place::new();
    let store = keychain(&place);
    for n in 0..7 {
        save(&store, &format!("p{n}"), &format!("text {n}")).await;
    }
    let in_keychain = store.of_another_program("authd-test");
    for to in [Kind::File, Kind::Keychain] {
        let report = store.migrate(to).await.unwrap();
        assert_eq!((report.records, report.left_behind), (7, None));
        assert_eq!((store.status().kind, store.remembered()), (Some(to), Some(to)));
        for n in 0..7 {
            assert_eq!(text(&store, &format!("p{n}")).await.unwrap(), format!("text {n}"));
        }
        let left = in_keychain.list().await.unwrap().profiles.len() + place.names("store").len();
        assert_eq!(left, 7, "one copy of each");
    }
    assert_eq!(store.migrate(Kind::Keychain).await.unwrap().records, 0);
    // A locked keyring keeps what it has: nothing can be read, so nothing is moved.
    lock();
    assert!(matches!(store.migrate(Kind::File).await, Err(StoreError::Locked { .. })));
    assert_eq!(store.remembered(), Some(Kind::Keychain));
}

#[tokio::test]
async fn a_migration_overwrites_nothing_and_moves_nothing_that_is_damaged() {
    if outside("a_migration_overwrites_nothing_and_moves_nothing_that_is_damaged") {
        return;
    }
    unlock();
    let (theirs, ours) = (Place::new(), Place::new());
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
    let sealed = std::fs::read(&path).unwrap();
    std::fs::write(&path, "damaged").unwrap();
    save(&store, "home", "ours").await;
    let refused = store.migrate(Kind::Keychain).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Damaged { key, .. } if key == "profile.work"), "{refused}");
    assert_eq!(keychain(&theirs).list().await.unwrap().profiles, names(&[]));
    assert_eq!(std::fs::read_to_string(ours.path("store.json")).unwrap(), remembered);
    std::fs::write(&path, sealed).unwrap();
    assert_eq!(store.migrate(Kind::Keychain).await.unwrap().records, 2);
}

#[tokio::test]
async fn a_migration_that_a_crash_interrupted_is_rolled_back_or_finished() {
    if outside("a_migration_that_a_crash_interrupted_is_rolled_back_or_finished") {
        return;
    }
    unlock();
    let place = Place::new();
    save(&place.files(), "work", "record").await;
    let in_keychain = place.files().of_another_program("authd-test");
    for (json, kind) in [
        (r#"{"version":1,"kind":"file","other":"keychain"}"#, Kind::File),
        (r#"{"version":1,"kind":"keychain","other":"file"}"#, Kind::Keychain),
    ] {
        save(&in_keychain, "work", "record").await;
        std::fs::write(place.path("store.json"), json).unwrap();
        let store = place.store(StorePreference::Auto);
        assert_eq!(text(&store, "work").await.as_deref(), Some("record"));
        recovered(&store).await;
        let looping = tokio::spawn({
            let store = store.clone();
            async move { store.recover_loop().await }
        });
        let done = format!("{{\"version\":1,\"kind\":\"{kind}\"}}");
        while std::fs::read_to_string(place.path("store.json")).unwrap() != done {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        looping.abort();
        assert_eq!(text(&place.store(StorePreference::Auto), "work").await.as_deref(), Some("record"));
        let left = in_keychain.list().await.unwrap().profiles.len() + place.names("store").len();
        assert_eq!(left, 1);
    }
    // Leftovers of an earlier migration do not keep the next one from the same store.
    save(&place.store(StorePreference::Auto), "work", "newer").await;
    std::fs::write(place.path("store.json"), r#"{"version":1,"kind":"keychain","other":"file"}"#).unwrap();
    std::fs::write(place.path("store/profile.work.age"), "leftover").unwrap();
    let store = place.store(StorePreference::Auto);
    assert_eq!(store.migrate(Kind::File).await.unwrap().records, 1);
    assert_eq!(text(&place.files(), "work").await.as_deref(), Some("newer"));
}

#[tokio::test]
async fn a_locked_keyring_is_told_as_such_and_recovers_when_it_is_unlocked() {
    if outside("a_locked_keyring_is_told_as_such_and_recovers_when_it_is_unlocked") {
        return;
    }
    unlock();
    let place = Place::new();
    let (store, key) = (keychain(&place), Key::profile("work"));
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
    recovered(&store).await;
    assert_eq!(store.load(&key).await.unwrap().unwrap().expose_secret(), "kept");
}

#[tokio::test]
async fn a_keyring_that_hangs_costs_one_deadline_and_recovers() {
    if outside("a_keyring_that_hangs_costs_one_deadline_and_recovers") {
        return;
    }
    unlock();
    let place = Place::new();
    let (store, key) = (keychain(&place), Key::profile("work"));
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
    // A new state directory does without it.
    let other = Place::new();
    let config = Config { deadline: Duration::from_secs(1), ..other.config(StorePreference::Auto) };
    let files = Store::open(config, other.state_dir.clone());
    assert_eq!(files.probe().await.unwrap(), Kind::File);
    signal(Signal::CONT);
    recovered(&store).await;
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
    let place = Place::new();
    let error = keychain(&Place::new()).probe().await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable { detail } if detail.contains("default collection")),
        "{error}"
    );
    let store = place.store(StorePreference::Auto);
    assert_eq!(store.probe().await.unwrap(), Kind::File);
    assert!(store.status().detail.contains("default collection"), "{:?}", store.status());
}

#[tokio::test]
async fn a_keyring_that_comes_up_later_is_found_without_a_restart() {
    if outside("a_keyring_that_comes_up_later_is_found_without_a_restart") {
        return;
    }
    let place = Place::new();
    let store = keychain(&place);
    assert!(store.probe().await.is_err());
    unlock();
    recovered(&store).await;
    store.save(&Key::profile("work"), "authd: profile work", "kept".into()).await.unwrap();
    signal(Signal::KILL);
    unlock();
    // The first call after the keyring's death may meet the old connection; then it is made anew.
    drop(store.load(&Key::profile("work")).await);
    recovered(&store).await;
    assert_eq!(store.list().await.unwrap().profiles, names(&["work"]));
    assert!(store.load(&Key::profile("work")).await.unwrap().is_some());
}
