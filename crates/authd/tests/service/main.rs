//! Tests of the installed units on a real `systemd --user`, and of the launchd agent's property
//! list.
//!
//! `files` checks the files only, and is part of every test run. The rest needs root and is a
//! separate step: `cargo xtask test service`. It starts a service manager for an ordinary user in
//! its own cgroups and directories, runs this program as that user for the `scenarios`, and removes
//! everything at the end.
#![cfg(target_os = "linux")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test panics where it cannot continue, and prints what it skips"
)]

mod files;
mod fixture;
mod manager;
mod scenarios;

/// The daemon's binary.
const AUTHD: &str = env!("CARGO_BIN_EXE_authd");

#[test]
#[ignore = "needs root and cgroups: cargo xtask test service"]
fn on_a_real_user_manager() {
    match manager::Manager::start() {
        Ok(manager) => manager.run("scenarios::"),
        Err(manager::Missing(reason)) => println!("skipped: {reason}"),
    }
}
