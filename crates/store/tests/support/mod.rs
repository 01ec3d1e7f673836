//! What the suites share: a configuration, a private directory, and what every store does.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use authd_store::{Config, Key, KeySource, Kind, State, Store, Wish};
use secrecy::{ExposeSecret, SecretString};

pub(crate) fn config(directory: &Path, kind: Wish) -> Config {
    Config {
        kind,
        state_dir: directory.to_path_buf(),
        service: "authd-test".to_owned(),
        key: KeySource {
            credentials_directory: None,
            passphrase_file: None,
            key_file: directory.join("store.key"),
        },
        deadline: Duration::from_secs(20),
        memory_control: Some(directory.join("mood")),
    }
}

pub(crate) fn private() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

/// What every store does.
pub(crate) async fn conforms(store: &Store, kind: Kind) {
    assert_eq!(store.probe().await.unwrap(), kind);
    assert_eq!(store.status().state, State::Ready);
    let (work, home, login) = (Key::profile("work"), Key::profile("home.2"), Key::login("lg_x-Y_1"));
    assert!(store.load(&work).await.unwrap().is_none());
    store.delete(&work).await.unwrap();
    // As long as a real record, and with every kind of letter.
    let long = format!("{{\"text\":\"{}\",\"odd\":\"ä\\u0000 \\n 漢\"}}", "x".repeat(12_000));
    for (key, text) in [(&work, long.as_str()), (&home, "{}"), (&login, "sealed")] {
        store.save(key, "authd: a label", text.into()).await.unwrap();
        assert_eq!(store.load(key).await.unwrap().unwrap().expose_secret(), text);
    }
    store.save(&work, "authd: another label", "second".into()).await.unwrap();
    assert_eq!(store.load(&work).await.unwrap().unwrap().expose_secret(), "second");
    // Each takes effect whole, in the order in which they were asked for.
    let longer = |there: Option<SecretString>| {
        SecretString::from(there.map_or_else(String::new, |text| text.expose_secret().to_owned() + "+"))
    };
    let all = tokio::join!(
        store.amend(&work, "", longer),
        store.save(&work, "", "third".into()),
        store.amend(&work, "", longer)
    );
    assert_eq!(all, (Ok(()), Ok(()), Ok(())));
    assert_eq!(store.load(&work).await.unwrap().unwrap().expose_secret(), "third+");
    let mut keys = store.list().await.unwrap();
    keys.sort();
    assert_eq!(keys, [home.clone(), work.clone(), login.clone()]);
    for key in [&work, &home, &login] {
        store.delete(key).await.unwrap();
        assert!(store.load(key).await.unwrap().is_none());
    }
    assert!(store.list().await.unwrap().is_empty());
}
