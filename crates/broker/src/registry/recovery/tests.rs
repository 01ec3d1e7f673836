//! Every intent with every state of the record under the other name.

use authd_oauth::{ApiKey, Grant, RefreshToken, Tokens};
use jiff::Timestamp;

use super::*;

fn name(text: &str) -> ProfileName {
    text.parse().unwrap()
}

/// A record of the grant `g` with this intent.
fn record(intent: Option<Intent>) -> Record {
    let grant = Grant::own_key(ApiKey::new("sk-1"), "own key", Timestamp::UNIX_EPOCH);
    Record { intent, ..Record::new(grant, "g".into(), 1) }
}

fn of(grant_id: &str, discards: Option<&str>) -> OtherRecord {
    OtherRecord::Of { grant_id: grant_id.into(), discards: discards.map(name) }
}

#[test]
fn interrupted_move_leaves_one_owner() {
    let rename = || Some(Intent::RenameTo { name: "b".to_owned() });
    let copy = || Some(Intent::CopyOf { name: "b".to_owned() });
    let discard = || Some(Intent::DiscardCopy { name: "b".to_owned() });
    let b = || name("b");
    for (intent, other, expected) in [
        (None, of("g", None), IntentResolution::Live),
        (rename(), OtherRecord::Absent, IntentResolution::ClearIntent),
        (rename(), OtherRecord::Unread, IntentResolution::Hold),
        (rename(), OtherRecord::Unusable, IntentResolution::DiscardCopy { copy: b() }),
        (copy(), OtherRecord::Unusable, IntentResolution::FinishRenameFrom { from: b() }),
        (discard(), OtherRecord::Unusable, IntentResolution::DiscardCopy { copy: b() }),
        (rename(), of("g", None), IntentResolution::FinishRename { to: b() }),
        (rename(), of("another", None), IntentResolution::ClearIntent),
        (copy(), OtherRecord::Absent, IntentResolution::ClearIntent),
        (copy(), OtherRecord::Unread, IntentResolution::Hold),
        (copy(), of("g", None), IntentResolution::FinishRenameFrom { from: b() }),
        (copy(), of("g", Some("a")), IntentResolution::Discard),
        (copy(), of("g", Some("c")), IntentResolution::FinishRenameFrom { from: b() }),
        (copy(), of("another", None), IntentResolution::ClearIntent),
        (discard(), OtherRecord::Absent, IntentResolution::ClearIntent),
        (discard(), OtherRecord::Unread, IntentResolution::DiscardCopy { copy: b() }),
        (discard(), of("g", None), IntentResolution::DiscardCopy { copy: b() }),
        (discard(), of("another", None), IntentResolution::ClearIntent),
    ] {
        let shown = format!("{intent:?}");
        let other = std::cell::Cell::new(Some(other));
        let resolution = resolve_intent(&name("a"), &record(intent), |requested| {
            assert_eq!(*requested, b());
            other.take().unwrap()
        });
        assert_eq!(resolution, expected, "{shown}");
    }
}

#[test]
fn default_is_the_highest_rank() {
    let default = |ranked: &[(&str, u64)]| {
        let ranks = ranked.iter().map(|(name, rank)| (self::name(name), *rank)).collect();
        default_profile(&ranks, None).map(|name| name.to_string())
    };
    assert_eq!(default(&[]), None);
    assert_eq!(default(&[("b", 1)]).as_deref(), Some("b"));
    assert_eq!(default(&[("a", 1), ("c", 2)]).as_deref(), Some("c"));
    assert_eq!(default(&[("a", 0)]), None);
    assert_eq!(default_profile(&BTreeMap::new(), Some(&name("a"))), Some(name("a")));
}

#[test]
fn default_is_kept_of_two_records_with_one_refresh_token() {
    let with = |token: &str, rank: u64| {
        let mut record = record(None);
        let tokens = Tokens {
            access_token: authd_oauth::AccessToken::new("at"),
            refresh_token: Some(RefreshToken::new(token)),
            expires_at: Some(Timestamp::UNIX_EPOCH),
        };
        record.grant.secrets = authd_oauth::GrantSecrets::ChatGpt(tokens, None);
        record.default_rank = rank;
        Ok::<_, ()>(record)
    };
    let records = BTreeMap::from([
        (name("a"), with("one", 0)),
        (name("b"), with("two", 0)),
        (name("c"), with("one", 1)),
        (name("d"), Err(())),
    ]);
    assert_eq!(duplicates(&records), [(name("c"), name("a"))]);
}
