//! The units that are installed, tried on a real `systemd --user`, and the launchd agent read as far as
//! that goes here.
//!
//! `files` looks at the files alone and is part of every test run. The rest needs root, once, to make a
//! place to live in, and is a step of its own: `cargo xtask test service`. It starts a service manager
//! for an ordinary user (root may do what users may not) in cgroups and directories of its own, runs
//! this same program as that user for the `scenes`, and leaves nothing behind, however it ends.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking, and what it skips"
)]

mod files;
mod manager;
mod scenes;
mod world;

/// The daemon's binary.
const AUTHD: &str = env!("CARGO_BIN_EXE_authd");

#[test]
#[ignore = "needs root and cgroups: cargo xtask test service"]
fn on_a_real_user_manager() {
    match manager::Manager::start() {
        Ok(manager) => manager.run("scenes::"),
        Err(manager::Missing(what)) => println!("skipped: {what}"),
    }
}
