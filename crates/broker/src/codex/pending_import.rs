//! An import whose source still holds its refresh token.

use std::sync::Arc;

use authd_api::ProfileName;

use super::location::LoginLocation;

#[derive(Clone, Debug)]
pub(super) struct PendingImport {
    pub(super) name: ProfileName,
    /// The imported grant. The profile may hold another one by now.
    pub(super) grant_id: Arc<str>,
    pub(super) location: LoginLocation,
    /// Whether a refresh has succeeded, so that authd owns the grant.
    pub(super) verified: bool,
}
