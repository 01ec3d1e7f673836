//! Tests of the store through its public interface.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests panic on failures and report skipped tests"
)]

mod conformance;
mod files;
#[cfg(target_os = "linux")]
mod keyring;
mod placement;
mod profile_place;
mod support;
