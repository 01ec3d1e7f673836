//! Models that need a recent client. The provider compares the version that the client states:
//! `client_version` in the query of the model list, and the `version` header of a request.

use crate::Shared;

/// Whether a client of this version may use the model. A version that is absent or malformed counts
/// as the oldest.
pub(crate) fn may_use(shared: &Shared, model: &str, version: Option<&str>) -> bool {
    let minimum = shared.minimal_client_versions.iter().find(|(name, _)| name == model);
    minimum.is_none_or(|(_, minimum)| numbers(version) >= numbers(Some(minimum)))
}

/// The error message of the backend for a model that needs a newer client.
pub(crate) fn too_old(model: &str) -> String {
    format!(
        "The '{model}' model requires a newer version of Codex. Please upgrade to the latest app or CLI and \
         try again."
    )
}

/// `0.150.0-alpha.1` as `[0, 150, 0]`.
fn numbers(version: Option<&str>) -> Vec<u64> {
    let release = version.unwrap_or_default().split(['-', '+']).next().unwrap_or_default();
    release.split('.').map_while(|number| number.parse().ok()).collect()
}
