//! Which profiles exist and which one is the default.

mod actor;
mod changes;
mod finish;
mod handle;
mod load;
mod pending_change;
mod recovery;
mod sign_in;
mod snapshot;

pub(crate) use self::actor::registry;
pub use self::{
    handle::{NamePolicy, ProfileRegistry, RegistryError, SignIn},
    snapshot::{Names, RegistrySnapshot},
};
