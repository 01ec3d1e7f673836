//! Provider definitions: those of the configuration, and those that a user adds at run time.

mod added;
mod directory;
mod error;
mod file;

pub(crate) use self::directory::run;
pub use self::{
    added::AddedDefinitions,
    directory::{ProviderDefinitions, ProviderDirectory, StoredDefinition},
    error::DefinitionError,
};
