//! The daemon's command line.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a daemon that cannot start says so where it was started"
)]

use std::{io::IsTerminal, process::ExitCode};

use authd::{App, Args, Config, Exit, Inherited, StartError, Telemetry};
use authd_api::Paths;
use clap::Parser;

fn main() -> ExitCode {
    match start(Args::parse()) {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("authd: {error}");
            error.exit().into()
        }
    }
}

fn start(args: Args) -> Result<Exit, StartError> {
    let setting = |error: &dyn std::fmt::Display| StartError::Setting(error.to_string());
    let mut paths =
        Paths::from_env().and_then(|paths| paths.with_socket(args.socket)).map_err(|e| setting(&e))?;
    let named = args.config.is_some();
    paths.config = args.config.unwrap_or(paths.config);
    let config = if named { Config::load_named(&paths.config) } else { Config::load(&paths.config) }?;
    if args.check_config {
        authd::check(&config)?;
        println!("{}: fine", paths.config.display());
        return Ok(Exit::Asked);
    }
    let hygiene = authd::harden();
    let telemetry = Telemetry::start(&config.log);
    tracing::debug!(?hygiene, "hardened");
    if std::io::stderr().is_terminal() {
        eprintln!("authd listens on {}; stop it with Ctrl-C", paths.socket.display());
    }
    // One thread serves everything: answers come from memory, and keychain calls have a thread of
    // their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(App::new(paths, config, telemetry).run(Inherited::take()))
}
