//! The state directory and its owner, `store.json`, the index of an earlier authd, and migrations
//! that a crash interrupted. `keyring` tests migrations to and from a working keychain.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use authd_store::{Key, Kind, State, StateDir, StateDirError, StoreError, StorePreference, private};

use secrecy::ExposeSecret;

use crate::support::{Fixture, names, private, save, text};

/// Whether this process has no keychain.
fn is_without_keychain() -> bool {
    std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_none()
}

fn store_json(fixture: &Fixture) -> String {
    fs::read_to_string(fixture.path("store.json")).unwrap()
}

#[test]
fn state_directory_has_one_owner_even_if_its_files_are_removed() {
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
    clone.name_socket(Path::new("/run/user/7/authd/authd.sock"));
    let named = StateDir::open(&path).unwrap_err().to_string();
    assert!(named.contains("with the socket /run/user/7/authd/authd.sock owns the logins"), "{named}");
    for entry in fs::read_dir(&path).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let refused = StateDir::open(&path).unwrap_err();
    assert!(matches!(refused, StateDirError::AlreadyOwned { holder: None, .. }), "{refused}");
    drop(clone);
    StateDir::open(&path).unwrap();
}

#[test]
fn removed_state_directory_is_created_and_locked_again_unless_another_process_owns_it() {
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
fn state_directory_open_to_others_is_refused_and_temporary_files_are_removed() {
    let directory = private();
    let path = directory.path();
    fs::set_permissions(path, private::mode(0o755)).unwrap();
    let error = StateDir::open(path).unwrap_err();
    assert!(
        matches!(&error, StateDirError::Unsafe { detail, .. } if detail.contains("chmod 700")),
        "{error}"
    );
    fs::set_permissions(path, private::mode(0o700)).unwrap();
    for name in [
        "store.json",
        "store.key",
        "store.identity.age",
        "codex.json",
        "shares.json",
        "providers.json",
        "index.json",
    ] {
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
fn read_distinguishes_absent_from_unreadable() {
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

#[test]
fn private_text_is_not_read_from_a_file_that_is_open_to_others() {
    let directory = private();
    let path = directory.path().join("secret");
    assert!(private::read_private(&path, 9).unwrap().is_none());
    fs::write(&path, "secret").unwrap();
    // A file of root may be readable for its group.
    let is_root = rustix::process::geteuid().is_root();
    for (mode, is_accepted) in
        [(0o600, true), (0o400, true), (0o640, is_root), (0o660, false), (0o604, false), (0o602, false)]
    {
        fs::set_permissions(&path, private::mode(mode)).unwrap();
        match private::read_private(&path, 9) {
            Ok(text) => assert!(is_accepted && text.unwrap().expose_secret() == "secret", "{mode:o}"),
            Err(error) => {
                let error = error.to_string();
                let remedy = format!("run: chmod {} {}", if is_root { 640 } else { 600 }, path.display());
                assert!(!is_accepted && error.contains(&remedy), "{mode:o} {error}");
            }
        }
    }
    fs::set_permissions(&path, private::mode(0o600)).unwrap();
    assert!(private::read_private(&path, 5).unwrap_err().to_string().contains("longer than 5 bytes"));
    fs::write(&path, [0xE4]).unwrap();
    assert!(private::read_private(&path, 9).unwrap_err().to_string().contains("not UTF-8"));
    if is_root {
        std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        let error = private::read_private(&path, 9).unwrap_err().to_string();
        assert!(error.contains("belongs to another user (uid 12345)"), "{error}");
    }
}

#[tokio::test]
async fn store_is_remembered_before_its_first_record_and_never_replaced() {
    let fixture = Fixture::new();
    let store = fixture.files();
    store.probe().await.unwrap();
    assert!(!fixture.path("store.json").exists(), "nothing is remembered without a record");
    fs::create_dir(fixture.path(".store.json.tmp")).unwrap();
    assert!(store.save(&Key::profile("work"), "", "text".into()).await.is_err());
    assert!(!fixture.path("store/profile.work.age").exists());
    fs::remove_dir(fixture.path(".store.json.tmp")).unwrap();
    save(&store, "work", "text").await;
    assert_eq!(store_json(&fixture), r#"{"version":1,"kind":"file"}"#);

    let fixture = Fixture::new();
    fs::write(fixture.path("store.json"), r#"{"version":1,"kind":"keychain"}"#).unwrap();
    for preference in [StorePreference::Auto, StorePreference::File] {
        let store = fixture.store(preference);
        if is_without_keychain() {
            assert!(store.probe().await.is_err());
            assert!(store.list().await.is_err());
            assert!(store.save(&Key::profile("work"), "", "text".into()).await.is_err());
            assert_eq!(store.status().kind, Some(Kind::Keychain));
        }
    }
    assert!(!fixture.path("store").exists());
}

#[tokio::test]
async fn encrypted_records_imply_the_file_store() {
    let fixture = Fixture::new();
    save(&fixture.files(), "work", "kept").await;
    fs::remove_file(fixture.path("store.json")).unwrap();
    for preference in [StorePreference::Auto, StorePreference::Memory, StorePreference::Keychain] {
        let store = fixture.store(preference);
        assert_eq!(text(&store, "work").await.as_deref(), Some("kept"));
        assert_eq!((store.status().kind, store.remembered()), (Some(Kind::File), Some(Kind::File)));
    }
}

#[tokio::test]
async fn unreadable_or_damaged_store_json_makes_the_store_unavailable_until_restored() {
    for text in
        ["", "{", r#"{"version":1,"kind":"floppy"}"#, r#"{"version":2}"#, r#"{"version":1,"kind":"memory"}"#]
    {
        let fixture = Fixture::new();
        fs::write(fixture.path("store.json"), text).unwrap();
        let store = fixture.files();
        let error = store.save(&Key::profile("work"), "", "text".into()).await.unwrap_err().to_string();
        assert!(error.contains("store.json") && error.contains("\"kind\":\"file\""), "{error}");
        assert_eq!(store_json(&fixture), text, "the file is not changed");
        assert!(!fixture.path("store").exists() && store.list().await.is_err());
    }
    let fixture = Fixture::new();
    save(&fixture.files(), "work", "kept").await;
    fs::rename(fixture.path("store.json"), fixture.path("aside")).unwrap();
    fs::create_dir(fixture.path("store.json")).unwrap();
    let store = fixture.files();
    assert!(store.probe().await.unwrap_err().to_string().contains("store.json"));
    assert_eq!(store.status().state, State::Unavailable);
    let task = tokio::spawn({
        let store = store.clone();
        async move { store.recover_loop().await }
    });
    fs::remove_dir(fixture.path("store.json")).unwrap();
    fs::rename(fixture.path("aside"), fixture.path("store.json")).unwrap();
    let mut status = store.watch();
    let ready = status.wait_for(|status| status.state == State::Ready);
    tokio::time::timeout(Duration::from_secs(10), ready).await.unwrap().unwrap();
    task.abort();
}

#[tokio::test]
async fn index_of_an_earlier_authd_is_imported() {
    let fixture = Fixture::new();
    save(&fixture.files(), "work", "kept").await;
    fs::remove_file(fixture.path("store.json")).unwrap();
    let index = r#"{"version":1,"store":"keychain","leaving":"file","generations":7,"handover":"x",
        "default":"work","discarded":["old"],"profiles":{"work":null}}"#;
    // An unreadable index does not count as absent.
    fs::create_dir(fixture.path("index.json")).unwrap();
    let store = fixture.files();
    assert!(store.list().await.unwrap_err().to_string().contains("index.json"));
    fs::remove_dir(fixture.path("index.json")).unwrap();
    fs::write(fixture.path("index.json"), index).unwrap();
    drop(store.probe().await);
    let legacy = store.legacy_index().unwrap();
    assert_eq!((legacy.default.as_deref(), legacy.discarded), (Some("work"), names(&["old"])));
    assert_eq!(store_json(&fixture), r#"{"version":1,"kind":"keychain","other":"file"}"#);
    assert_eq!(store.remembered(), Some(Kind::Keychain));
    assert!(fixture.path("index.json").exists(), "the index stays until its content is saved");
    store.remove_legacy_index().await.unwrap();
    assert!(store.legacy_index().is_none() && !fixture.path("index.json").exists());

    let fixture = Fixture::new();
    fs::write(fixture.path("index.json"), "{\"version\":1,\"prof").unwrap();
    let store = fixture.files();
    assert_eq!(store.probe().await.unwrap(), Kind::File);
    assert!(store.legacy_index().is_none() && fixture.path("index.json.damaged").exists());
}

#[tokio::test]
async fn recovery_deletes_copies_of_a_finished_migration() {
    let fixture = Fixture::new();
    save(&fixture.files(), "work", "a copy").await;
    fs::write(fixture.path("store/.profile.half.age.tmp"), "half").unwrap();
    fs::remove_file(fixture.path("store.key")).unwrap();
    fs::write(fixture.path("store.json"), r#"{"version":1,"kind":"keychain","other":"file"}"#).unwrap();
    // The deletion needs neither the keychain nor the key.
    fixture.files().recover().await.unwrap();
    assert_eq!(fixture.names("store"), names(&[]));
    assert_eq!(store_json(&fixture), r#"{"version":1,"kind":"keychain"}"#);
}

#[tokio::test]
async fn only_a_store_without_a_configured_kind_falls_back_to_files() {
    if !is_without_keychain() {
        return;
    }
    let fixture = Fixture::new();
    let configured = fixture.store(StorePreference::Keychain);
    assert!(configured.probe().await.is_err());
    assert_eq!((configured.status().kind, configured.status().fallback), (Some(Kind::Keychain), None));
    drop(configured);
    let automatic = fixture.store(StorePreference::Auto);
    assert_eq!(automatic.probe().await, Ok(Kind::File));
    let status = automatic.status();
    let cause = status.fallback.unwrap();
    assert!(!cause.is_empty() && !status.detail.contains(&cause), "{}: {cause}", status.detail);
    // The cause of the first start is remembered with the choice.
    save(&automatic, "work", "kept").await;
    drop(automatic);
    let restarted = fixture.store(StorePreference::Auto);
    assert_eq!(restarted.probe().await, Ok(Kind::File));
    assert_eq!(restarted.status().fallback, Some(cause));
    drop(restarted);
    let configured = fixture.store(StorePreference::Keychain);
    assert_eq!(configured.probe().await, Ok(Kind::File));
    assert!(configured.status().fallback.is_some_and(|cause| cause.contains("names the keychain")));
    drop(configured);
    let chosen = fixture.store(StorePreference::File);
    assert_eq!(chosen.probe().await, Ok(Kind::File));
    assert_eq!(chosen.status().fallback, None);
}

#[tokio::test]
async fn copies_in_an_unreachable_store_are_deleted_later() {
    if !is_without_keychain() {
        return;
    }
    let fixture = Fixture::new();
    save(&fixture.files(), "work", "kept").await;
    let left = r#"{"version":1,"kind":"file","other":"keychain"}"#;
    fs::write(fixture.path("store.json"), left).unwrap();
    let store = fixture.files();
    assert!(store.recover().await.is_err());
    assert_eq!(text(&store, "work").await.as_deref(), Some("kept"));
    assert_eq!(store.status().state, State::Ready, "the store in use still works");
    assert_eq!(store_json(&fixture), left);
    let refused = store.migrate(Kind::Keychain).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert_eq!((store_json(&fixture).as_str(), store.status().kind), (left, Some(Kind::File)));
}

#[tokio::test]
async fn migration_from_memory_is_all_or_nothing() {
    let fixture = Fixture::new();
    let memory = fixture.store(StorePreference::Memory);
    for name in ["a", "b"] {
        save(&memory, name, name).await;
    }
    // The target contains a record.
    fs::create_dir(fixture.path("store")).unwrap();
    fs::set_permissions(fixture.path("store"), private::mode(0o700)).unwrap();
    fs::write(fixture.path("store/profile.b.age"), "theirs").unwrap();
    let refused = memory.migrate(Kind::File).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { detail } if detail.contains("profile.b")), "{refused}");
    assert_eq!(fs::read(fixture.path("store/profile.b.age")).unwrap(), b"theirs");
    fs::remove_file(fixture.path("store/profile.b.age")).unwrap();
    // The target rejects a copy.
    save(&memory, "c", &"x".repeat(2 << 20)).await;
    let refused = memory.migrate(Kind::File).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Refused { .. }), "{refused}");
    assert_eq!(fixture.names("store"), names(&[]), "no copy is left");
    memory.delete(&Key::profile("c")).await.unwrap();
    assert_eq!(memory.status().kind, Some(Kind::Memory));
    assert_eq!(memory.migrate(Kind::File).await.unwrap().records, 2);
    assert_eq!(memory.status().kind, Some(Kind::File));
    assert_eq!(store_json(&fixture), r#"{"version":1,"kind":"file"}"#);
    assert_eq!(text(&fixture.store(StorePreference::Memory), "b").await.as_deref(), Some("b"));
    assert!(matches!(memory.migrate(Kind::Memory).await, Err(StoreError::Refused { .. })));
}
