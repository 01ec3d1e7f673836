//! The settings of logins.

use std::time::Duration;

use authd_oauth::{ModePreference, Provider};

use super::error::LoginError;

/// What a login needs from the configuration. A reload replaces it for later logins.
#[derive(Clone, Debug)]
pub struct LoginSettings {
    /// Time that a user has to finish a browser login.
    pub lifetime: Duration,
    /// The mode of a login that names none.
    pub mode: ModePreference,
    /// The accepted workspaces; empty accepts any.
    pub workspaces: Vec<String>,
    /// The ports of the callback server. The first one is that of the redirect URI of a pasted
    /// login while the server does not listen.
    pub ports: Vec<u16>,
    /// The provider.
    pub provider: Provider,
}

impl LoginSettings {
    /// The mode that a login requests, or the configured one.
    pub(super) fn mode(&self, requested: authd_api::ModePreference) -> ModePreference {
        match requested {
            authd_api::ModePreference::Auto => self.mode,
            authd_api::ModePreference::ChatGpt => ModePreference::ChatGpt,
            authd_api::ModePreference::ApiKey => ModePreference::ApiKey,
        }
    }

    /// The workspaces that a login may end in; empty accepts any.
    pub(super) fn workspaces(&self, requested: Option<&str>) -> Result<Vec<String>, LoginError> {
        let accepted = self.workspaces.clone();
        match requested.map(ToOwned::to_owned) {
            None => Ok(accepted),
            Some(id) if accepted.is_empty() || accepted.contains(&id) => Ok(vec![id]),
            Some(requested) => Err(LoginError::WorkspaceNotAccepted { requested, accepted }),
        }
    }
}
