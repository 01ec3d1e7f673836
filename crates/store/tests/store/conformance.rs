//! The suite that every kind of store passes, run on memory and on age-encrypted files; and stores that
//! are locked, slow, lying or failing. The keychain's turn is in `keyring`.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use authd_store::{Key, Kind, State, Store, StoreError, StorePreference};

use crate::support::{Place, conforms, names, save, text};

#[tokio::test]
async fn memory_conforms_and_is_not_remembered() {
    let place = Place::new();
    let store = place.store(StorePreference::Memory);
    conforms(&store, Kind::Memory).await;
    assert_eq!((store.remembered(), place.path("store.json").exists()), (None, false));
}

#[tokio::test]
async fn files_conform_and_are_private_and_survive() {
    let place = Place::new();
    let store = place.files();
    conforms(&store, Kind::File).await;
    let key = Key::profile("work");
    save(&store, "work", "kept").await;
    for (path, mode) in [("store", 0o700), ("store.key", 0o600), ("store/profile.work.age", 0o600)] {
        let found = fs::metadata(place.path(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path}");
    }
    fs::write(place.path("store/notes.txt"), "not ours").unwrap();
    let next = place.store(StorePreference::Keychain);
    assert_eq!(text(&next, "work").await.as_deref(), Some("kept"), "what is remembered wins");
    assert_eq!((next.status().kind, next.remembered()), (Some(Kind::File), Some(Kind::File)));
    let listing = next.list().await.unwrap();
    assert_eq!((listing.profiles, listing.unknown), (names(&["work"]), names(&["notes.txt"])));
    save(&next, "work", "again").await;
    let sealed = fs::read(place.path("store/profile.work.age")).unwrap();
    assert!(
        sealed.starts_with(b"age-encryption.org/v1") && !sealed.windows(5).any(|window| window == b"again")
    );
    // A record that cannot be opened counts as none for an update.
    fs::write(place.path("store/profile.work.age"), "damaged").unwrap();
    assert!(matches!(next.load(&key).await, Err(StoreError::Damaged { .. })));
    next.update(&key, "", |current| current.unwrap_or_else(|| "made anew".into())).await.unwrap();
    assert_eq!(text(&next, "work").await.as_deref(), Some("made anew"));
}

#[tokio::test]
async fn a_store_that_fails_is_told_apart_and_recovers_without_a_restart() {
    let place = Place::new();
    let fault = place.path("fault");
    let mut config = place.config(StorePreference::Memory);
    config.deadline = Duration::from_millis(300);
    let store = Store::open(config, place.state_dir.clone());
    let key = Key::profile("work");
    for (word, state) in [
        ("locked", State::Locked),
        ("unavailable", State::Unavailable),
        ("lie", State::Unavailable),
        ("fail-save", State::Unavailable),
        ("hang", State::Unavailable),
    ] {
        fs::write(&fault, word).unwrap();
        let error = store.save(&key, "", "text".into()).await.expect_err(word);
        assert_eq!(store.status().state, state, "{word}: {error}");
        assert_eq!(matches!(error, StoreError::Locked { .. }), state == State::Locked, "{word}");
        assert_eq!(store.list().await.is_ok(), matches!(word, "lie" | "fail-save"), "{word}: never empty");
        let detail = error.to_string();
        match word {
            "lie" => assert!(detail.contains("something else than was written"), "{detail}"),
            "hang" => assert!(detail.contains("did not answer within"), "{detail}"),
            _ => {}
        }
    }
    let task = tokio::spawn({
        let store = store.clone();
        async move { store.recover_loop().await }
    });
    fs::write(&fault, "none").unwrap();
    let mut status = store.watch();
    let recovered = status.wait_for(|status| status.state == State::Ready);
    tokio::time::timeout(Duration::from_secs(30), recovered).await.unwrap().unwrap();
    task.abort();
    store.save(&key, "", "text".into()).await.unwrap();
    fs::write(&fault, "panic").unwrap();
    assert!(store.load(&key).await.is_err());
    while store.is_alive() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::timeout(Duration::from_secs(5), store.recover_loop()).await.unwrap();
}
