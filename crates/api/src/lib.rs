//! The words on authd's socket: every message, path, error code and file place, and the one client
//! that speaks them. It decides nothing and keeps nothing.
//!
//! The protocol is HTTP/1.1 with JSON over a Unix stream socket, so that `curl --unix-socket` and any
//! language's HTTP library are clients too:
//!
//! ```text
//! curl --unix-socket "$XDG_RUNTIME_DIR/authd/authd.sock" http://authd/v1/profiles/-/headers
//! ```
//!
//! * The request's `Host` is `authd` or `localhost`; `Origin` and `Referer` are refused, so that no web
//!   page can reach the daemon.
//! * Every answer of status 400 and above is a [`Problem`] (RFC 9457); its [`ErrorCode`] alone decides
//!   the status and `authctl`'s exit code.
//! * Unknown fields are ignored in answers and refused in requests.
//!
//! The whole contract, with its routes and examples, is `docs/api.md`.

mod client;
mod error;
mod message;
mod name;
#[cfg(feature = "schema")]
pub mod openapi;
mod paths;
pub mod route;

pub use client::{Answer, Client, ClientError, Streamed};
pub use error::{ErrorCode, Problem};
pub use message::{
    ApiKeyBody, CallbackBody, CallbackState, CallbackStatus, CodexBody, Diagnosis, ExportBody, Finding,
    FindingState, Flow, Headers, ImportBody, Login, LoginBody, LoginFile, LoginState, MigrateBody, Migrated,
    Mode, ModeWish, Profile, ProfilePatch, ProfileState, Profiles, Program, RefreshBody, Status, StoreKind,
    StoreState, StoreStatus,
};
pub use name::{NameError, ProfileName};
pub use paths::{PathError, Paths};

/// The header every answer carries: the daemon's version.
pub const VERSION_HEADER: &str = "authd-version";

/// The header of a refusal that says which request it was: the log names it so, too.
pub const REQUEST_HEADER: &str = "authd-request";

/// The media type of a [`Problem`] (RFC 9457, section 6.1).
pub const PROBLEM_TYPE: &str = "application/problem+json";
