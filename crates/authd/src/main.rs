//! The entry point of the daemon.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a daemon that cannot start reports that on its terminal"
)]

use std::{io::IsTerminal, path::Path, process::ExitCode};

use authd::{App, Args, CliAction, Config, Exit, HELP, InheritedSockets, Source, StartError, Telemetry};
use authd_api::{BUILD_VERSION, Paths};

/// Exit code of an invalid command line. All others are [`Exit`]s.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let started = match CliAction::parse(std::env::args_os().skip(1)) {
        Ok(CliAction::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(CliAction::Version) => {
            println!("authd {BUILD_VERSION}");
            return ExitCode::SUCCESS;
        }
        Ok(CliAction::Run(args)) => start(args),
        Err(error) => {
            eprintln!("authd: {error}; see authd --help");
            return ExitCode::from(USAGE);
        }
    };
    match started {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("authd: {error}");
            error.exit().into()
        }
    }
}

fn start(args: Args) -> Result<Exit, StartError> {
    // The configuration may hold a secret.
    let hardening = authd::harden();
    let setting = |error: &dyn std::fmt::Display| StartError::Setting(error.to_string());
    let paths =
        Paths::from_env().and_then(|paths| paths.with_socket(args.socket)).map_err(|e| setting(&e))?;
    let named = args.config.is_some();
    let source = Source { path: args.config.unwrap_or(paths.config.clone()), named };
    let config = Config::load(&source)?;
    if args.check_config {
        authd::check(&config)?;
        println!("{}: valid", source.path.display());
        return Ok(Exit::Requested);
    }
    if args.print_paths {
        let used = authd::used_paths(&config, &paths)?;
        println!("{}", serde_json::to_string(&used).map_err(|error| setting(&error))?);
        return Ok(Exit::Requested);
    }
    let telemetry = Telemetry::start(&config.log);
    tracing::debug!(?hardening, "hardened");
    // One thread serves all requests, because answers come from memory. The store has a thread of
    // its own; files and name lookups use the blocking pool.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // A relayed stream that is always ready must not delay a request that has just arrived.
        .event_interval(2)
        .max_blocking_threads(16)
        .build()?;
    let exit =
        runtime.block_on(App::new(paths, source, config, telemetry).run(InheritedSockets::take(), announce));
    // A name lookup can block its thread for a long time.
    runtime.shutdown_background();
    exit
}

/// Prints the path of the socket if stderr is a terminal.
fn announce(socket: &Path) {
    if std::io::stderr().is_terminal() {
        eprintln!("authd listens on {}; stop it with Ctrl-C", socket.display());
    }
}
