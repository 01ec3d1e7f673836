//! Logins shared with the Codex CLI.

mod actor;
mod error;
mod export;
mod handle;
mod homes;
mod import;
mod install;
mod location;
mod pending_import;
mod sync;

pub(crate) use self::{
    actor::codex_manager,
    homes::{CodexNotice, ManagedHomes},
    location::is_owned_here,
};
pub use self::{error::CodexHomeError, handle::CodexManager};
