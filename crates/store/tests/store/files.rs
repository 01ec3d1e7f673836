//! age-encrypted files: their keys, changes of the key, and what a crash or a failing disk leaves.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use authd_store::{Key, RekeyReport, State, Store, StoreError, StorePreference};
use secrecy::ExposeSecret;

use crate::support::{Place, names, save, text};

fn identities(place: &Place) -> usize {
    let key = fs::read_to_string(place.path("store.key")).unwrap();
    key.lines().filter(|line| line.starts_with("AGE-SECRET-KEY")).count()
}

fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable { detail }) => detail,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn files_open_with_the_stock_age_tool() {
    let place = Place::new();
    save(&place.files(), "work", "plain text").await;
    let mut age = Command::new("age");
    age.arg("-d").arg("-i").arg(place.path("store.key"));
    match age.arg(place.path("store/profile.work.age")).output() {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "plain text", "{output:?}"),
        Err(_) => eprintln!("skipped: the age tool is not installed"),
    }
}

#[tokio::test]
async fn a_passphrase_or_a_systemd_credential_opens_the_files_and_a_wrong_one_does_not() {
    let place = Place::new();
    let passphrase = place.path("passphrase");
    fs::write(&passphrase, "correct horse\n").unwrap();
    let with = |path: &Path| {
        let mut config = place.config(StorePreference::File);
        config.key.passphrase_file = Some(path.to_path_buf());
        Store::open(config, place.state_dir.clone())
    };
    let key = Key::profile("work");
    with(&passphrase).save(&key, "", "sealed".into()).await.unwrap();
    assert_eq!(with(&passphrase).load(&key).await.unwrap().unwrap().expose_secret(), "sealed");
    fs::write(&passphrase, "wrong horse").unwrap();
    assert!(matches!(with(&passphrase).load(&key).await, Err(StoreError::Locked { .. })));
    let credentials = place.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("authd-key"), "correct horse").unwrap();
    let mut config = place.config(StorePreference::File);
    config.key.passphrase_file = Some(passphrase.clone());
    config.key.credentials_directory = Some(credentials);
    assert_eq!(
        Store::open(config, place.state_dir.clone()).load(&key).await.unwrap().unwrap().expose_secret(),
        "sealed"
    );
    assert!(!place.path("store.key").exists());
}

#[tokio::test]
async fn a_new_key_seals_everything_and_the_old_one_opens_nothing() {
    for (with_passphrase, name) in [(false, "store.key"), (true, "store.identity.age")] {
        let place = Place::new();
        fs::write(place.path("passphrase"), "correct horse").unwrap();
        let open = || {
            let mut config = place.config(StorePreference::File);
            config.key.passphrase_file = with_passphrase.then(|| place.path("passphrase"));
            Store::open(config, place.state_dir.clone())
        };
        let store = open();
        for n in 0..5 {
            save(&store, &format!("p{n}"), &format!("text {n}")).await;
        }
        let sealed = fs::read(place.path("store/profile.p0.age")).unwrap();
        let old_key = fs::read(place.path(name)).unwrap();
        assert_eq!(store.rekey().await.unwrap(), RekeyReport { records: 5, damaged: Vec::new() });
        assert_ne!(fs::read(place.path(name)).unwrap(), old_key);
        for n in 0..5 {
            assert_eq!(text(&open(), &format!("p{n}")).await.unwrap(), format!("text {n}"));
        }
        fs::write(place.path("store/profile.p0.age"), sealed).unwrap();
        let old = open().load(&Key::profile("p0")).await.unwrap_err();
        assert!(matches!(old, StoreError::Damaged { .. }), "the old key is gone: {old}");
    }
    let memory = Place::new().store(StorePreference::Memory);
    assert!(matches!(memory.rekey().await, Err(StoreError::Refused { .. })));
}

#[tokio::test]
async fn an_interrupted_change_of_the_key_is_finished_by_recovery() {
    let place = Place::new();
    for name in ["first", "second"] {
        save(&place.files(), name, "kept").await;
    }
    let old_key = fs::read_to_string(place.path("store.key")).unwrap();
    let old_file = fs::read(place.path("store/profile.second.age")).unwrap();
    place.files().rekey().await.unwrap();
    // A crash in the middle: one file is sealed with the new key, the other is not, and both keys are there.
    let new_key = fs::read_to_string(place.path("store.key")).unwrap();
    fs::write(place.path("store.key"), new_key + &old_key).unwrap();
    fs::write(place.path("store/profile.second.age"), old_file).unwrap();
    let store = place.files();
    for name in ["first", "second"] {
        assert_eq!(text(&store, name).await.as_deref(), Some("kept"));
    }
    store.recover().await.unwrap();
    assert_eq!(identities(&place), 1);
    for name in ["first", "second"] {
        assert_eq!(text(&place.files(), name).await.as_deref(), Some("kept"));
    }
}

#[tokio::test]
async fn a_damaged_record_does_not_keep_the_key_from_changing() {
    let place = Place::new();
    let store = place.files();
    for name in ["good", "bad"] {
        save(&store, name, "kept").await;
    }
    fs::write(place.path("store/profile.bad.age"), "damaged").unwrap();
    for _ in 0..2 {
        let report = store.rekey().await.unwrap();
        assert_eq!(report, RekeyReport { records: 1, damaged: names(&["profile.bad"]) });
        assert_eq!(identities(&place), 1);
    }
    // A record that cannot be read at the moment keeps the old key, and no try adds one.
    fs::remove_file(place.path("store/profile.bad.age")).unwrap();
    fs::create_dir(place.path("store/profile.bad.age")).unwrap();
    for _ in 0..3 {
        assert!(unavailable(store.rekey().await).contains("profile.bad.age"));
        assert_eq!(identities(&place), 2);
    }
    fs::remove_dir(place.path("store/profile.bad.age")).unwrap();
    store.recover().await.unwrap();
    assert_eq!((identities(&place), text(&place.files(), "good").await.as_deref()), (1, Some("kept")));
}

#[tokio::test]
async fn a_new_key_that_cannot_be_written_seals_nothing() {
    let place = Place::new();
    let store = place.files();
    save(&store, "before", "kept").await;
    // A directory in place of the temporary file of the key keeps it from being written.
    let blocked = place.path(".store.key.tmp");
    fs::create_dir(&blocked).unwrap();
    assert!(unavailable(store.rekey().await).contains(".store.key.tmp"));
    save(&store, "after", "kept").await;
    fs::remove_dir(&blocked).unwrap();
    for _ in 0..2 {
        for name in ["before", "after"] {
            assert_eq!(text(&place.files(), name).await.as_deref(), Some("kept"), "{name}");
        }
        store.rekey().await.unwrap();
    }
}

#[tokio::test]
async fn an_interrupted_save_counts_if_it_is_complete() {
    let place = Place::new();
    let (path, temporary) = (place.path("store/profile.work.age"), place.path("store/.profile.work.age.tmp"));
    save(&place.files(), "work", "newer").await;
    let newer = fs::read(&path).unwrap();
    save(&place.files(), "work", "older").await;
    for length in [0, 10, 100, newer.len() - 1] {
        fs::write(&temporary, &newer[..length]).unwrap();
        assert_eq!(text(&place.files(), "work").await.as_deref(), Some("older"), "{length}: incomplete");
        assert!(!temporary.exists());
    }
    fs::write(&temporary, vec![0; newer.len()]).unwrap();
    assert_eq!(text(&place.files(), "work").await.as_deref(), Some("older"));
    fs::write(&temporary, &newer).unwrap();
    assert_eq!(text(&place.files(), "work").await.as_deref(), Some("newer"));
    fs::write(&temporary, &newer).unwrap();
    place.files().delete(&Key::profile("work")).await.unwrap();
    assert!(text(&place.files(), "work").await.is_none() && !temporary.exists(), "deleted for good");
    // The first save of a record, interrupted before its rename.
    fs::write(&temporary, &newer).unwrap();
    assert_eq!(place.files().list().await.unwrap().profiles, names(&["work"]));
    assert_eq!(place.names("store"), names(&["profile.work.age"]));
    assert_eq!(text(&place.files(), "work").await.as_deref(), Some("newer"));
    // A temporary file that cannot be read is no absence, neither of it nor of the record.
    fs::create_dir(&temporary).unwrap();
    for result in
        [place.files().list().await.map(drop), place.files().load(&Key::profile("work")).await.map(drop)]
    {
        assert!(unavailable(result).contains(".profile.work.age.tmp"));
    }
}

#[tokio::test]
async fn an_interrupted_save_for_another_key_is_kept_and_told() {
    let (place, other) = (Place::new(), Place::new());
    save(&other.files(), "work", "sealed elsewhere").await;
    save(&place.files(), "home", "ours").await;
    let temporary = place.path("store/.profile.work.age.tmp");
    fs::copy(other.path("store/profile.work.age"), &temporary).unwrap();
    let listing = place.files().list().await.unwrap();
    assert_eq!((listing.profiles, listing.unknown), (names(&["home"]), names(&[".profile.work.age.tmp"])));
    let load = place.files().load(&Key::profile("work")).await;
    assert!(matches!(load, Err(StoreError::Damaged { .. })), "{load:?}");
    assert!(temporary.exists());
}

#[tokio::test]
async fn a_failed_save_leaves_the_old_record_and_can_be_repeated() {
    let place = Place::new();
    let store = place.files();
    save(&store, "work", "old").await;
    let blocked = place.path("store/.profile.work.age.tmp");
    fs::create_dir(&blocked).unwrap();
    let failed = store.save(&Key::profile("work"), "", "new".into()).await;
    assert!(unavailable(failed).contains(".profile.work.age.tmp"));
    assert_eq!(store.status().state, State::Unavailable);
    fs::remove_dir(&blocked).unwrap();
    assert_eq!(text(&store, "work").await.as_deref(), Some("old"));
    assert_eq!(store.status().state, State::Ready, "the first success is published");
    save(&store, "work", "new").await;
    assert_eq!(text(&place.files(), "work").await.as_deref(), Some("new"));
}

#[tokio::test]
async fn no_key_is_made_while_records_or_an_unreadable_key_exist() {
    let place = Place::new();
    save(&place.files(), "work", "kept").await;
    let (key, aside) = (place.path("store.key"), place.path("aside"));
    let all_fail = async |why: &str| {
        let store = place.files();
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
    let waiting = all_fail("missing").await;
    symlink(place.path("nowhere"), &key).unwrap();
    all_fail("a symbolic link to nothing").await;
    assert!(key.is_symlink());
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    all_fail("a directory").await;
    fs::remove_dir(&key).unwrap();
    fs::write(&key, "").unwrap();
    all_fail("empty").await;
    fs::rename(&aside, &key).unwrap();
    assert_eq!(text(&waiting, "work").await.as_deref(), Some("kept"), "it heals without a restart");

    // Without any record: an absent key is made, a symbolic link to nothing is left alone.
    let place = Place::new();
    symlink(place.path("nowhere"), place.path("store.key")).unwrap();
    assert!(unavailable(place.files().probe().await).contains("symbolic link"));
    assert!(!place.path("nowhere").exists());
}

#[tokio::test]
async fn a_configured_key_that_is_missing_is_an_error() {
    let place = Place::new();
    let with = |passphrase: Option<&str>, credentials: Option<&str>| {
        let mut config = place.config(StorePreference::File);
        config.key.passphrase_file = passphrase.map(|name| place.path(name));
        config.key.credentials_directory = credentials.map(|name| place.path(name));
        Store::open(config, place.state_dir.clone())
    };
    assert!(unavailable(with(Some("passphrase"), None).probe().await).contains("passphrase"));
    assert!(!place.path("store.key").exists() && !place.path("store.identity.age").exists());
    // A directory in place of the credential is no absence of it.
    fs::create_dir_all(place.path("credentials/authd-key")).unwrap();
    assert!(unavailable(with(None, Some("credentials")).probe().await).contains("authd-key"));
    fs::remove_dir(place.path("credentials/authd-key")).unwrap();
    save(&with(None, Some("credentials")), "work", "kept").await;
    // Records that were sealed with store.key are not opened by a passphrase.
    fs::write(place.path("passphrase"), "correct horse").unwrap();
    assert!(unavailable(with(Some("passphrase"), None).probe().await).contains("store.identity.age"));
    assert!(!place.path("store.identity.age").exists());
}

#[tokio::test]
async fn removed_directories_and_a_removed_key_are_written_again_before_a_save() {
    let place = Place::new();
    let store = place.files();
    save(&store, "work", "first").await;
    for gone in ["store", "store.key", "store.json", ""] {
        match fs::remove_dir_all(place.path(gone)) {
            Ok(()) => {}
            Err(_) => fs::remove_file(place.path(gone)).unwrap(),
        }
        save(&store, "work", gone).await;
        assert_eq!(text(&place.files(), "work").await.as_deref(), Some(gone), "after a restart");
        assert_eq!(place.files().remembered(), None);
        let read = place.files();
        read.list().await.unwrap();
        assert!(read.remembered().is_some() && place.path("store.json").exists());
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_read_is_not_empty() {
    let place = Place::new();
    let store = place.files();
    save(&store, "work", "kept").await;
    fs::rename(place.path("store"), place.path("elsewhere")).unwrap();
    symlink(place.path("nowhere"), place.path("store")).unwrap();
    assert!(unavailable(store.list().await).contains("symbolic link"));
    assert!(unavailable(store.load(&Key::profile("work")).await).contains("symbolic link"));
    fs::remove_file(place.path("store")).unwrap();
    fs::write(place.path("store"), "not a directory").unwrap();
    assert!(unavailable(store.list().await).contains("store"));
    assert!(store.delete(&Key::profile("work")).await.is_err());
    fs::remove_file(place.path("store")).unwrap();
    fs::rename(place.path("elsewhere"), place.path("store")).unwrap();
    assert_eq!(store.list().await.unwrap().profiles, names(&["work"]));
}

#[tokio::test]
async fn a_damaged_file_is_left_alone() {
    let place = Place::new();
    let store = place.files();
    save(&store, "work", "text").await;
    let path = place.path("store/profile.work.age");
    let mut sealed = fs::read(&path).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    fs::write(&path, &sealed).unwrap();
    let error = store.load(&Key::profile("work")).await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { detail, .. } if detail.contains("profile.work.age")));
    assert_eq!(fs::read(&path).unwrap(), sealed);
    assert_eq!(store.status().state, State::Ready, "one damaged record says nothing of the store");
}
