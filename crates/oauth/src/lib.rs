//! The OAuth protocol and its policy. Nearly all of it is pure functions of their parameters; only
//! `endpoint.rs` and `network/` do I/O. Nothing here is stored.
//!
//! The life of a grant:
//!
//! ```text
//!  Attempt ── authorize_url ──► browser ──► Callback
//!     │                                        │
//!     └──────────── accept ◄───────────────────┘
//!                     │ code, verifier
//!                     ▼
//!                 exchange_code ──► Tokens ──► claims ──► mode_decision::decide
//!                                                            │
//!                          ChatGPT mode ◄────────────────────┼─► exchange_api_key ─► API-key mode
//!                               │                            │            │
//!                               ▼                            ▼            ▼
//!                            Session ── refresh, save, serve, … ── until GrantEnd
//! ```
//!
//! Terms are those of RFC 6749 (authorization code, refresh token), RFC 7636 (code verifier, code
//! challenge), RFC 8693 (token exchange, subject token) and RFC 7009 (revocation), and for defined
//! providers also RFC 7591 (registration), RFC 8414 (metadata), RFC 8628 (device code) and RFC 8707
//! (resource). `docs/protocol.md` describes OpenAI's additions and their sources.

mod authority;
pub mod claim;
pub mod claims;
mod client;
pub mod codex;
pub mod definition;
mod device;
mod digest;
pub mod discovery;
mod endpoint;
mod error;
pub mod error_response;
mod form;
pub mod headers;
mod login;
mod memory;
mod mode;
pub mod mode_decision;
mod network;
pub mod own_credential;
mod pkce;
mod provider;
pub mod quota;
mod record;
mod refusal;
pub mod routing;
pub mod schedule;
mod scope;
mod secret;
mod session;
mod sign_in;
mod token;

pub use authority::{Authority, BearerGrant, ClientAuth, OauthClient};
pub use claims::Identity;
pub use client::{CODEX_VERSION, ClientIdentity, Machine};
pub use codex::{CodexError, CodexLogin};
pub use device::{DevicePoll, DeviceStart, device_pause};
pub use endpoint::{Endpoint, HostProbe};
pub use error::{ErrorCode, ProviderError};
pub use login::{Attempt, AuthorizationError, Callback, CallbackError, Exchange, LoginFailure, Redirect};
pub use memory::keep_out_of_swap;
pub use mode::{Mode, ModePreference, Plan};
pub use mode_decision::Decision;
pub use network::{DiscoveryRun, Network, NetworkError, SentRequest, Upstream, with_causes};
pub use pkce::{Challenge, State, Verifier};
pub use provider::{Provider, REDIRECT_PATH};
pub use quota::QuotaReading;
pub use record::{Grant, GrantEnd, GrantSecrets, Intent, Record, RecordError, grant_id_from, new_grant_id};
pub use refusal::{OauthRequest, Refusal};
pub use routing::Routing;
pub use secret::{
    AccessToken, ApiKey, AuthorizationCode, Bearer, ClientSecret, DeviceCode, IdToken, RefreshToken,
};
pub use session::{
    Annotation, ClaimResult, Credential, Effect, Event, LastError, PROBE_PAUSE, ProfileStatus,
    REJECTION_PAUSE, Rejected, SaveError, Session, SharedRecord, StatusFlags, Version, WriteResult,
};
pub use sign_in::{
    ClientSource, DefinedDevicePoll, DefinedDeviceStart, IdTokenError, RegisteredClient, SignInClient,
    SignInPlan, Target, identity_of_id_token,
};
pub use token::{BearerResponse, CodeResponse, RefreshResponse, Tokens};
