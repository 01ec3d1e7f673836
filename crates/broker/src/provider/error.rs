//! Why a definition was not found, not added, or not removed.

use std::io;

use authd_oauth::definition::InvalidDefinition;

/// Why a command on provider definitions failed. No message quotes a name: it may be anything, a
/// secret too.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// The name is not allowed. The text continues a sentence that begins with the name.
    #[error("the name {0}")]
    InvalidName(&'static str),
    /// A value of the definition is not allowed.
    #[error("{0}")]
    Invalid(InvalidDefinition),
    /// There is no definition with this name.
    #[error("there is no provider with this name")]
    Unknown,
    /// The name has another definition.
    #[error("a provider with this name exists, and its definition is another one")]
    Taken,
    /// The definition is in the configuration.
    #[error("this provider is defined in authd.toml")]
    Configured,
    /// The added definition cannot be used.
    #[error("the definition of this provider in providers.json cannot be used: {0}")]
    Unusable(String),
    /// There are too many definitions.
    #[error("{0} providers were added already")]
    TooMany(usize),
    /// The list of added definitions was not read.
    #[error("the list of added providers cannot be read: {0}")]
    NotRead(io::Error),
    /// The list was not written, and nothing has changed.
    #[error("the list of added providers cannot be written: {0}")]
    NotWritten(io::Error),
}
