//! What a record's intent means after a crash, and which profile is the default: pure functions.

use std::{collections::BTreeMap, sync::Arc};

use authd_api::ProfileName;
use authd_oauth::{Intent, Record};

/// The record under the other name that an intent names.
pub(super) enum OtherRecord {
    Absent,
    /// It could not be read.
    Unread,
    /// No key opens it, or it is no record: a write was interrupted.
    Unusable,
    /// It holds this grant, and its intent discards the record under the second name.
    Of {
        grant_id: Arc<str>,
        discards: Option<ProfileName>,
    },
}

/// What to do with a record before it is used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum IntentResolution {
    /// It has no intent: use it.
    Live,
    /// The move did not happen, or was finished: use the record without the intent.
    ClearIntent,
    /// It was renamed to this name: delete it.
    FinishRename { to: ProfileName },
    /// It was renamed from this name: use it, and delete the record under the old name.
    FinishRenameFrom { from: ProfileName },
    /// It is a discarded copy: delete it.
    Discard,
    /// Use it, and delete the copy under this name.
    DiscardCopy { copy: ProfileName },
    /// The other record must be read first.
    Hold,
    /// The Codex home decides which program owns the grant.
    CheckCodexHome,
}

/// What to do with a record, given the record under the other name. A grant has one owner: of two
/// records of one grant, one is deleted before the other is used.
pub(super) fn resolve_intent(
    name: &ProfileName,
    record: &Record,
    read_other: impl FnOnce(&ProfileName) -> OtherRecord,
) -> IntentResolution {
    let Some(intent) = &record.intent else { return IntentResolution::Live };
    if let Intent::ExportTo { .. } | Intent::ImportFrom { .. } = intent {
        return IntentResolution::CheckCodexHome;
    }
    let Some(other) = other_name(intent) else { return IntentResolution::ClearIntent };
    match (intent, read_other(&other)) {
        (_, OtherRecord::Absent) => IntentResolution::ClearIntent,
        (_, OtherRecord::Of { grant_id, .. }) if grant_id != record.grant_id => IntentResolution::ClearIntent,
        (Intent::DiscardCopy { .. }, _) | (Intent::RenameTo { .. }, OtherRecord::Unusable) => {
            IntentResolution::DiscardCopy { copy: other }
        }
        (_, OtherRecord::Unread) => IntentResolution::Hold,
        (Intent::RenameTo { .. }, OtherRecord::Of { .. }) => IntentResolution::FinishRename { to: other },
        (_, OtherRecord::Of { discards: Some(discarded), .. }) if discarded == *name => {
            IntentResolution::Discard
        }
        (_, OtherRecord::Of { .. } | OtherRecord::Unusable) => {
            IntentResolution::FinishRenameFrom { from: other }
        }
    }
}

/// The other name that an intent names, if it is a valid name.
pub(super) fn other_name(intent: &Intent) -> Option<ProfileName> {
    match intent {
        Intent::RenameTo { name } | Intent::CopyOf { name } | Intent::DiscardCopy { name } => {
            name.parse().ok()
        }
        Intent::ExportTo { .. } | Intent::ImportFrom { .. } => None,
    }
}

/// Pairs of records without an intent that hold one refresh token, which an earlier version could
/// leave: the name that is kept, and the name that is dropped. The one with the highest default
/// rank is kept, else the first by name.
pub(super) fn duplicates<E>(
    records: &BTreeMap<ProfileName, Result<Record, E>>,
) -> Vec<(ProfileName, ProfileName)> {
    let mut kept: BTreeMap<String, (&ProfileName, &Record)> = BTreeMap::new();
    let mut duplicates = Vec::new();
    for (name, record) in records {
        let Ok(record @ Record { intent: None, .. }) = record else { continue };
        let Some(token) = record.grant.secrets.refresh_token() else { continue };
        let token = token.fingerprint();
        match kept.get_mut(&token) {
            None => drop(kept.insert(token, (name, record))),
            Some(first) if record.default_rank > first.1.default_rank => {
                let dropped = std::mem::replace(first, (name, record));
                duplicates.push((name.clone(), dropped.0.clone()));
            }
            Some((first, _)) => duplicates.push(((*first).clone(), name.clone())),
        }
    }
    duplicates
}

/// The default profile: the one with the highest rank. A profile without a rank does not become the
/// default because others left: it may belong to another user. `only_unread` is the only profile,
/// if its record, and so its rank, cannot be read.
pub(super) fn default_profile(
    ranks: &BTreeMap<ProfileName, u64>,
    only_unread: Option<&ProfileName>,
) -> Option<ProfileName> {
    let ranked = ranks.iter().rev().filter(|(_, rank)| **rank > 0);
    ranked.max_by_key(|(_, rank)| **rank).map(|(name, _)| name).or(only_unread).cloned()
}

#[cfg(test)]
mod tests;
