//! Environment variables. An empty one counts as unset, as in the daemon.

use std::{ffi::OsString, path::PathBuf};

pub(crate) fn var(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

pub(crate) fn path(name: &str) -> Option<PathBuf> {
    var(name).map(PathBuf::from)
}

/// Whether the locale has an encoding with all characters: UTF-8, also if no variable is set.
pub(crate) fn is_utf8_locale() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(var);
    locale.is_none_or(|locale| is_utf8(&locale.to_string_lossy()))
}

fn is_utf8(locale: &str) -> bool {
    let locale = locale.to_ascii_lowercase();
    locale.ends_with("utf-8") || locale.ends_with("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_is_the_end_of_the_locale() {
        assert!(["C.UTF-8", "de_DE.utf8"].into_iter().all(is_utf8));
        assert!(!["C", "POSIX", "en_US", "de_DE.ISO-8859-1"].into_iter().any(is_utf8));
    }
}
