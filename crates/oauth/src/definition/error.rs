//! The error of a definition.

/// A value of a definition that is not allowed. `{key} {reason}` is a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {reason}")]
pub struct InvalidDefinition {
    /// The key; empty for the definition as a whole.
    pub key: &'static str,
    /// What is wrong, and what is allowed.
    pub reason: String,
}

pub(super) fn invalid<T>(key: &'static str, reason: impl Into<String>) -> Result<T, InvalidDefinition> {
    Err(InvalidDefinition { key, reason: reason.into() })
}
