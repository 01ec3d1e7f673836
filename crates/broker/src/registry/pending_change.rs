//! Changes of the store that have started and must be finished.

use authd_api::ProfileName;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PendingChange {
    /// The grant is under `to`. Homes that use `from` must use `to`, and the record `from` be
    /// deleted.
    Rename { from: ProfileName, to: ProfileName },
    /// The grant is under `name`. The record `copy` must be deleted.
    DiscardCopy { name: ProfileName, copy: ProfileName },
    /// The grant may have been exported. The intent in the record names the target.
    Export { name: ProfileName },
    /// The record must be deleted.
    Delete { name: ProfileName },
    /// The index of an earlier version names this default. Its record must get the rank, and the
    /// index be deleted.
    LegacyIndex { default: Option<ProfileName> },
}
