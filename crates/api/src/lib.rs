//! The protocol of authd's socket: messages, routes, error codes, paths, and the client.
//!
//! The protocol is HTTP/1.1 with JSON over a Unix stream socket, so `curl --unix-socket` and the
//! HTTP libraries of other languages are clients, too:
//!
//! ```text
//! curl --unix-socket "$XDG_RUNTIME_DIR/authd/authd.sock" http://authd/v1/profiles/-/headers
//! ```
//!
//! * The request's `Host` is `authd` or `localhost`. The daemon rejects `Origin`, `Referer` and
//!   `Sec-Fetch-Site`, so no web page can use it.
//! * Every response of status 400 and above is a [`Problem`] (RFC 9457). Its [`ErrorCode`]
//!   determines
//!   the status and the exit code of `authctl`.
//! * Unknown fields are ignored in responses and rejected in requests.
//!
//! A complete program that lists the models of the default profile:
//!
//! ```no_run
//! use authd_api::{Client, ClientError, Paths};
//! use http::Method;
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::new(Paths::from_env()?.socket);
//!     let path = format!("{}/models?client_version=0.171.0", Client::relay_path(None));
//!     let result = client.send(Method::GET, &path, None::<&()>).await;
//!     match result {
//!         Ok(response) => println!("{}", String::from_utf8_lossy(&response.body)),
//!         // The code is for programs; the detail and the hint are for the user.
//!         Err(ClientError::Problem(problem)) => {
//!             eprintln!("{}\n{}", problem.detail, problem.hint.unwrap_or_default());
//!             std::process::exit(problem.code.exit_code().into());
//!         }
//!         Err(error) => return Err(error.into()),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! Choose the call by what the program does:
//!
//! * [`Client::relay_path`]: send requests through the daemon, which adds the headers.
//! * [`Client::headers`] or [`Client::headers_blocking`]: call the provider directly.
//! * [`Headers::token`]: use a library that needs only the token.
//! * [`Client::start_login`]: sign the user in.
//!
//! `docs/api.md` documents all routes with examples; `docs/openapi.json` is the OpenAPI document.

mod blocking;
mod client;
mod error;
mod message;
mod name;
mod paths;
pub mod route;

pub use client::{Client, ClientError, Response, StreamingResponse};
pub use error::{ErrorCode, Problem, RelayProblem, SdkError};
pub use message::{
    ApiKeyBody, AuditAction, AuditEntry, AuditStatus, AuditTarget, CallbackBody, CallbackState,
    CallbackStatus, CodexBody, CodexHome, CodexHomeState, CodexHomes, CreatedShare, Diagnosis,
    DiscoveryRequest, ExportBody, Finding, FindingState, FleetState, FleetStatus, Flow, Headers, ImportBody,
    LocalStore, Login, LoginBody, LoginFile, LoginFileOutcome, LoginState, Logins, MigrateBody, Migrated,
    Mode, ModePreference, Process, Profile, ProfilePatch, ProfileState, Profiles, Program, Provider,
    ProviderAspect, ProviderAspectState, ProviderBody, ProviderCheck, ProviderCheckBody, ProviderDefinedIn,
    Providers, Quota, QuotaCredits, QuotaWindow, RefreshBody, Share, ShareAccess, ShareBody, ShareCompat,
    ShareDoor, Shares, Status, StoreKind, StoreState, StoreStatus, StoredCredential, TokenBody,
};
pub use name::{NameError, ProfileName};
pub use paths::{PathError, Paths, UsedPaths, session_runtime_dir};

/// The version for `--version`. A package of a release also names its commit and its target, which
/// `cargo xtask dist` sets at compile time with `AUTHD_BUILD`. Other builds have the version only.
pub const BUILD_VERSION: &str = match option_env!("AUTHD_BUILD") {
    Some(build) => build,
    None => env!("CARGO_PKG_VERSION"),
};

/// The header of every response, with the daemon's version.
pub const VERSION_HEADER: &str = "authd-version";

/// The header of every [`Problem`], with the request's id in the daemon's log.
pub const REQUEST_HEADER: &str = "authd-request";

/// The header of a relayed 401 response, with the credential's new generation. The daemon refreshed
/// the credential but did not have the complete request body any more. Send the request again.
pub const RENEWED_HEADER: &str = "authd-renewed";

/// The header of a response through a share with `compat`, with the parameters of the request that
/// were dropped, separated by commas.
pub const COMPAT_HEADER: &str = "authd-dropped";

/// The media type of a [`Problem`] (RFC 9457, section 6.1).
pub const PROBLEM_TYPE: &str = "application/problem+json";
