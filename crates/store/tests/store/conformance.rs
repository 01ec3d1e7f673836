//! Runs the conformance suite on the memory store and on age-encrypted files, and tests stores that
//! are locked, slow or faulty. `keyring` runs the suite on a keychain.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use authd_store::{Key, Kind, State, Store, StoreError, StorePreference};

use crate::support::{Fixture, conforms, names, save, text};

#[tokio::test]
async fn memory_store_conforms_and_is_not_remembered() {
    let fixture = Fixture::new();
    let store = fixture.store(StorePreference::Memory);
    conforms(&store, Kind::Memory).await;
    assert_eq!((store.remembered(), fixture.path("store.json").exists()), (None, false));
}

#[tokio::test]
async fn file_store_conforms_and_its_files_are_private_and_persistent() {
    let fixture = Fixture::new();
    let store = fixture.files();
    conforms(&store, Kind::File).await;
    let key = Key::profile("work");
    save(&store, "work", "kept").await;
    for (path, mode) in [("store", 0o700), ("store.key", 0o600), ("store/profile.work.age", 0o600)] {
        let found = fs::metadata(fixture.path(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path}");
    }
    fs::write(fixture.path("store/notes.txt"), "not ours").unwrap();
    let next = fixture.store(StorePreference::Keychain);
    assert_eq!(text(&next, "work").await.as_deref(), Some("kept"), "the remembered kind has precedence");
    assert_eq!((next.status().kind, next.remembered()), (Some(Kind::File), Some(Kind::File)));
    let listing = next.list().await.unwrap();
    assert_eq!((listing.profiles, listing.unknown), (names(&["work"]), names(&["notes.txt"])));
    save(&next, "work", "again").await;
    let encrypted = fs::read(fixture.path("store/profile.work.age")).unwrap();
    assert!(
        encrypted.starts_with(b"age-encryption.org/v1")
            && !encrypted.windows(5).any(|window| window == b"again")
    );
    // For an update a damaged record counts as absent.
    fs::write(fixture.path("store/profile.work.age"), "damaged").unwrap();
    assert!(matches!(next.load(&key).await, Err(StoreError::Damaged { .. })));
    next.update(&key, "", |current| current.unwrap_or_else(|| "created again".into())).await.unwrap();
    assert_eq!(text(&next, "work").await.as_deref(), Some("created again"));
}

#[tokio::test]
async fn failing_store_reports_its_state_and_recovers_without_a_restart() {
    let fixture = Fixture::new();
    let fault_file = fixture.path("fault");
    let mut config = fixture.config(StorePreference::Memory);
    config.deadline = Duration::from_millis(300);
    let store = Store::open(config, fixture.state_dir.clone());
    let key = Key::profile("work");
    for (fault, state) in [
        ("locked", State::Locked),
        ("unavailable", State::Unavailable),
        ("lie", State::Unavailable),
        ("fail-save", State::Unavailable),
        ("hang", State::Unavailable),
    ] {
        fs::write(&fault_file, fault).unwrap();
        let error = store.save(&key, "", "text".into()).await.expect_err(fault);
        assert_eq!(store.status().state, state, "{fault}: {error}");
        assert_eq!(matches!(error, StoreError::Locked { .. }), state == State::Locked, "{fault}");
        assert_eq!(store.list().await.is_ok(), matches!(fault, "lie" | "fail-save"), "{fault}: never empty");
        let detail = error.to_string();
        match fault {
            "lie" => assert!(detail.contains("something else than was written"), "{detail}"),
            "hang" => assert!(detail.contains("did not answer within"), "{detail}"),
            _ => {}
        }
    }
    let task = tokio::spawn({
        let store = store.clone();
        async move { store.recover_loop().await }
    });
    fs::write(&fault_file, "none").unwrap();
    let mut status = store.watch();
    let recovered = status.wait_for(|status| status.state == State::Ready);
    tokio::time::timeout(Duration::from_secs(30), recovered).await.unwrap().unwrap();
    task.abort();
    store.save(&key, "", "text".into()).await.unwrap();
    fs::write(&fault_file, "panic").unwrap();
    assert!(store.load(&key).await.is_err());
    while store.is_alive() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::timeout(Duration::from_secs(5), store.recover_loop()).await.unwrap();
}
