//! Environment variables. An empty one counts as unset, as in the daemon.

use std::{ffi::OsString, path::PathBuf};

pub(crate) fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

pub(crate) fn path(name: &str) -> Option<PathBuf> {
    var(name).map(PathBuf::from)
}
