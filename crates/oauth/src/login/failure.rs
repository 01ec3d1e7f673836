//! Why a login failed, as a message and a remedy for the user.

use crate::{ErrorCode, OauthRequest, ProviderError, Refusal, sign_in::IdTokenError};

/// A failed login, with a message and a remedy for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub enum LoginFailure {
    /// The attempt had expired.
    Expired,
    /// The callback had no code.
    MissingCode,
    /// The provider or the user refused.
    Denied(ErrorCode),
    /// Codex is not enabled for the workspace.
    NotEntitled,
    /// Another workspace was chosen in the browser.
    WrongWorkspace {
        /// The accepted workspaces.
        wanted: String,
        /// The chosen workspace.
        got: Option<String>,
    },
    /// The provider issued no API key.
    NoApiKey(ErrorCode),
    /// The redirect names another issuer, or none although the provider names it always.
    WrongIssuer,
    /// The id token does not belong to this sign-in.
    WrongIdToken(IdTokenError),
    /// A defined provider refused a request of the sign-in.
    Refused(Refusal),
    /// The provider does not know the client that it has registered before.
    ClientForgotten(ErrorCode),
    /// A call to the provider failed.
    Exchange(ProviderError),
}

impl LoginFailure {
    /// The failure, as a message for the user.
    pub fn sentence(&self) -> String {
        match self {
            Self::Expired => "the sign-in was not finished in time".to_owned(),
            Self::MissingCode => "Missing authorization code. Sign-in could not be completed.".to_owned(),
            Self::Denied(code) if code.as_str() == "access_denied" => {
                "the sign-in was denied in the browser (access_denied)".to_owned()
            }
            Self::Denied(code) => format!("the provider denied the sign-in: {}", code.explained()),
            Self::NotEntitled => "Codex is not enabled for your workspace. Contact your workspace \
                                  administrator to request access to Codex."
                .to_owned(),
            Self::WrongWorkspace { wanted, got: Some(got) } => {
                format!("this login is for workspace {wanted}, but {got} was chosen")
            }
            Self::WrongWorkspace { wanted, got: None } => {
                format!("this login is for workspace {wanted}, but the account names no workspace")
            }
            Self::NoApiKey(code) => format!("the provider issued no API key: {}", code.explained()),
            Self::WrongIssuer => {
                "the browser came back from another issuer than the one of this sign-in, so \
                                  the code was not sent anywhere"
                    .to_owned()
            }
            Self::WrongIdToken(error) => format!("the provider's answer is not for this sign-in: {error}"),
            Self::Refused(refusal) => match refusal.request {
                OauthRequest::Exchange => format!("the provider rejected the authorization code: {refusal}"),
                OauthRequest::PollDevice => format!("the provider ended the device login: {refusal}"),
                _ => format!("the provider denied the sign-in: {refusal}"),
            },
            Self::ClientForgotten(code) => {
                format!("the provider does not know the client that it has registered: {}", code.explained())
            }
            Self::Exchange(ProviderError::Rejected { code, .. }) => {
                format!("the provider rejected the authorization code: {}", code.explained())
            }
            Self::Exchange(error) => error.to_string(),
        }
    }

    /// The provider's error code, if it stated one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Denied(code) | Self::NoApiKey(code) | Self::ClientForgotten(code) => code.known(),
            Self::Refused(refusal) => refusal.code.known(),
            Self::Exchange(error) => error.code().map(ErrorCode::as_str),
            // The entitlement is named in the description of this code.
            Self::NotEntitled => Some("access_denied"),
            Self::Expired
            | Self::MissingCode
            | Self::WrongWorkspace { .. }
            | Self::WrongIssuer
            | Self::WrongIdToken(_) => None,
        }
    }

    /// The next step for the user.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Denied(code) | Self::NoApiKey(code) if code.is_region_rule() => ErrorCode::REGION_REMEDY,
            Self::Exchange(error) if error.code().is_some_and(ErrorCode::is_region_rule) => {
                ErrorCode::REGION_REMEDY
            }
            Self::Expired | Self::MissingCode | Self::Denied(_) => "start a new login: authctl login",
            Self::NotEntitled => "ask the administrator of your workspace for access to Codex",
            Self::WrongWorkspace { .. } => {
                "start a new login and choose that workspace in the browser: authctl login"
            }
            Self::WrongIssuer | Self::WrongIdToken(_) => {
                "check the provider with: authctl providers check NAME, then start a new login"
            }
            Self::Refused(refusal) => refusal.remedy().unwrap_or("start a new login: authctl login"),
            Self::ClientForgotten(_) => "start a new login: authd registers a new client",
            Self::NoApiKey(_) => "use ChatGPT mode: authctl login --mode chatgpt",
            Self::Exchange(_) => "start a new login: authctl login; if it fails again: authctl doctor",
        }
    }
}
