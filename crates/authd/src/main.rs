//! The daemon's command line.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a daemon that cannot start says so where it was started"
)]

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
};

use authd::{App, Config, Exit, Inherited, Source, StartError, Telemetry};
use authd_api::Paths;
use clap::Parser;

/// The local daemon that owns OAuth logins: like ssh-agent for OAuth.
///
/// It runs until it is told to stop (SIGTERM, SIGINT); SIGHUP reloads the configuration. Programs ask it
/// on a Unix socket; people use authctl.
#[expect(clippy::doc_markdown, reason = "these doc comments are help texts, which have no backticks")]
#[derive(Parser)]
#[command(name = "authd", version, about, after_help = EXITS)]
struct Args {
    /// The configuration file [default: $AUTHD_CONFIG, else authd/authd.toml in the configuration directory]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The socket to listen on [default: $AUTHD_SOCKET, else authd/authd.sock in the runtime directory]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Read the configuration, say what is wrong with it, and end
    #[arg(long)]
    check_config: bool,
}

const EXITS: &str = "\
Exit codes:
  0   asked to stop
  64  the configuration cannot be used
  69  no socket to be had: another authd has it, or it cannot be made
  70  a part of authd failed; the service manager starts it anew";

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
    // One thread serves everything: answers come from memory, and keychain calls have a thread of
    // their own.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
