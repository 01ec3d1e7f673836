//! Logins shared with the Codex CLI.

mod actor;
mod error;
mod export;
mod handle;
mod homes;
mod import;
mod install;
mod location;
mod lock;
mod ownership;
mod pending_import;
mod status;
mod sync;
mod watch;

pub(crate) use self::{
    actor::codex_manager,
    homes::{CodexNotice, ManagedHomes},
    ownership::is_owned_here,
};
pub use self::{
    error::CodexHomeError,
    handle::CodexManager,
    homes::codex_homes,
    status::{CodexHome, Observed},
};
