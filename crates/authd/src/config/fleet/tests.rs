//! The settings of a fleet, and the files with its secrets.

use std::{fs, path::PathBuf, time::Duration};

use age::x25519;
use authd_fleet::Tls;
use authd_store::StorePreference;

use super::*;

const URL: &str = "postgresql://me:secret@db.example/authd";

/// The files of a fleet, in a directory of their own.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("url", URL);
        let key = x25519::Identity::generate();
        files.write("key", key.to_string().expose_secret());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, private::mode(0o600)).unwrap();
    }

    fn config(&self, keys: &str) -> Config {
        let text = format!(
            "store.postgres.url_file = {:?}\nstore.postgres.key_file = {:?}\n{keys}",
            self.path("url"),
            self.path("key")
        );
        Config::parse(&text).unwrap()
    }

    fn error(&self, keys: &str) -> String {
        let error = self.config(keys).fleet_with_credentials(None).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
        error
    }
}

#[test]
fn fleet_has_the_configured_settings() {
    let files = Files::new();
    let fleet = files.config("").fleet_with_credentials(None).unwrap().unwrap();
    assert_eq!((fleet.url.expose_secret(), fleet.schema.as_str()), (URL, "authd"));
    assert!(fleet.key.expose_secret().starts_with("AGE-SECRET-KEY-1"));
    assert_eq!(&*fleet.node, rustix::system::uname().nodename().to_str().unwrap());
    assert_eq!((fleet.tls, fleet.ca_file), (Tls::Auto, None));
    let [call_limit, deadline, poll] = [30, 2, 15].map(Duration::from_secs);
    assert_eq!((fleet.call_limit, fleet.deadline, fleet.poll), (call_limit, deadline, poll));

    let keys = "store.deadline = '3s'\nnetwork.timeout = '1m'\nnetwork.ca_file = '/ca.pem'\n\
                store.postgres.node = 'ci-7'\nstore.postgres.tls = 'require'\nstore.postgres.poll = '5s'\n\
                store.postgres.schema = 'other'";
    let fleet = files.config(keys).fleet_with_credentials(None).unwrap().unwrap();
    assert_eq!((&*fleet.node, fleet.schema.as_str(), fleet.tls), ("ci-7", "other", Tls::Require));
    assert_eq!(fleet.ca_file, Some("/ca.pem".into()));
    let [call_limit, deadline, poll] = [60, 3, 5].map(Duration::from_secs);
    assert_eq!((fleet.call_limit, fleet.deadline, fleet.poll), (call_limit, deadline, poll));
}

#[test]
fn kind_postgres_prefers_the_fleet_and_names_the_local_store() {
    for (text, is_preferred, local) in [
        ("", false, StorePreference::Auto),
        ("store.kind = 'file'\nstore.postgres.local = 'memory'", false, StorePreference::File),
        ("store.kind = 'postgres'", true, StorePreference::Auto),
        ("store.kind = 'postgres'\nstore.postgres.local = 'keychain'", true, StorePreference::Keychain),
    ] {
        let config = Config::parse(text).unwrap();
        assert_eq!(config.is_fleet_preferred(), is_preferred, "{text}");
        assert_eq!(config.store.for_state_dir(Path::new("/state")).kind, local, "{text}");
    }
}

#[test]
fn database_is_needed_for_kind_postgres_only() {
    assert!(Config::default().fleet_with_credentials(None).unwrap().is_none());
    let config = Config::parse("store.kind = 'postgres'").unwrap();
    let error = config.fleet_with_credentials(None).unwrap_err();
    for expected in ["store.postgres.url_file", "postgresql://", "authd-postgres-url"] {
        assert!(error.contains(expected), "{error}");
    }
    let files = Files::new();
    let url_only = Config::parse(&format!("store.postgres.url_file = {:?}", files.path("url"))).unwrap();
    let error = url_only.fleet_with_credentials(None).unwrap_err();
    for expected in ["store.postgres.key_file", "age-keygen", "authd-fleet-key"] {
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn credentials_of_systemd_replace_missing_files() {
    let (files, credentials) = (Files::new(), Files::new());
    let fleet = |config: &Config| config.fleet_with_credentials(Some(credentials.0.path()));
    assert!(fleet(&Config::default()).unwrap().is_none());
    credentials.write("authd-postgres-url", "postgresql://credential");
    assert!(fleet(&Config::default()).unwrap_err().contains("authd-fleet-key"));
    credentials.write("authd-fleet-key", "a key");
    // The service manager sets its permissions.
    fs::set_permissions(credentials.path("authd-fleet-key"), private::mode(0o444)).unwrap();
    let from_credentials = fleet(&Config::default()).unwrap().unwrap();
    assert_eq!(from_credentials.url.expose_secret(), "postgresql://credential");
    assert_eq!(from_credentials.key.expose_secret(), "a key");
    let from_files = fleet(&files.config("")).unwrap().unwrap();
    assert_eq!(from_files.url.expose_secret(), URL, "a configured file has precedence");
}

#[test]
fn file_that_cannot_be_used_is_an_error_without_its_content() {
    let files = Files::new();
    for (name, key) in [("url", "store.postgres.url_file"), ("key", "store.postgres.key_file")] {
        let path = files.path(name);
        let shown = path.display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644] {
            fs::set_permissions(&path, private::mode(mode)).unwrap();
            // A file of root may be readable for its group.
            if rustix::process::geteuid().is_root() && mode == 0o640 {
                assert!(files.config("").fleet_with_credentials(None).is_ok());
                continue;
            }
            let error = files.error("");
            assert!(error.starts_with(key) && error.contains("run: chmod"), "{error}");
            assert!(error.contains(&format!("(mode {mode:03o})")) && error.contains(&shown), "{error}");
        }
        files.write(name, " \n");
        assert!(files.error("").contains("is empty"));
        fs::remove_file(&path).unwrap();
        assert_eq!(files.error(""), format!("{key}: {shown} does not exist"));
        fs::create_dir(&path).unwrap();
        assert!(files.error("").contains("not a regular file"));
        fs::remove_dir(&path).unwrap();
        files.write(name, &text);
    }
    let error = files.error("store.postgres.ca_file = '/no/such.pem'");
    assert!(error.starts_with("store.postgres.ca_file: ") && error.contains("/no/such.pem"), "{error}");
}
