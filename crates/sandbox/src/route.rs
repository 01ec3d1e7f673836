//! What a request is for, read from its method, path and grant type: the name by which tests count it, and by
//! which faults find it. It answers nothing: the handlers do.

use serde::{Deserialize, Serialize};

/// Every kind of request that the sandbox tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// `GET /oauth/authorize`
    Authorize,
    /// `POST /oauth/token` with an authorization code, of the browser or of the device flow
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
    /// `/codex/device`, the page where a person enters a device code
    DevicePage,
    /// `POST /backend-api/codex/responses`
    ChatGptResponses,
    /// `GET /backend-api/codex/responses`, which becomes a WebSocket
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
    /// `POST /backend-api/conversation`, which is always refused
    Conversation,
    /// `POST /v1/responses`
    ApiResponses,
    /// `GET /v1/responses`, which becomes a WebSocket
    ApiWebSocket,
    /// `GET /v1/models`
    ApiModels,
    /// The sandbox's own switches under `/_sandbox`; neither recorded nor troubled by faults.
    Control,
    /// Anything else.
    Other,
}

impl Route {
    /// Names the request; `get` tells two from each other, and `body` matters at the token endpoint alone.
    pub(crate) fn of(get: bool, path: &str, body: &str) -> Self {
        match path {
            "/oauth/authorize" => Self::Authorize,
            "/oauth/token" => Self::of_grant(body),
            "/oauth/revoke" => Self::Revoke,
            "/api/accounts/deviceauth/usercode" => Self::DeviceCode,
            "/api/accounts/deviceauth/token" => Self::DevicePoll,
            "/codex/device" => Self::DevicePage,
            "/backend-api/codex/responses" if get => Self::ChatGptWebSocket,
            "/backend-api/codex/responses" => Self::ChatGptResponses,
            "/backend-api/codex/models" => Self::ChatGptModels,
            "/backend-api/me" => Self::Me,
            "/backend-api/accounts/check" => Self::AccountsCheck,
            "/backend-api/wham/accounts/check" => Self::WhamAccountsCheck,
            "/backend-api/wham/usage" => Self::WhamUsage,
            "/backend-api/conversations" => Self::Conversations,
            "/backend-api/conversation" => Self::Conversation,
            "/v1/responses" if get => Self::ApiWebSocket,
            "/v1/responses" => Self::ApiResponses,
            "/v1/models" => Self::ApiModels,
            control if control.starts_with("/_sandbox/") => Self::Control,
            _ => Self::Other,
        }
    }

    /// Which of the provider's hosts serves this; `None` if any may be asked.
    pub(crate) fn host(self) -> Option<&'static str> {
        match self {
            Self::Authorize
            | Self::CodeExchange
            | Self::ApiKeyExchange
            | Self::Refresh
            | Self::Revoke
            | Self::DeviceCode
            | Self::DevicePoll
            | Self::DevicePage => Some("auth.openai.com"),
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
