//! Logins in progress, from the authorize URL to the profile.

mod browser;
mod callback;
mod callback_server;
mod cleanup;
mod code_exchange;
mod defined;
mod defined_device;
mod defined_exchange;
mod device;
mod error;
mod manager;
mod own_credential;
mod pending;
mod redirect;
mod restore;
mod settings;
mod snapshot;
mod stored;

pub use self::{
    callback_server::{CallbackServerState, LINK_PATH, ListenRequest},
    error::{CredentialKind, LoginError, OwnCredentialError},
    manager::Logins,
    pending::{LinkTarget, LoginOrder},
    settings::LoginSettings,
    snapshot::{LoginSnapshot, SignedInProfile},
};
