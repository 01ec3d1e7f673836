//! Tests of the store through its public interface.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests panic where they cannot go on, and say what they skip"
)]

mod conformance;
mod files;
#[cfg(target_os = "linux")]
mod keyring;
mod placement;
mod support;
