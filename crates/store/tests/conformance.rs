//! The suite that every kind of store passes, run on memory and on age-encrypted files; and stores that
//! are locked, slow, lying or failing. The keychain's turn is in `keyring`.
#![expect(clippy::unwrap_used, reason = "tests panic where they cannot go on")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use authd_store::{Key, Kind, State, Store, StoreError, Wish};
use secrecy::ExposeSecret;

use crate::support::{config, conforms, private};

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
    // What cannot be opened has nothing to give to what takes its place.
    fs::write(directory.path().join("store/profile.work.age"), "damaged").unwrap();
    assert!(matches!(next.load(&key).await, Err(StoreError::Damaged { .. })));
    let amended = next.amend(&key, "", |there| there.unwrap_or_else(|| "made anew".into())).await;
    assert_eq!((amended, next.load(&key).await.unwrap().unwrap().expose_secret()), (Ok(()), "made anew"));
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
async fn a_new_key_seals_everything_and_the_old_one_opens_nothing() {
    let directory = private();
    let passphrase = directory.path().join("passphrase");
    fs::write(&passphrase, "correct horse").unwrap();
    for (with, name) in [(None, "store.key"), (Some(passphrase), "store.identity.age")] {
        let place = private();
        let open = || {
            let mut config = config(place.path(), Wish::File);
            config.key.passphrase_file = with.clone();
            Store::open(config, None)
        };
        let store = open();
        for n in 0..5 {
            store.save(&Key::profile(&format!("p{n}")), "", format!("text {n}").into()).await.unwrap();
        }
        let sealed = fs::read(place.path().join("store/profile.p0.age")).unwrap();
        let old_key = fs::read(place.path().join(name)).unwrap();
        store.rekey().await.unwrap();
        assert_ne!(fs::read(place.path().join(name)).unwrap(), old_key);
        for n in 0..5 {
            let text = open().load(&Key::profile(&format!("p{n}"))).await.unwrap().unwrap();
            assert_eq!(text.expose_secret(), format!("text {n}"));
        }
        fs::write(place.path().join("store/profile.p0.age"), sealed).unwrap();
        let old = open().load(&Key::profile("p0")).await.unwrap_err();
        assert!(matches!(old, StoreError::Damaged { .. }), "the old key is gone: {old}");
    }
    let memory = Store::open(config(directory.path(), Wish::Memory), None);
    assert!(matches!(memory.rekey().await, Err(StoreError::Refused { .. })));
}

#[tokio::test]
async fn a_change_of_the_key_may_be_interrupted_anywhere() {
    let directory = private();
    let open = || Store::open(config(directory.path(), Wish::File), None);
    let (first, second) = (Key::profile("first"), Key::profile("second"));
    for key in [&first, &second] {
        open().save(key, "", "kept".into()).await.unwrap();
    }
    let old_key = fs::read_to_string(directory.path().join("store.key")).unwrap();
    let old_file = fs::read(directory.path().join("store/profile.second.age")).unwrap();
    open().rekey().await.unwrap();
    // As a crash in the middle leaves it: one file is sealed anew, the other is not, and both keys are there.
    let new_key = fs::read_to_string(directory.path().join("store.key")).unwrap();
    fs::write(directory.path().join("store.key"), new_key + &old_key).unwrap();
    fs::write(directory.path().join("store/profile.second.age"), old_file).unwrap();
    for key in [&first, &second] {
        assert_eq!(open().load(key).await.unwrap().unwrap().expose_secret(), "kept");
    }
    open().rekey().await.unwrap();
    for key in [&first, &second] {
        assert_eq!(open().load(key).await.unwrap().unwrap().expose_secret(), "kept");
    }
}

#[tokio::test]
async fn a_new_key_that_cannot_be_written_seals_nothing() {
    let directory = private();
    let open = || Store::open(config(directory.path(), Wish::File), None);
    let (before, after) = (Key::profile("before"), Key::profile("after"));
    let store = open();
    store.save(&before, "", "kept".into()).await.unwrap();
    // What stands where the next key is written first keeps it from being written.
    let blocked = directory.path().join(".store.key.tmp");
    fs::create_dir(&blocked).unwrap();
    assert!(matches!(store.rekey().await, Err(StoreError::Unavailable { .. })));
    store.save(&after, "", "kept".into()).await.unwrap();
    for key in [&before, &after] {
        assert_eq!(open().load(key).await.unwrap().unwrap().expose_secret(), "kept", "{key}");
    }
    fs::remove_dir(&blocked).unwrap();
    store.rekey().await.unwrap();
    for key in [&before, &after] {
        assert_eq!(open().load(key).await.unwrap().unwrap().expose_secret(), "kept", "{key}");
    }
}

#[tokio::test]
async fn a_save_that_was_interrupted_counts_if_it_is_whole() {
    let directory = private();
    let open = || Store::open(config(directory.path(), Wish::File), None);
    let (key, path) = (Key::profile("work"), directory.path().join("store/profile.work.age"));
    let temporary = directory.path().join("store/.profile.work.age.tmp");
    open().save(&key, "", "newer".into()).await.unwrap();
    let newer = fs::read(&path).unwrap();
    open().save(&key, "", "older".into()).await.unwrap();
    fs::write(&temporary, &newer[..newer.len() - 1]).unwrap();
    assert_eq!(open().load(&key).await.unwrap().unwrap().expose_secret(), "older", "half of one is none");
    assert!(!temporary.exists());
    fs::write(&temporary, &newer).unwrap();
    assert_eq!(open().load(&key).await.unwrap().unwrap().expose_secret(), "newer");
    fs::write(&temporary, &newer).unwrap();
    open().delete(&key).await.unwrap();
    assert!(open().load(&key).await.unwrap().is_none(), "nothing rises from what was deleted");
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
