//! Profiles: each is an actor that owns its grant, and a handle that everything else uses.

mod actor;
mod claim_guard;
mod command;
mod handle;
mod log;
mod move_place;
mod persist;
mod relocate;
mod routing;
mod shared;
mod waiters;

pub(crate) use self::{
    actor::{InitialState, spawn},
    command::{ExportError, ExportRequest, ExportWrite, Mailbox, RenameError, Rollback, WriteError},
    persist::{delete, load, put},
    shared::parse,
};
pub use self::{
    command::SignOutError,
    handle::{ActorStopped, ProfileHandle},
};
