//! The settings of a fleet, in a daemon whose database cannot be reached.

use std::fs;

use secrecy::ExposeSecret as _;

use crate::{
    access::{run, set_mode},
    helpers::{daemon, reload, sandbox},
};

#[tokio::test]
async fn a_reload_with_a_fleet_does_not_raise_the_timeout_of_a_refresh() {
    let sandbox = sandbox().await;
    let mut daemon = daemon(&sandbox).await;
    let good = fs::read_to_string(daemon.config()).unwrap();
    let identity = age::x25519::Identity::generate().to_string();
    let [url, key] = ["url", "key"].map(|name| daemon.dir().join(name));
    let files = [(&url, "postgresql://me:secret@127.0.0.1:9/authd"), (&key, identity.expose_secret())];
    for (path, text) in files {
        fs::write(path, text).unwrap();
        set_mode(path, 0o600);
    }
    let fleet = format!("{good}\n[store.postgres]\nurl_file = {url:?}\nkey_file = {key:?}\n");
    fs::write(daemon.config(), &fleet).unwrap();
    assert_eq!(run(&daemon, &["--check-config"], &[]).await.0, 0);
    daemon.restart().await;
    let log = |text: &str| daemon.log().contains(text);
    // A claim is held for the timeout of the start.
    for (timeout, is_longer) in [("29s", false), ("31s", true)] {
        fs::write(daemon.config(), format!("{fleet}\n[network]\ntimeout = '{timeout}'\n")).unwrap();
        reload(&daemon).await;
        assert_eq!(log("a longer network.timeout takes effect at the next start"), is_longer);
    }
    assert!(!log("secret"), "{}", daemon.log());
    // A key that is not one is told before a daemon starts.
    fs::write(&key, "no key").unwrap();
    let (code, output) = run(&daemon, &["--check-config"], &[]).await;
    assert!(code == 64 && output.contains("age-keygen"), "{code} {output}");
    fs::write(&key, identity.expose_secret()).unwrap();
    fs::write(&url, "secret").unwrap();
    daemon.sigterm_and_wait().await;
    let (code, output) = run(&daemon, &[], &[]).await;
    assert!(code == 64 && output.contains("connection string of the fleet"), "{code} {output}");
    assert!(!output.contains("secret"), "{output}");
}
