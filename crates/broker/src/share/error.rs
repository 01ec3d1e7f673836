//! Why a share was not made, or not ended.

use std::io;

/// Why a command on shares failed.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// A field of the request has a value that is not allowed.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field of the request.
        field: &'static str,
        /// What is wrong, and what is allowed.
        reason: &'static str,
    },
    /// There is no share with this id.
    #[error("there is no share {0}")]
    Unknown(String),
    /// The share was not made to be held.
    #[error("the share {0} was made without \"held\"; it lasts until its time")]
    NotHeld(String),
    /// There are too many shares.
    #[error("there are {0} shares already")]
    TooMany(usize),
    /// The list of shares was not read.
    #[error("the list of shares cannot be read: {0}")]
    NotRead(io::Error),
    /// The list of shares was not written, and the share does not exist.
    #[error("the list of shares cannot be written: {0}")]
    NotWritten(io::Error),
    /// The share has ended, but the list still contains it. The daemon writes the list again; a
    /// restart before that would bring the share back.
    #[error("the share has ended, but the list of shares cannot be written: {0}")]
    EndNotWritten(io::Error),
}
