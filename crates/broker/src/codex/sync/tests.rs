use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use authd_oauth::{ApiKey, Grant, Record};
use authd_store::StateDir;
use tokio::sync::mpsc;

use super::*;
use crate::{
    codex::{homes::Phase, location::item_key},
    deps::BrokerDeps,
    profile::put,
    registry::registry,
    share::Shares,
};

/// The longest wait for a condition.
const TIMEOUT: Duration = Duration::from_secs(20);

fn secret(text: &str) -> SecretString {
    SecretString::from(text)
}

fn external(token: &str) -> SecretString {
    let content = External::ChatGpt { access_token: token, account_id: "account" };
    codex::external(&content, jiff::Timestamp::UNIX_EPOCH)
}

fn key(key: &str) -> SecretString {
    codex::external(&External::ApiKey(key), jiff::Timestamp::UNIX_EPOCH)
}

fn managed(written: &[&SecretString]) -> ManagedHome {
    ManagedHome {
        profile: "work".parse().unwrap(),
        restorable: false,
        taken: false,
        item: false,
        link: None,
        written: written.iter().map(|text| fingerprint(text)).collect(),
        phase: Phase::Installed,
    }
}

#[test]
fn only_a_login_that_is_ours_to_the_byte_is_overwritten() {
    let (old, new) = (key("sk-old"), key("sk-new"));
    let location = LoginLocation::File(PathBuf::from("/home/user/.codex/auth.json"));
    let with_line_break = |text: &SecretString| secret(&format!("{}\n", text.expose_secret()));
    let decide = |current: Option<&SecretString>, wanted: Option<&SecretString>| {
        decide(&location, &managed(&[&old]), current, wanted, None)
    };
    let foreign = Step::Keep(CodexHomeState::ForeignLogin);
    assert_eq!(decide(None, Some(&new)), Step::Write);
    assert_eq!(decide(None, None), Step::Keep(CodexHomeState::Missing));
    assert_eq!(decide(Some(&old), Some(&new)), Step::Write);
    assert_eq!(decide(Some(&external("a")), Some(&external("b"))), Step::Write);
    assert_eq!(decide(Some(&new), Some(&new)), Step::Keep(CodexHomeState::Present));
    // An editor ends the file with a line break, and a user stores another key.
    assert_eq!(decide(Some(&with_line_break(&old)), Some(&new)), foreign);
    assert_eq!(decide(Some(&with_line_break(&external("a"))), Some(&external("b"))), foreign);
    assert_eq!(decide(Some(&key("sk-of-the-user")), Some(&new)), foreign);
    for text in ["{}", "", "{\"OPENAI_API_KEY\": null, \"personal_access_token\": \"at-1\"}"] {
        assert_eq!(decide(Some(&secret(text)), Some(&new)), foreign, "{text}");
    }
}

#[tokio::test]
async fn removed_home_is_the_cause_of_a_file_that_is_not_found() {
    let root = tempfile::tempdir().unwrap();
    let home = root.path().join("codex");
    let location = LoginLocation::File(home.join("auth.json"));
    let not_found = || location.error(io::ErrorKind::NotFound.into());
    let error = cause(not_found(), &location).await;
    assert!(matches!(&error, CodexHomeError::HomeMissing(missing) if *missing == home), "{error:?}");
    let error = cause(location.error(io::ErrorKind::PermissionDenied.into()), &location).await;
    assert!(matches!(error, CodexHomeError::File(..)), "{error:?}");
    std::fs::create_dir(&home).unwrap();
    assert!(matches!(cause(not_found(), &location).await, CodexHomeError::File(..)));
}

/// Whether another process would have to wait for this lock.
fn is_locked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let waited = tokio::time::timeout(TIMEOUT, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited for: {what}"));
}

#[tokio::test]
async fn ended_sync_keeps_its_locks_until_its_write_has_ended() {
    let root = tempfile::tempdir().unwrap();
    let (home, control) = (root.path().join("codex"), root.path().join("control"));
    fs::create_dir(&home).unwrap();
    let state_dir = StateDir::open(root.path().join("state")).unwrap();
    let (deps, _reload) = BrokerDeps::of_memory(&state_dir, Some(control.clone()));
    let (homes, events) = (ManagedHomes::new(state_dir.clone()), deps.events.clone());
    let shares = Shares::new(state_dir, events.clone());
    let (name, key_of_profile): (ProfileName, _) = ("work".parse().unwrap(), ApiKey::new("sk-new"));
    let grant = Grant::own_key(key_of_profile, "own key", clock::now());
    let record = Record::new(grant, "grant".into(), 1);
    put(&deps.store, &name, &record).await.unwrap();
    let (registry, task) = registry(deps.clone(), homes.clone(), shares, mpsc::unbounded_channel().0);
    tokio::spawn(task);
    registry.known(TIMEOUT).await.unwrap();

    // A file cannot hang here, but an item of the keychain can.
    let (old, item, keychain) = (key("sk-old"), item_key(&home).await, deps.store.clone());
    keychain.save(&item, "", old.clone()).await.unwrap();
    let managed = managed(&[&old]);
    homes.change(|homes| drop(homes.insert(home.clone(), managed.clone()))).await.unwrap();
    let location = LoginLocation::Item { home: home.clone(), keychain: keychain.clone() };
    let observations = Observations::new(events);
    let sync = Sync { home: home.clone(), location, name, registry, homes, observations };
    fs::write(&control, "hang").unwrap();
    let update = tokio::spawn(async move { sync.bring_up_to_date(&managed, Some(&old)).await });
    let locks = [home.join("auth.lock"), home.join("auth.json.lock")];
    wait_until("both locks", || locks.iter().all(|lock| is_locked(lock))).await;

    update.abort();
    assert!(update.await.unwrap_err().is_cancelled());
    assert!(locks.iter().all(|lock| is_locked(lock)));
    fs::write(&control, "").unwrap();
    wait_until("the end of the write", || !locks.iter().any(|lock| is_locked(lock))).await;
    let login = keychain.load(&item).await.unwrap().unwrap();
    assert!(login.expose_secret().contains("sk-new"));
}
