//! The route of a request, from its method, path and grant type. Tests count requests by route, and
//! faults apply to a route.

use serde::{Deserialize, Serialize};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// `GET /oauth/authorize`
    Authorize,
    /// `POST /oauth/token` with an authorization code of a browser or device login
    CodeExchange,
    /// `POST /oauth/token` with an id token, for an API key
    ApiKeyExchange,
    /// `POST /oauth/token` with a refresh token
    Refresh,
    /// `POST /oauth/revoke`
    Revoke,
    /// `POST /api/accounts/deviceauth/usercode`
    DeviceCode,
    /// `POST /api/accounts/deviceauth/token`
    DevicePoll,
    /// `/codex/device`, the page where the user enters a device code
    DevicePage,
    /// `GET /api/accounts/v1/user-auth-credential/whoami`
    Whoami,
    /// `POST /backend-api/codex/responses`
    ChatGptResponses,
    /// `GET /backend-api/codex/responses`, which upgrades to a WebSocket
    ChatGptWebSocket,
    /// `GET /backend-api/codex/models`
    ChatGptModels,
    /// `GET /backend-api/me`
    Me,
    /// `GET /backend-api/accounts/check`
    AccountsCheck,
    /// `GET /backend-api/wham/accounts/check`
    WhamAccountsCheck,
    /// `GET /backend-api/wham/usage`
    WhamUsage,
    /// `GET /backend-api/conversations`
    Conversations,
    /// `POST /backend-api/conversation`, which is always rejected
    Conversation,
    /// `POST /v1/responses`
    ApiResponses,
    /// `GET /v1/responses`, which upgrades to a WebSocket
    ApiWebSocket,
    /// `GET /v1/models`
    ApiModels,
    /// The control endpoints under `/_sandbox`. They are not recorded, and have no faults.
    Control,
    /// Anything else.
    Other,
}

impl Route {
    /// The route of a request. The body matters at the token endpoint only.
    pub(crate) fn of(is_get: bool, path: &str, body: &str) -> Self {
        match path {
            "/oauth/authorize" => Self::Authorize,
            "/oauth/token" => Self::of_grant(body),
            "/oauth/revoke" => Self::Revoke,
            "/api/accounts/deviceauth/usercode" => Self::DeviceCode,
            "/api/accounts/deviceauth/token" => Self::DevicePoll,
            "/codex/device" => Self::DevicePage,
            "/api/accounts/v1/user-auth-credential/whoami" => Self::Whoami,
            "/backend-api/codex/responses" if is_get => Self::ChatGptWebSocket,
            "/backend-api/codex/responses" => Self::ChatGptResponses,
            "/backend-api/codex/models" => Self::ChatGptModels,
            "/backend-api/me" => Self::Me,
            "/backend-api/accounts/check" => Self::AccountsCheck,
            "/backend-api/wham/accounts/check" => Self::WhamAccountsCheck,
            "/backend-api/wham/usage" => Self::WhamUsage,
            "/backend-api/conversations" => Self::Conversations,
            "/backend-api/conversation" => Self::Conversation,
            "/v1/responses" if is_get => Self::ApiWebSocket,
            "/v1/responses" => Self::ApiResponses,
            "/v1/models" => Self::ApiModels,
            control if control.starts_with("/_sandbox/") => Self::Control,
            _ => Self::Other,
        }
    }

    /// The host of the provider that serves this route; `None` if all may.
    pub(crate) fn host(self) -> Option<&'static str> {
        match self {
            Self::Authorize
            | Self::CodeExchange
            | Self::ApiKeyExchange
            | Self::Refresh
            | Self::Revoke
            | Self::DeviceCode
            | Self::DevicePoll
            | Self::DevicePage
            | Self::Whoami => Some("auth.openai.com"),
            Self::ChatGptResponses
            | Self::ChatGptWebSocket
            | Self::ChatGptModels
            | Self::Me
            | Self::AccountsCheck
            | Self::WhamAccountsCheck
            | Self::WhamUsage
            | Self::Conversations
            | Self::Conversation => Some("chatgpt.com"),
            Self::ApiResponses | Self::ApiWebSocket | Self::ApiModels => Some("api.openai.com"),
            Self::Control | Self::Other => None,
        }
    }

    fn of_grant(body: &str) -> Self {
        if body.contains("authorization_code") {
            Self::CodeExchange
        } else if body.contains("token-exchange") {
            Self::ApiKeyExchange
        } else if body.contains("refresh_token") {
            Self::Refresh
        } else {
            Self::Other
        }
    }
}
