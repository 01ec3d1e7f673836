//! What a user agent says of this machine, read once at the start.

#[cfg(not(target_os = "macos"))]
use std::fs;

use authd_oauth::Machine;

/// This machine.
pub(super) fn this() -> Machine {
    let (system, release) = system();
    // A daemon has no terminal; the provider's own client says so in this word.
    Machine { system, release, architecture: std::env::consts::ARCH.to_owned(), terminal: "unknown".to_owned() }
}

#[cfg(target_os = "macos")]
fn system() -> (String, String) {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    ("Mac OS".to_owned(), release)
}

#[cfg(not(target_os = "macos"))]
fn system() -> (String, String) {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(line.trim().trim_matches('"').to_owned())
    };
    let name = field("NAME").and_then(|name| name.split_whitespace().next().map(ToOwned::to_owned));
    (name.unwrap_or_else(|| "Linux".to_owned()), three_parts(&field("VERSION_ID").unwrap_or_default()))
}

/// A version in the form the provider's own client gives it: `12` → `12.0.0`.
#[cfg(not(target_os = "macos"))]
fn three_parts(version: &str) -> String {
    let mut parts: Vec<&str> = version.split('.').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "Unknown".to_owned();
    }
    while parts.len() < 3 {
        parts.push("0");
    }
    parts.join(".")
}
