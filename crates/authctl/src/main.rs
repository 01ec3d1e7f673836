//! `authctl`: asks the daemon, for people and for programs. It keeps nothing, decides nothing about
//! logins, and never sees a refresh token.

mod browser;
#[expect(clippy::doc_markdown, reason = "doc comments there are help texts, which have no backticks")]
mod cli;
mod failure;
mod hardening;
mod out;
mod printable;
mod private;
mod refusal;
mod run;
mod service;
mod show;
mod start;
mod time;

use std::process::ExitCode;

use authctl::sse;

use crate::{cli::Cli, out::Out};

/// musl's own asks the system for memory again and again; a program that lives for a millisecond feels it.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    hardening::harden();
    let cli = Cli::read();
    let out = Out::new(&cli.common);
    match run::run(cli, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.fail(&failure);
            failure.exit_code()
        }
    }
}
