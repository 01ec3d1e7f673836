//! What a record's intent means after a crash, and which profile is the default: pure functions.

use std::{collections::BTreeMap, sync::Arc};

use authd_api::ProfileName;
use authd_oauth::{Intent, Record};

/// What lies under another name.
pub(super) enum OtherRecord {
    /// Nothing.
    Absent,
    /// A record that could not be read.
    Unread,
    /// Something that no key opens, or that is no record: a write that was cut short.
    Unusable,
    /// A record of this grant; and the name whose record it says is to be deleted.
    Of { grant_id: Arc<str>, discards: Option<ProfileName> },
}

/// What is to be done about a record before it is used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum IntentResolution {
    /// Nothing.
    Live,
    /// Its intent did not come about, or was finished.
    ClearIntent,
    /// It was renamed to this name, and is to be deleted.
    FinishRename { to: ProfileName },
    /// It was renamed from this name, whose record is to be deleted.
    FinishRenameFrom { from: ProfileName },
    /// It is a copy that is to be deleted.
    Discard,
    /// The record under this name is a copy that is to be deleted.
    DiscardCopy { copy: ProfileName },
    /// Another record has to be read first.
    Hold,
    /// A Codex home says whose the grant is.
    LookElsewhere,
}

/// What to do about a record, given what lies under other names. A grant has one owner: of two records of one grant, one
/// is deleted before the other is used.
pub(super) fn resolve_intent(
    name: &ProfileName,
    record: &Record,
    other: impl FnOnce(&ProfileName) -> OtherRecord,
) -> IntentResolution {
    let named = |text: &str| text.parse::<ProfileName>().ok();
    match &record.intent {
        None => IntentResolution::Live,
        Some(Intent::RenameTo { name: to }) => match named(to).map(|to| (other(&to), to)) {
            Some((OtherRecord::Unread, _)) => IntentResolution::Hold,
            Some((OtherRecord::Unusable, copy)) => IntentResolution::DiscardCopy { copy },
            Some((OtherRecord::Of { grant_id, .. }, to)) if grant_id == record.grant_id => {
                IntentResolution::FinishRename { to }
            }
            Some((OtherRecord::Of { .. } | OtherRecord::Absent, _)) | None => IntentResolution::ClearIntent,
        },
        Some(Intent::CopyOf { name: from }) => match named(from).map(|from| (other(&from), from)) {
            Some((OtherRecord::Unread, _)) => IntentResolution::Hold,
            Some((OtherRecord::Unusable, from)) => IntentResolution::FinishRenameFrom { from },
            Some((OtherRecord::Of { grant_id, discards }, from)) if grant_id == record.grant_id => {
                if discards.as_ref() == Some(name) {
                    IntentResolution::Discard
                } else {
                    IntentResolution::FinishRenameFrom { from }
                }
            }
            Some((OtherRecord::Of { .. } | OtherRecord::Absent, _)) | None => IntentResolution::ClearIntent,
        },
        Some(Intent::DiscardCopy { name: copy }) => match named(copy).map(|copy| (other(&copy), copy)) {
            Some((OtherRecord::Unread | OtherRecord::Unusable, copy)) => {
                IntentResolution::DiscardCopy { copy }
            }
            Some((OtherRecord::Of { grant_id, .. }, copy)) if grant_id == record.grant_id => {
                IntentResolution::DiscardCopy { copy }
            }
            Some((OtherRecord::Of { .. } | OtherRecord::Absent, _)) | None => IntentResolution::ClearIntent,
        },
        Some(Intent::ExportTo { .. } | Intent::ImportFrom { .. }) => IntentResolution::LookElsewhere,
    }
}

/// Records without an intent that hold one refresh token, which an earlier version could leave behind: which is kept,
/// and which is dropped. The one that is marked as the default is kept, else the first by name.
pub(super) fn duplicates<E>(
    records: &BTreeMap<ProfileName, Result<Record, E>>,
) -> Vec<(ProfileName, ProfileName)> {
    let mut kept: BTreeMap<String, (&ProfileName, &Record)> = BTreeMap::new();
    let mut found = Vec::new();
    for (name, record) in records {
        let Ok(record @ Record { intent: None, .. }) = record else { continue };
        let Some(token) = record.grant.secrets.refresh_token() else { continue };
        let token = token.fingerprint();
        match kept.get_mut(&token) {
            None => drop(kept.insert(token, (name, record))),
            Some(first) if record.default_rank > first.1.default_rank => {
                let dropped = std::mem::replace(first, (name, record));
                found.push((name.clone(), dropped.0.clone()));
            }
            Some((first, _)) => found.push(((*first).clone(), name.clone())),
        }
    }
    found
}

/// The default profile: the only one, else the one with the highest mark.
pub(super) fn default_profile<'a>(
    names: impl ExactSizeIterator<Item = &'a ProfileName>,
    ranks: &BTreeMap<ProfileName, u64>,
) -> Option<ProfileName> {
    let mut names = names;
    if names.len() == 1 {
        return names.next().cloned();
    }
    let marked = ranks.iter().rev().filter(|(_, rank)| **rank > 0);
    marked.max_by_key(|(_, rank)| **rank).map(|(name, _)| name.clone())
}

#[cfg(test)]
mod tests;
