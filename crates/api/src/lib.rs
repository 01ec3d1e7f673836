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
//! A whole program that asks OpenAI who may be asked, as whoever is signed in, and knows what to do when
//! nobody is:
//!
//! ```no_run
//! use authd_api::{Client, ClientError, Paths};
//! use http::{HeaderMap, Method};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::new(Paths::from_env()?.socket);
//!     let path = format!("{}/models?client_version=0.34.0", Client::relay_path(None));
//!     let asked = async {
//!         client.stream(Method::GET, &path, &HeaderMap::new(), "".into()).await?.whole().await?.or_problem()
//!     };
//!     match asked.await {
//!         Ok(answer) => println!("{}", String::from_utf8_lossy(&answer.body)),
//!         // The code is for programs, the detail and the hint are for people.
//!         Err(ClientError::Problem(problem)) => {
//!             eprintln!("{}\n{}", problem.detail, problem.hint.unwrap_or_default());
//!             std::process::exit(problem.code.exit_code().into());
//!         }
//!         Err(no_daemon) => return Err(no_daemon.into()),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! [`Client::headers`] is for programs that call OpenAI themselves ([`Client::headers_blocking`], if they are not
//! asynchronous), [`Headers::token`] for those that want
//! the bare token, [`Client::start_login`] for those that sign a person in, and [`Client::relay_path`] for
//! those that want to know nothing of headers at all.
//!
//! The whole contract, with its routes and examples, is `docs/api.md`, and for machines `docs/openapi.json`.

mod blocking;
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
    FindingState, Flow, Headers, ImportBody, Login, LoginBody, LoginFile, LoginFileOutcome, LoginState,
    MigrateBody, Migrated, Mode, ModePreference, Profile, ProfilePatch, ProfileState, Profiles, Program,
    RefreshBody, Status, StoreKind, StoreState, StoreStatus,
};
pub use name::{NameError, ProfileName};
pub use paths::{PathError, Paths};

/// The header every answer carries: the daemon's version.
pub const VERSION_HEADER: &str = "authd-version";

/// The header of a refusal that says which request it was: the log names it so, too.
pub const REQUEST_HEADER: &str = "authd-request";

/// The header of a relayed 401 that says which generation the credential is now: it was renewed, but the
/// request's body was not at hand any more. Whoever sends the request again is served.
pub const RENEWED_HEADER: &str = "authd-renewed";

/// The media type of a [`Problem`] (RFC 9457, section 6.1).
pub const PROBLEM_TYPE: &str = "application/problem+json";
