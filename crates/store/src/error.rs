//! The error of a store call.

use std::{fmt, io, time::Duration};

use crate::Key;

/// Why a call failed. None of these means that a record does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The user has to unlock the store. It works again without a restart.
    #[error("the credential store is locked: {detail}")]
    Locked {
        /// What is locked.
        detail: String,
    },
    /// The store cannot be reached or read, or does not return what was written. The daemon
    /// retries.
    #[error("the credential store is unavailable: {detail}")]
    Unavailable {
        /// The cause, with the path if it is a file.
        detail: String,
    },
    /// The store does not support the call. A retry fails again.
    #[error("this store cannot do that: {detail}")]
    Refused {
        /// The reason, and what the user can do.
        detail: String,
    },
    /// One record cannot be decrypted or decoded. Other records are not affected.
    #[error("the record {key} cannot be opened: {detail}")]
    Damaged {
        /// The record's key; several keys are separated by commas.
        key: String,
        /// What is wrong with the record.
        detail: String,
    },
}

/// The error of a file system call. Its message must name the path.
impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::unavailable(error)
    }
}

impl StoreError {
    /// The call is tried again.
    pub fn unavailable(detail: impl fmt::Display) -> Self {
        Self::Unavailable { detail: detail.to_string() }
    }

    /// The store does not support the call.
    pub fn refused(detail: impl fmt::Display) -> Self {
        Self::Refused { detail: detail.to_string() }
    }

    pub(crate) fn damaged(key: &Key, detail: impl fmt::Display) -> Self {
        Self::Damaged { key: key.to_string(), detail: detail.to_string() }
    }

    /// An earlier call has exceeded its deadline and still runs.
    pub(crate) fn blocked(elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs();
        Self::unavailable(format!(
            "it has not answered for {seconds} s; look for a password dialog on the desktop"
        ))
    }

    /// This call exceeded its deadline.
    pub(crate) fn timed_out(deadline: Duration) -> Self {
        Self::unavailable(format!(
            "it did not answer within {deadline:?}; look for a password dialog on the desktop"
        ))
    }
}
