//! Where `store.json` says that the records of the profiles are. `keyring` tests that it survives
//! migrations of the machine's own store.

use std::fs;

use authd_store::{Kind, ProfilePlace, State, StoreError, StorePreference};

use crate::support::{Fixture, save, text};

const FLEET: &str = r#"{"version":2,"profiles":"fleet"}"#;

fn store_json(fixture: &Fixture) -> String {
    fs::read_to_string(fixture.path("store.json")).unwrap()
}

#[tokio::test]
async fn place_of_the_profiles_is_durable() {
    let fixture = Fixture::new();
    let store = fixture.files();
    assert_eq!(store.profile_place().await, Ok(ProfilePlace::Local));
    store.set_profile_place(ProfilePlace::Local).await.unwrap();
    assert!(!fixture.path("store.json").exists(), "an absent file means local");
    save(&store, "work", "kept").await;
    for (place, json) in [
        (ProfilePlace::ToFleet, r#"{"version":2,"kind":"file","profiles":"to_fleet"}"#),
        (ProfilePlace::Fleet, r#"{"version":2,"kind":"file","profiles":"fleet"}"#),
        (ProfilePlace::ToLocal, r#"{"version":2,"kind":"file","profiles":"to_local"}"#),
        (ProfilePlace::Local, r#"{"version":1,"kind":"file"}"#),
    ] {
        store.set_profile_place(place).await.unwrap();
        assert_eq!(store_json(&fixture), json);
        assert_eq!(store.profile_place().await, Ok(place));
        let restarted = fixture.files();
        assert_eq!(restarted.profile_place().await, Ok(place));
        assert_eq!(text(&restarted, "work").await.as_deref(), Some("kept"), "{place:?}");
    }
}

#[tokio::test]
async fn file_of_an_earlier_authd_means_local() {
    let fixture = Fixture::new();
    fs::write(fixture.path("store.json"), r#"{"version":1,"kind":"keychain","other":"file"}"#).unwrap();
    let store = fixture.files();
    assert_eq!(store.profile_place().await, Ok(ProfilePlace::Local));
    store.set_profile_place(ProfilePlace::Fleet).await.unwrap();
    let expected = r#"{"version":2,"kind":"keychain","other":"file","profiles":"fleet"}"#;
    assert_eq!(store_json(&fixture), expected);
}

#[tokio::test]
async fn unreadable_place_is_an_error_and_not_local() {
    for json in [
        "{",
        r#"{"version":3,"profiles":"fleet"}"#,
        r#"{"version":2,"profiles":"moon"}"#,
        // Only an authd that knows fleets may read a file that names one.
        r#"{"version":1,"profiles":"fleet"}"#,
        r#"{"version":2,"kind":"file"}"#,
    ] {
        let fixture = Fixture::new();
        fs::write(fixture.path("store.json"), json).unwrap();
        let store = fixture.files();
        for result in [
            store.profile_place().await.map(drop),
            store.set_profile_place(ProfilePlace::Local).await,
            store.set_profile_place(ProfilePlace::Fleet).await,
        ] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("store.json") && error.contains(FLEET), "{error}");
            assert_eq!(error.contains("newer authd"), json.contains('3'), "{error}");
        }
        assert_eq!(store_json(&fixture), json, "the file is not changed");
        // The store reads the file again as soon as it is restored.
        fs::write(fixture.path("store.json"), FLEET).unwrap();
        assert_eq!(store.profile_place().await, Ok(ProfilePlace::Fleet));
    }
}

#[tokio::test]
async fn failed_write_keeps_the_place_until_a_write_succeeds() {
    let fixture = Fixture::new();
    let store = fixture.files();
    store.set_profile_place(ProfilePlace::Fleet).await.unwrap();
    fs::create_dir(fixture.path(".store.json.tmp")).unwrap();
    let failed = store.set_profile_place(ProfilePlace::ToLocal).await;
    assert!(matches!(failed, Err(StoreError::Unavailable { .. })), "{failed:?}");
    assert_eq!(store.profile_place().await, Ok(ProfilePlace::Fleet));
    // The failed write may have replaced the file, so that the former place is written too.
    let again = store.set_profile_place(ProfilePlace::Fleet).await;
    assert!(matches!(again, Err(StoreError::Unavailable { .. })), "{again:?}");
    fs::remove_dir(fixture.path(".store.json.tmp")).unwrap();
    fs::write(fixture.path("store.json"), r#"{"version":2,"profiles":"to_local"}"#).unwrap();
    store.set_profile_place(ProfilePlace::Fleet).await.unwrap();
    assert_eq!(store_json(&fixture), FLEET);
}

#[tokio::test]
async fn place_is_written_again_if_the_state_directory_was_removed() {
    let fixture = Fixture::new();
    let store = fixture.files();
    store.set_profile_place(ProfilePlace::Fleet).await.unwrap();
    fs::remove_file(fixture.path("store.json")).unwrap();
    store.set_profile_place(ProfilePlace::Fleet).await.unwrap();
    assert_eq!(store_json(&fixture), FLEET);
    // A record of this machine does not change it either.
    fs::remove_file(fixture.path("store.json")).unwrap();
    save(&store, "work", "of this machine").await;
    assert_eq!(store_json(&fixture), r#"{"version":2,"kind":"file","profiles":"fleet"}"#);
}

#[tokio::test]
async fn memory_store_remembers_a_fleet() {
    let fixture = Fixture::new();
    let store = fixture.store(StorePreference::Memory);
    save(&store, "work", "kept").await;
    assert!(!fixture.path("store.json").exists());
    store.set_profile_place(ProfilePlace::Fleet).await.unwrap();
    assert_eq!(store_json(&fixture), FLEET);
    assert_eq!(store.migrate(Kind::File).await.unwrap().records, 1);
    assert_eq!(store_json(&fixture), r#"{"version":2,"kind":"file","profiles":"fleet"}"#);
    assert_eq!(text(&store, "work").await.as_deref(), Some("kept"));
}

#[tokio::test]
async fn place_says_nothing_about_the_store_of_the_machine() {
    let fixture = Fixture::new();
    fs::write(fixture.path("store.json"), r#"{"version":1,"kind":"file"}"#).unwrap();
    // The records cannot be listed.
    fs::write(fixture.path("store"), "not a directory").unwrap();
    let store = fixture.files();
    assert!(store.probe().await.is_err());
    store.set_profile_place(ProfilePlace::Fleet).await.unwrap();
    assert_eq!(store.profile_place().await, Ok(ProfilePlace::Fleet));
    assert_eq!(store.status().state, State::Unavailable);
}
