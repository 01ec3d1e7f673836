//! Which profiles exist and which one is the default.

mod actor;
mod changes;
mod finish;
mod fleet;
mod handle;
mod load;
mod migration;
mod pending_change;
mod place;
mod recovery;
mod sign_in;
mod snapshot;

pub(crate) use self::actor::registry;
pub use self::{
    handle::{MigrationTarget, NamePolicy, ProfileRegistry, RegistryError, SignIn},
    snapshot::{Names, RegistrySnapshot},
};
