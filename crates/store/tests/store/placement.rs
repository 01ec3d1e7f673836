//! The state directory and its owner, `store.json`, the index of an earlier authd, and migrations that a
//! crash interrupted. Migrations to and from a keychain that works are in `keyring`.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use authd_store::{Key, Kind, State, StateDir, StateDirError, StoreError, StorePreference, private};

use crate::support::{Place, names, private, save, text};

/// No keychain answers in this process.
fn no_keychain() -> bool {
    std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_none()
}

fn store_json(place: &Place) -> String {
    fs::read_to_string(place.path("store.json")).unwrap()
}

#[test]
fn a_state_directory_has_one_owner_whatever_happens_to_its_files() {
    let directory = private();
    let path = directory.path().join("state");
    let owner = StateDir::open(&path).unwrap();
    let clone = owner.clone();
    drop(owner);
    match StateDir::open(&path).unwrap_err() {
        error @ StateDirError::AlreadyOwned { holder, .. } => {
            assert_eq!(holder, Some(std::process::id()));
            assert!(error.to_string().contains(&format!("(process {})", std::process::id())), "{error}");
        }
        error => panic!("{error}"),
    }
    for entry in fs::read_dir(&path).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let refused = StateDir::open(&path).unwrap_err();
    assert!(matches!(refused, StateDirError::AlreadyOwned { holder: None, .. }), "{refused}");
    drop(clone);
    StateDir::open(&path).unwrap();
}

#[test]
fn a_removed_state_directory_is_made_and_locked_again_unless_another_process_was_faster() {
    let directory = private();
    let path = directory.path().join("state");
    let owner = StateDir::open(&path).unwrap();
    fs::remove_dir_all(&path).unwrap();
    owner.ensure().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(matches!(StateDir::open(&path), Err(StateDirError::AlreadyOwned { .. })));
    fs::rename(&path, directory.path().join("moved")).unwrap();
    let second = StateDir::open(&path).unwrap();
    let error = owner.ensure().unwrap_err().to_string();
    assert!(error.contains("another authd"), "{error}");
    second.ensure().unwrap();
    drop(second);
    owner.ensure().unwrap();
}

#[test]
fn an_open_state_directory_is_refused_and_temporary_files_are_removed() {
    let directory = private();
    let path = directory.path();
    fs::set_permissions(path, private::mode(0o755)).unwrap();
    let error = StateDir::open(path).unwrap_err();
    assert!(
        matches!(&error, StateDirError::Unsafe { detail, .. } if detail.contains("chmod 700")),
        "{error}"
    );
    fs::set_permissions(path, private::mode(0o700)).unwrap();
    for name in ["store.json", "store.key", "store.identity.age", "codex.json", "index.json"] {
        fs::write(path.join(format!(".{name}.tmp")), "left by a crash").unwrap();
    }
    let owner = StateDir::open(path).unwrap();
    let left: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["authd.pid"]);
    drop(owner);
    fs::write(path.join("file"), "").unwrap();
    let error = StateDir::open(path.join("file")).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
fn a_read_tells_absent_from_unreadable() {
    let directory = private();
    let path = directory.path().join("file");
    assert_eq!(private::read_bounded(&path, 4).unwrap(), None);
    fs::write(&path, "four").unwrap();
    assert_eq!(private::read_bounded(&path, 4).unwrap().as_deref(), Some(&b"four"[..]));
    let odd = directory.path().join("odd");
    std::os::unix::fs::symlink("nowhere", &odd).unwrap();
    for (path, max) in [(&path, 3), (&odd, 4), (&odd.join("below"), 4), (&path.join("below"), 4)] {
        let error = private::read_bounded(path, max).unwrap_err().to_string();
        assert!(error.contains(directory.path().to_str().unwrap()), "{error}");
    }
    let pipe = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(private::read_bounded(&pipe, 4).unwrap_err().to_string().contains("not a regular file"));
}

#[tokio::test]
async fn the_store_is_remembered_before_its_first_record_and_never_replaced() {
    let place = Place::new();
    let store = place.files();
    store.probe().await.unwrap();
    assert!(!place.path("store.json").exists(), "no record, nothing to remember");
    fs::create_dir(place.path(".store.json.tmp")).unwrap();
    assert!(store.save(&Key::profile("work"), "", "text".into()).await.is_err());
    assert!(!place.path("store/profile.work.age").exists());
    fs::remove_dir(place.path(".store.json.tmp")).unwrap();
    save(&store, "work", "text").await;
    assert_eq!(store_json(&place), r#"{"version":1,"kind":"file"}"#);

    let place = Place::new();
    fs::write(place.path("store.json"), r#"{"version":1,"kind":"keychain"}"#).unwrap();
    for preference in [StorePreference::Auto, StorePreference::File] {
        let store = place.store(preference);
        if no_keychain() {
            assert!(store.probe().await.is_err());
            assert!(store.list().await.is_err());
            assert!(store.save(&Key::profile("work"), "", "text".into()).await.is_err());
            assert_eq!(store.status().kind, Some(Kind::Keychain));
        }
    }
    assert!(!place.path("store").exists());
}

#[tokio::test]
async fn sealed_records_tell_the_store_if_nothing_else_does() {
    let place = Place::new();
    save(&place.files(), "work", "kept").await;
    fs::remove_file(place.path("store.json")).unwrap();
    for preference in [StorePreference::Auto, StorePreference::Memory, StorePreference::Keychain] {
        let store = place.store(preference);
        assert_eq!(text(&store, "work").await.as_deref(), Some("kept"));
        assert_eq!((store.status().kind, store.remembered()), (Some(Kind::File), Some(Kind::File)));
    }
}

#[tokio::test]
async fn an_unreadable_or_damaged_store_json_makes_the_store_unavailable_until_it_is_back() {
    for text in
        ["", "{", r#"{"version":1,"kind":"floppy"}"#, r#"{"version":2}"#, r#"{"version":1,"kind":"memory"}"#]
    {
        let place = Place::new();
        fs::write(place.path("store.json"), text).unwrap();
        let store = place.files();
        let error = store.save(&Key::profile("work"), "", "text".into()).await.unwrap_err().to_string();
        assert!(error.contains("store.json") && error.contains("\"kind\":\"file\""), "{error}");
        assert_eq!(store_json(&place), text, "it is left alone");
        assert!(!place.path("store").exists() && store.list().await.is_err());
    }
    let place = Place::new();
    save(&place.files(), "work", "kept").await;
    fs::rename(place.path("store.json"), place.path("aside")).unwrap();
    fs::create_dir(place.path("store.json")).unwrap();
    let store = place.files();
    assert!(store.probe().await.unwrap_err().to_string().contains("store.json"));
    assert_eq!(store.status().state, State::Unavailable);
    let task = tokio::spawn({
        let store = store.clone();
        async move { store.recover_loop().await }
    });
    fs::remove_dir(place.path("store.json")).unwrap();
    fs::rename(place.path("aside"), place.path("store.json")).unwrap();
    let mut status = store.watch();
    let ready = status.wait_for(|status| status.state == State::Ready);
    tokio::time::timeout(Duration::from_secs(10), ready).await.unwrap().unwrap();
    task.abort();
}

#[tokio::test]
async fn an_index_of_an_earlier_authd_is_taken_over() {
    let place = Place::new();
    save(&place.files(), "work", "kept").await;
    fs::remove_file(place.path("store.json")).unwrap();
    let index = r#"{"version":1,"store":"keychain","leaving":"file","generations":7,"handover":"x",
        "default":"work","discarded":["old"],"profiles":{"work":null}}"#;
    // One that cannot be read is no absence.
    fs::create_dir(place.path("index.json")).unwrap();
    let store = place.files();
    assert!(store.list().await.unwrap_err().to_string().contains("index.json"));
    fs::remove_dir(place.path("index.json")).unwrap();
    fs::write(place.path("index.json"), index).unwrap();
    drop(store.probe().await);
    let legacy = store.legacy_index().unwrap();
    assert_eq!((legacy.default.as_deref(), legacy.discarded), (Some("work"), names(&["old"])));
    assert_eq!(store_json(&place), r#"{"version":1,"kind":"keychain","other":"file"}"#);
    assert_eq!(store.remembered(), Some(Kind::Keychain));
    assert!(place.path("index.json").exists(), "it stays until its content is saved");
    store.remove_legacy_index().await.unwrap();
    assert!(store.legacy_index().is_none() && !place.path("index.json").exists());

    let place = Place::new();
    fs::write(place.path("index.json"), "{\"version\":1,\"prof").unwrap();
    let store = place.files();
    assert_eq!(store.probe().await.unwrap(), Kind::File);
    assert!(store.legacy_index().is_none() && place.path("index.json.damaged").exists());
}

#[tokio::test]
async fn a_finished_migration_deletes_the_copies_it_left() {
    let place = Place::new();
    save(&place.files(), "work", "a copy").await;
    fs::write(place.path("store/.profile.half.age.tmp"), "half").unwrap();
    fs::remove_file(place.path("store.key")).unwrap();
    fs::write(place.path("store.json"), r#"{"version":1,"kind":"keychain","other":"file"}"#).unwrap();
    // It needs neither the keychain nor the key.
    place.files().recover().await.unwrap();
    assert_eq!(place.names("store"), names(&[]));
    assert_eq!(store_json(&place), r#"{"version":1,"kind":"keychain"}"#);
}

#[tokio::test]
async fn copies_in_a_store_that_cannot_be_reached_are_tried_again() {
    if !no_keychain() {
        return;
    }
    let place = Place::new();
    save(&place.files(), "work", "kept").await;
    let left = r#"{"version":1,"kind":"file","other":"keychain"}"#;
    fs::write(place.path("store.json"), left).unwrap();
    let store = place.files();
    assert!(store.recover().await.is_err());
    assert_eq!(text(&store, "work").await.as_deref(), Some("kept"));
    assert_eq!(store.status().state, State::Ready, "the store in use works");
    assert_eq!(store_json(&place), left);
    let refused = store.migrate(Kind::Keychain).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert_eq!((store_json(&place).as_str(), store.status().kind), (left, Some(Kind::File)));
}

#[tokio::test]
async fn a_migration_from_memory_moves_everything_or_nothing() {
    let place = Place::new();
    let memory = place.store(StorePreference::Memory);
    for name in ["a", "b"] {
        save(&memory, name, name).await;
    }
    // A record of ours in the target.
    fs::create_dir(place.path("store")).unwrap();
    fs::set_permissions(place.path("store"), private::mode(0o700)).unwrap();
    fs::write(place.path("store/profile.b.age"), "theirs").unwrap();
    let refused = memory.migrate(Kind::File).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { detail } if detail.contains("profile.b")), "{refused}");
    assert_eq!(fs::read(place.path("store/profile.b.age")).unwrap(), b"theirs");
    fs::remove_file(place.path("store/profile.b.age")).unwrap();
    // A copy that the target does not take.
    save(&memory, "c", &"x".repeat(2 << 20)).await;
    let refused = memory.migrate(Kind::File).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { .. }), "{refused}");
    assert_eq!(place.names("store"), names(&[]), "no copy is left");
    memory.delete(&Key::profile("c")).await.unwrap();
    assert_eq!(memory.status().kind, Some(Kind::Memory));
    assert_eq!(memory.migrate(Kind::File).await.unwrap().records, 2);
    assert_eq!(memory.status().kind, Some(Kind::File));
    assert_eq!(store_json(&place), r#"{"version":1,"kind":"file"}"#);
    assert_eq!(text(&place.store(StorePreference::Memory), "b").await.as_deref(), Some("b"));
    assert!(matches!(memory.migrate(Kind::Memory).await, Err(StoreError::Refused { .. })));
}
