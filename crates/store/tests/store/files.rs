//! age-encrypted files: keys, rekeys, and the state after a crash or a failed write.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use authd_store::{Key, RekeyReport, State, Store, StoreError, StorePreference};
use secrecy::ExposeSecret;

use crate::support::{Fixture, names, save, text};

fn identities(fixture: &Fixture) -> usize {
    let key = fs::read_to_string(fixture.path("store.key")).unwrap();
    key.lines().filter(|line| line.starts_with("AGE-SECRET-KEY")).count()
}

fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable { detail }) => detail,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn standard_age_tool_decrypts_the_files() {
    let fixture = Fixture::new();
    save(&fixture.files(), "work", "plain text").await;
    let mut age = Command::new("age");
    age.arg("-d").arg("-i").arg(fixture.path("store.key"));
    match age.arg(fixture.path("store/profile.work.age")).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "plain text", "{output:?}"),
        Err(_) => eprintln!("skipped: age is not installed"),
    }
}

#[tokio::test]
async fn passphrase_or_systemd_credential_decrypts_and_a_wrong_one_does_not() {
    let fixture = Fixture::new();
    let passphrase = fixture.path("passphrase");
    fs::write(&passphrase, "correct horse\n").unwrap();
    let with = |path: &Path| {
        let mut config = fixture.config(StorePreference::File);
        config.key.passphrase_file = Some(path.to_path_buf());
        Store::open(config, fixture.state_dir.clone())
    };
    let key = Key::profile("work");
    with(&passphrase).save(&key, "", "encrypted".into()).await.unwrap();
    assert_eq!(with(&passphrase).load(&key).await.unwrap().unwrap().expose_secret(), "encrypted");
    fs::write(&passphrase, "wrong horse").unwrap();
    assert!(matches!(with(&passphrase).load(&key).await, Err(StoreError::Locked { .. })));
    let credentials = fixture.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("authd-key"), "correct horse").unwrap();
    let mut config = fixture.config(StorePreference::File);
    config.key.passphrase_file = Some(passphrase.clone());
    config.key.credentials_directory = Some(credentials);
    assert_eq!(
        Store::open(config, fixture.state_dir.clone()).load(&key).await.unwrap().unwrap().expose_secret(),
        "encrypted"
    );
    assert!(!fixture.path("store.key").exists());
}

#[tokio::test]
async fn rekey_encrypts_all_records_and_the_old_key_decrypts_none() {
    for (with_passphrase, name) in [(false, "store.key"), (true, "store.identity.age")] {
        let fixture = Fixture::new();
        fs::write(fixture.path("passphrase"), "correct horse").unwrap();
        let open = || {
            let mut config = fixture.config(StorePreference::File);
            config.key.passphrase_file = with_passphrase.then(|| fixture.path("passphrase"));
            Store::open(config, fixture.state_dir.clone())
        };
        let store = open();
        for n in 0..5 {
            save(&store, &format!("p{n}"), &format!("text {n}")).await;
        }
        let encrypted = fs::read(fixture.path("store/profile.p0.age")).unwrap();
        let old_key = fs::read(fixture.path(name)).unwrap();
        assert_eq!(store.rekey().await.unwrap(), RekeyReport { records: 5, damaged: Vec::new() });
        assert_ne!(fs::read(fixture.path(name)).unwrap(), old_key);
        for n in 0..5 {
            assert_eq!(text(&open(), &format!("p{n}")).await.unwrap(), format!("text {n}"));
        }
        fs::write(fixture.path("store/profile.p0.age"), encrypted).unwrap();
        let old = open().load(&Key::profile("p0")).await.unwrap_err();
        assert!(matches!(old, StoreError::Damaged { .. }), "the old key still decrypts: {old}");
    }
    let memory = Fixture::new().store(StorePreference::Memory);
    assert!(matches!(memory.rekey().await, Err(StoreError::Refused { .. })));
}

#[tokio::test]
async fn recovery_finishes_an_interrupted_rekey() {
    let fixture = Fixture::new();
    for name in ["first", "second"] {
        save(&fixture.files(), name, "kept").await;
    }
    let old_key = fs::read_to_string(fixture.path("store.key")).unwrap();
    let old_file = fs::read(fixture.path("store/profile.second.age")).unwrap();
    fixture.files().rekey().await.unwrap();
    // The state after a crash: the files are encrypted with different keys, and both keys exist.
    let new_key = fs::read_to_string(fixture.path("store.key")).unwrap();
    fs::write(fixture.path("store.key"), new_key + &old_key).unwrap();
    fs::write(fixture.path("store/profile.second.age"), old_file).unwrap();
    let store = fixture.files();
    for name in ["first", "second"] {
        assert_eq!(text(&store, name).await.as_deref(), Some("kept"));
    }
    store.recover().await.unwrap();
    assert_eq!(identities(&fixture), 1);
    for name in ["first", "second"] {
        assert_eq!(text(&fixture.files(), name).await.as_deref(), Some("kept"));
    }
}

#[tokio::test]
async fn rekey_skips_a_damaged_record() {
    let fixture = Fixture::new();
    let store = fixture.files();
    for name in ["good", "bad"] {
        save(&store, name, "kept").await;
    }
    fs::write(fixture.path("store/profile.bad.age"), "damaged").unwrap();
    for _ in 0..2 {
        let report = store.rekey().await.unwrap();
        assert_eq!(report, RekeyReport { records: 1, damaged: names(&["profile.bad"]) });
        assert_eq!(identities(&fixture), 1);
    }
    // While a record cannot be read, the old key stays, and retries add no key.
    fs::remove_file(fixture.path("store/profile.bad.age")).unwrap();
    fs::create_dir(fixture.path("store/profile.bad.age")).unwrap();
    for _ in 0..3 {
        assert!(unavailable(store.rekey().await).contains("profile.bad.age"));
        assert_eq!(identities(&fixture), 2);
    }
    fs::remove_dir(fixture.path("store/profile.bad.age")).unwrap();
    store.recover().await.unwrap();
    assert_eq!((identities(&fixture), text(&fixture.files(), "good").await.as_deref()), (1, Some("kept")));
}

#[tokio::test]
async fn rekey_fails_if_the_new_key_cannot_be_written() {
    let fixture = Fixture::new();
    let store = fixture.files();
    save(&store, "before", "kept").await;
    // A directory at the path of the key's temporary file makes the write fail.
    let blocked = fixture.path(".store.key.tmp");
    fs::create_dir(&blocked).unwrap();
    assert!(unavailable(store.rekey().await).contains(".store.key.tmp"));
    save(&store, "after", "kept").await;
    fs::remove_dir(&blocked).unwrap();
    for _ in 0..2 {
        for name in ["before", "after"] {
            assert_eq!(text(&fixture.files(), name).await.as_deref(), Some("kept"), "{name}");
        }
        store.rekey().await.unwrap();
    }
}

#[tokio::test]
async fn complete_interrupted_save_replaces_the_record() {
    let fixture = Fixture::new();
    let (path, temporary) =
        (fixture.path("store/profile.work.age"), fixture.path("store/.profile.work.age.tmp"));
    save(&fixture.files(), "work", "newer").await;
    let newer = fs::read(&path).unwrap();
    save(&fixture.files(), "work", "older").await;
    for length in [0, 10, 100, newer.len() - 1] {
        fs::write(&temporary, &newer[..length]).unwrap();
        assert_eq!(text(&fixture.files(), "work").await.as_deref(), Some("older"), "{length}: incomplete");
        assert!(!temporary.exists());
    }
    fs::write(&temporary, vec![0; newer.len()]).unwrap();
    assert_eq!(text(&fixture.files(), "work").await.as_deref(), Some("older"));
    fs::write(&temporary, &newer).unwrap();
    assert_eq!(text(&fixture.files(), "work").await.as_deref(), Some("newer"));
    fs::write(&temporary, &newer).unwrap();
    fixture.files().delete(&Key::profile("work")).await.unwrap();
    assert!(text(&fixture.files(), "work").await.is_none() && !temporary.exists(), "deleted for good");
    // The first save of a record, interrupted before its rename.
    fs::write(&temporary, &newer).unwrap();
    assert_eq!(fixture.files().list().await.unwrap().profiles, names(&["work"]));
    assert_eq!(fixture.names("store"), names(&["profile.work.age"]));
    assert_eq!(text(&fixture.files(), "work").await.as_deref(), Some("newer"));
    // If the temporary file cannot be read, neither it nor the record counts as absent.
    fs::create_dir(&temporary).unwrap();
    for result in
        [fixture.files().list().await.map(drop), fixture.files().load(&Key::profile("work")).await.map(drop)]
    {
        assert!(unavailable(result).contains(".profile.work.age.tmp"));
    }
}

#[tokio::test]
async fn interrupted_save_for_another_key_is_kept_and_listed() {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    save(&other.files(), "work", "encrypted elsewhere").await;
    save(&fixture.files(), "home", "ours").await;
    let temporary = fixture.path("store/.profile.work.age.tmp");
    fs::copy(other.path("store/profile.work.age"), &temporary).unwrap();
    let listing = fixture.files().list().await.unwrap();
    assert_eq!((listing.profiles, listing.unknown), (names(&["home"]), names(&[".profile.work.age.tmp"])));
    let load = fixture.files().load(&Key::profile("work")).await;
    assert!(matches!(load, Err(StoreError::Damaged { .. })), "{load:?}");
    assert!(temporary.exists());
}

#[tokio::test]
async fn failed_save_keeps_the_old_record_and_can_be_repeated() {
    let fixture = Fixture::new();
    let store = fixture.files();
    save(&store, "work", "old").await;
    let blocked = fixture.path("store/.profile.work.age.tmp");
    fs::create_dir(&blocked).unwrap();
    let failed = store.save(&Key::profile("work"), "", "new".into()).await;
    assert!(unavailable(failed).contains(".profile.work.age.tmp"));
    assert_eq!(store.status().state, State::Unavailable);
    fs::remove_dir(&blocked).unwrap();
    assert_eq!(text(&store, "work").await.as_deref(), Some("old"));
    assert_eq!(store.status().state, State::Ready, "the first success publishes the state");
    save(&store, "work", "new").await;
    assert_eq!(text(&fixture.files(), "work").await.as_deref(), Some("new"));
}

#[tokio::test]
async fn no_key_is_created_while_records_or_an_unreadable_key_exist() {
    let fixture = Fixture::new();
    save(&fixture.files(), "work", "kept").await;
    let (key, aside) = (fixture.path("store.key"), fixture.path("aside"));
    let all_fail = async |why: &str| {
        let store = fixture.files();
        for result in [
            store.probe().await.map(drop),
            store.load(&Key::profile("work")).await.map(drop),
            store.save(&Key::profile("new"), "", "text".into()).await,
            store.rekey().await.map(drop),
        ] {
            assert!(unavailable(result).contains("store.key"), "{why}");
        }
        assert_eq!(store.list().await.unwrap().profiles, names(&["work"]), "{why}");
        store
    };
    fs::rename(&key, &aside).unwrap();
    let waiting_store = all_fail("missing").await;
    symlink(fixture.path("nowhere"), &key).unwrap();
    all_fail("a dangling symbolic link").await;
    assert!(key.is_symlink());
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    all_fail("a directory").await;
    fs::remove_dir(&key).unwrap();
    fs::write(&key, "").unwrap();
    all_fail("empty").await;
    fs::rename(&aside, &key).unwrap();
    assert_eq!(
        text(&waiting_store, "work").await.as_deref(),
        Some("kept"),
        "the store recovers without a restart"
    );

    // Without records a dangling symbolic link still does not count as an absent key.
    let fixture = Fixture::new();
    symlink(fixture.path("nowhere"), fixture.path("store.key")).unwrap();
    assert!(unavailable(fixture.files().probe().await).contains("symbolic link"));
    assert!(!fixture.path("nowhere").exists());
}

#[tokio::test]
async fn missing_configured_key_is_an_error() {
    let fixture = Fixture::new();
    let with = |passphrase: Option<&str>, credentials: Option<&str>| {
        let mut config = fixture.config(StorePreference::File);
        config.key.passphrase_file = passphrase.map(|name| fixture.path(name));
        config.key.credentials_directory = credentials.map(|name| fixture.path(name));
        Store::open(config, fixture.state_dir.clone())
    };
    assert!(unavailable(with(Some("passphrase"), None).probe().await).contains("passphrase"));
    assert!(!fixture.path("store.key").exists() && !fixture.path("store.identity.age").exists());
    // A directory at the credential's path does not count as an absent credential.
    fs::create_dir_all(fixture.path("credentials/authd-key")).unwrap();
    assert!(unavailable(with(None, Some("credentials")).probe().await).contains("authd-key"));
    fs::remove_dir(fixture.path("credentials/authd-key")).unwrap();
    save(&with(None, Some("credentials")), "work", "kept").await;
    // A passphrase does not replace store.key while records are encrypted with that.
    fs::write(fixture.path("passphrase"), "correct horse").unwrap();
    assert!(unavailable(with(Some("passphrase"), None).probe().await).contains("store.identity.age"));
    assert!(!fixture.path("store.identity.age").exists());
}

#[tokio::test]
async fn save_restores_removed_directories_and_a_removed_key() {
    let fixture = Fixture::new();
    let store = fixture.files();
    save(&store, "work", "first").await;
    for removed in ["store", "store.key", "store.json", ""] {
        match fs::remove_dir_all(fixture.path(removed)) {
            Ok(()) => {}
            Err(_) => fs::remove_file(fixture.path(removed)).unwrap(),
        }
        save(&store, "work", removed).await;
        assert_eq!(text(&fixture.files(), "work").await.as_deref(), Some(removed), "after a restart");
        assert_eq!(fixture.files().remembered(), None);
        let read = fixture.files();
        read.list().await.unwrap();
        assert!(read.remembered().is_some() && fixture.path("store.json").exists());
    }
}

#[tokio::test]
async fn unreadable_directory_is_not_empty() {
    let fixture = Fixture::new();
    let store = fixture.files();
    save(&store, "work", "kept").await;
    fs::rename(fixture.path("store"), fixture.path("elsewhere")).unwrap();
    symlink(fixture.path("nowhere"), fixture.path("store")).unwrap();
    assert!(unavailable(store.list().await).contains("symbolic link"));
    assert!(unavailable(store.load(&Key::profile("work")).await).contains("symbolic link"));
    fs::remove_file(fixture.path("store")).unwrap();
    fs::write(fixture.path("store"), "not a directory").unwrap();
    assert!(unavailable(store.list().await).contains("store"));
    assert!(store.delete(&Key::profile("work")).await.is_err());
    fs::remove_file(fixture.path("store")).unwrap();
    fs::rename(fixture.path("elsewhere"), fixture.path("store")).unwrap();
    assert_eq!(store.list().await.unwrap().profiles, names(&["work"]));
}

#[tokio::test]
async fn damaged_file_is_not_changed() {
    let fixture = Fixture::new();
    let store = fixture.files();
    save(&store, "work", "text").await;
    let path = fixture.path("store/profile.work.age");
    let mut encrypted = fs::read(&path).unwrap();
    *encrypted.last_mut().unwrap() ^= 1;
    fs::write(&path, &encrypted).unwrap();
    let error = store.load(&Key::profile("work")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { detail, .. } if detail.contains("profile.work.age")));
    assert_eq!(fs::read(&path).unwrap(), encrypted);
    assert_eq!(store.status().state, State::Ready, "one damaged record does not change the status");
}
