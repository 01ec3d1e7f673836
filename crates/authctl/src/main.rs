//! `authctl`: the command line client of the daemon, for users and for programs. It stores nothing
//! and never handles a refresh token.

mod browser;
mod child;
#[expect(clippy::doc_markdown, reason = "doc comments there are help texts, which have no backticks")]
mod cli;
mod completions;
mod context;
mod daemon_lock;
mod env;
mod error;
mod hardening;
mod launch;
mod manual;
mod output;
mod owned_file;
mod qr_code;
mod render;
mod run;
mod sanitize;
mod screen;
mod selection;
mod service;
mod time;
mod upstream_error;

use std::process::ExitCode;

use authctl::sse;

use crate::output::Output;

/// musl's own allocator requests memory from the kernel far more often, which costs a program that
/// runs for a millisecond a measurable part of its time.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    hardening::harden();
    let cli = cli::fast_path::parse(std::env::args_os()).unwrap_or_else(cli::parse);
    let out = Output::new(&cli.common);
    match run::run(cli, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.failure(&error);
            error.exit_code()
        }
    }
}
