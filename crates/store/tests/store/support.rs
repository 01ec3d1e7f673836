//! Test support: a configuration, a private directory, and the conformance suite.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use authd_store::{Config, Key, KeySource, Kind, Listing, State, StateDir, Store, StorePreference};
use secrecy::{ExposeSecret, SecretString};

pub(crate) fn config(directory: &Path, kind: StorePreference) -> Config {
    Config {
        kind,
        service: "authd-test".to_owned(),
        key: KeySource {
            credentials_directory: None,
            passphrase_file: None,
            key_file: directory.join("store.key"),
        },
        deadline: Duration::from_secs(20),
        memory_control: Some(directory.join("fault")),
    }
}

pub(crate) fn private() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

/// A state directory that the test owns, and stores on it.
pub(crate) struct Fixture {
    pub(crate) state_dir: StateDir,
    directory: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = private();
        Self { state_dir: StateDir::open(directory.path()).unwrap(), directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config(&self, kind: StorePreference) -> Config {
        config(self.directory.path(), kind)
    }

    /// Opens the store like the next run of the daemon.
    pub(crate) fn store(&self, kind: StorePreference) -> Store {
        Store::open(self.config(kind), self.state_dir.clone())
    }

    pub(crate) fn files(&self) -> Store {
        self.store(StorePreference::File)
    }

    /// The names in a subdirectory, sorted.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

pub(crate) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) async fn text(store: &Store, name: &str) -> Option<String> {
    let record = store.load(&Key::profile(name)).await.unwrap();
    record.map(|record| record.expose_secret().to_owned())
}

pub(crate) async fn save(store: &Store, name: &str, text: &str) {
    store.save(&Key::profile(name), "", text.into()).await.unwrap();
}

/// The conformance suite: every kind of store passes it.
pub(crate) async fn conforms(store: &Store, kind: Kind) {
    assert_eq!(store.probe().await.unwrap(), kind);
    assert_eq!(store.status().state, State::Ready);
    let (work, home, login) = (Key::profile("work"), Key::profile("home.2"), Key::login("lg_x-Y_1"));
    assert!(store.load(&work).await.unwrap().is_none());
    store.delete(&work).await.unwrap();
    // As long as a real record, with control and multi-byte characters.
    let long = format!("{{\"text\":\"{}\",\"odd\":\"ä\\u0000 \\n 漢\"}}", "x".repeat(12_000));
    let client = Key::client("0123456789abcdef");
    for (key, text) in [(&work, long.as_str()), (&home, "{}"), (&login, "encrypted"), (&client, "registered")]
    {
        store.save(key, "authd: a label", text.into()).await.unwrap();
        assert_eq!(store.load(key).await.unwrap().unwrap().expose_secret(), text);
    }
    store.save(&work, "authd: another label", "second".into()).await.unwrap();
    assert_eq!(store.load(&work).await.unwrap().unwrap().expose_secret(), "second");
    // Each call is atomic, and the calls run in this order.
    let longer = |current: Option<SecretString>| {
        SecretString::from(current.map_or_else(String::new, |text| text.expose_secret().to_owned() + "+"))
    };
    let all = tokio::join!(
        store.update(&work, "", longer),
        store.save(&work, "", "third".into()),
        store.update(&work, "", longer)
    );
    assert_eq!(all, (Ok(()), Ok(()), Ok(())));
    assert_eq!(store.load(&work).await.unwrap().unwrap().expose_secret(), "third+");
    let listing = store.list().await.unwrap();
    assert_eq!((listing.profiles, listing.logins), (names(&["home.2", "work"]), names(&["lg_x-Y_1"])));
    assert_eq!((listing.clients, listing.codex), (vec![client.clone()], Vec::new()));
    for key in [&work, &home, &login, &client] {
        store.delete(key).await.unwrap();
        assert!(store.load(key).await.unwrap().is_none());
    }
    assert_eq!(store.list().await.unwrap(), Listing::default());
}
