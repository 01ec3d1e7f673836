use std::path::PathBuf;

use super::*;
use crate::codex::homes::Phase;

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
