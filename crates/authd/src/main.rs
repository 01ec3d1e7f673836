//! The daemon's command line.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a daemon that cannot start says so where it was started"
)]

use std::{io::IsTerminal, path::Path, process::ExitCode};

use authd::{App, Args, Asked, Config, Exit, HELP, Inherited, Source, StartError, Telemetry};
use authd_api::Paths;

/// The command line cannot be used. All other ends of the daemon are [`Exit`]s.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let started = match Asked::parse(std::env::args_os().skip(1)) {
        Ok(Asked::Help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Version) => {
            println!("authd {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Run(args)) => start(args),
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
    let setting = |error: &dyn std::fmt::Display| StartError::Setting(error.to_string());
    let paths =
        Paths::from_env().and_then(|paths| paths.with_socket(args.socket)).map_err(|e| setting(&e))?;
    let named = args.config.is_some();
    let source = Source { path: args.config.unwrap_or(paths.config.clone()), named };
    let config = Config::load(&source)?;
    if args.check_config {
        authd::check(&config)?;
        println!("{}: fine", source.path.display());
        return Ok(Exit::Asked);
    }
    let hygiene = authd::harden();
    let telemetry = Telemetry::start(&config.log);
    tracing::debug!(?hygiene, "hardened");
    // One thread serves everything: answers come from memory. Store calls have a thread of their own, and files and
    // name lookups a bounded pool.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(16).build()?;
    let exit = runtime.block_on(App::new(paths, source, config, telemetry).run(Inherited::take(), announce));
    // A name that is being looked up holds a thread for as long as the system's resolver likes.
    runtime.shutdown_background();
    exit
}

/// A person who started the daemon at a terminal is told that it is up.
fn announce(socket: &Path) {
    if std::io::stderr().is_terminal() {
        eprintln!("authd listens on {}; stop it with Ctrl-C", socket.display());
    }
}
