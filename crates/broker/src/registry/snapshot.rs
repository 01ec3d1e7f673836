//! The published list of profiles.

use std::{collections::BTreeMap, sync::Arc};

use authd_api::ProfileName;
use authd_store::{ProfilePlace, StoreError};

use crate::profile::ProfileHandle;

/// The profiles as of the last change.
#[derive(Clone, Debug, Default)]
pub struct RegistrySnapshot {
    /// Whether the names are known.
    pub names: Names,
    /// Where the records of the profiles are.
    pub place: ProfilePlace,
    /// The profile of a request that names none.
    pub default: Option<ProfileName>,
    /// All profiles; empty until the names are known.
    pub profiles: BTreeMap<ProfileName, ProfileHandle>,
}

/// Whether the names of the profiles are known.
#[derive(Clone, Debug, Default)]
pub enum Names {
    /// The store is being listed and its records are being read.
    #[default]
    Loading,
    /// The store could not be listed; the registry tries again.
    Unavailable(Arc<StoreError>),
    /// The store was listed, and the registry has tried to read each record.
    Known,
}

pub(super) fn not_read() -> StoreError {
    StoreError::unavailable("its record has not been read yet")
}
