//! Changes of the store that have started and must be finished.

use authd_api::ProfileName;

/// A change that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PendingChange {
    /// The grant is under `to`: the homes that use `from` follow, and the record there is deleted.
    Rename { from: ProfileName, to: ProfileName },
    /// The grant is under `name`: the copy is deleted.
    DiscardCopy { name: ProfileName, copy: ProfileName },
    /// The grant of `name` may have been exported: the record says where to look.
    Export { name: ProfileName },
    /// A record of no use is deleted.
    Delete { name: ProfileName },
    /// The default that an earlier version's index names is marked in its record, and the index deleted.
    LegacyIndex { default: Option<ProfileName> },
}
