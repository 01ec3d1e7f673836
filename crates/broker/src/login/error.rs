//! Why a login, or a command about one, failed.

use std::sync::Arc;

use authd_api::ProfileName;
use authd_oauth::{
    CallbackError, LoginFailure, ProviderError, discovery::DiscoveryFault, own_credential::CheckError,
};
use authd_store::StoreError;
use jiff::Timestamp;

use crate::{provider::DefinitionError, registry::RegistryError};

/// Why a login, or a command about one, failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoginError {
    /// No login has this id.
    #[error("no such login")]
    Unknown(String),
    /// The pending logins of the last run have not been read yet.
    #[error("the pending logins have not been read")]
    NotRead,
    /// Too many logins are pending.
    #[error("too many pending logins")]
    TooMany {
        /// How many are pending.
        pending: usize,
        /// When the first of them expires.
        first_expires_at: Timestamp,
    },
    /// The login requests a workspace that the configuration does not accept.
    #[error("workspace not accepted")]
    WorkspaceNotAccepted {
        /// The requested workspace.
        requested: String,
        /// The accepted ones.
        accepted: Vec<String>,
    },
    /// The callback server does not listen, for this reason.
    #[error("callback server not listening")]
    CallbackUnavailable(Option<String>),
    /// A pasted redirect URL was sent to a device login.
    #[error("a device login takes no redirect URL")]
    NotBrowser,
    /// The pasted text is not a redirect URL.
    #[error("not a redirect URL: {0}")]
    InvalidRedirect(CallbackError),
    /// The pasted redirect URL belongs to another login.
    #[error("redirect URL of another login")]
    ForeignRedirect,
    /// The provider's definition was not found.
    #[error("{0}")]
    Definition(Arc<DefinitionError>),
    /// The request has an option that only defined providers have.
    #[error("a login at the built-in provider has no {0}")]
    NotBuiltIn(&'static str),
    /// The request has an option that only the built-in provider has.
    #[error("a login at a defined provider has no {0}")]
    NotDefined(&'static str),
    /// A requested scope is not one.
    #[error("not a scope")]
    InvalidScope,
    /// The provider's metadata cannot be used.
    #[error("discovery failed: {0}")]
    Discovery(Box<DiscoveryFault>),
    /// The definition has no client id, and the provider registers no client. Has the way to
    /// register one, if the definition says it.
    #[error("no client id for provider {0}")]
    NoClient(String, Option<String>),
    /// The provider did not register a client.
    #[error("client not registered: {0}")]
    Registration(ProviderError),
    /// The registration of the client was not read or not saved.
    #[error("client registration: {0}")]
    Store(Arc<StoreError>),
    /// The provider did not accept the authorization request (RFC 9126).
    #[error("authorization request not pushed: {0}")]
    NotPushed(ProviderError),
    /// The provider did not start its device flow.
    #[error("device flow not started: {0}")]
    DefinedDevice(ProviderError),
    /// The provider has no device flow.
    #[error("no device flow")]
    NoDeviceFlow,
    /// The provider did not start a device login for this profile.
    #[error("device login not started: {1}")]
    Device(ProfileName, ProviderError),
    /// The user did not finish the login for this profile in time.
    #[error("expired")]
    Expired(ProfileName),
    /// The provider or a rule rejected the login for this profile.
    #[error("{1}")]
    Rejected(ProfileName, LoginFailure),
    /// A credential that the user supplied is not stored.
    #[error("{0}")]
    OwnCredential(OwnCredentialError),
    /// The registry did not accept the sign-in for this profile.
    #[error("sign-in not added: {1:?}")]
    Registry(ProfileName, Arc<RegistryError>),
}

/// Why a credential that the user supplied is not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OwnCredentialError {
    /// The check did not show that the provider accepts it, for this profile.
    #[error("{kind:?} not accepted: {error}")]
    NotAccepted {
        /// The profile.
        profile: ProfileName,
        /// The kind of credential.
        kind: CredentialKind,
        /// What the check showed.
        error: CheckError,
    },
    /// Another user has this profile.
    #[error("profile {0} is of another user")]
    Taken(ProfileName),
    /// The profile is of this defined provider, and the credential is of another one.
    #[error("profile {0} is of provider {1}")]
    OtherProvider(ProfileName, String),
    /// The token is no personal access token of OpenAI.
    #[error("not a personal access token")]
    NotPersonalAccessToken,
    /// The key is a personal access token of OpenAI.
    #[error("not an API key")]
    NotApiKey,
    /// The definition of this provider names no URL that a token can be checked with.
    #[error("no way to check a token of provider {0}")]
    Uncheckable(String),
}

impl From<OwnCredentialError> for LoginError {
    fn from(error: OwnCredentialError) -> Self {
        Self::OwnCredential(error)
    }
}

/// The kind of a credential that the user supplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// An API key of OpenAI.
    ApiKey,
    /// A personal access token of OpenAI.
    PersonalAccessToken,
    /// The token of a defined provider.
    Token,
}
