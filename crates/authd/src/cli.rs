//! What the daemon's command line takes. It stands in the library for the sake of the manual page, which a
//! test makes of it: what writes the page is not linked into the daemon.
#![expect(clippy::doc_markdown, reason = "doc comments here are help texts, which have no backticks")]

use std::path::PathBuf;

use clap::Parser;

/// The local daemon that owns OAuth logins: like ssh-agent for OAuth.
///
/// It runs until it is told to stop (SIGTERM, SIGINT); SIGHUP reloads the configuration. Programs ask it
/// on a Unix socket; people use authctl.
#[derive(Parser)]
#[command(name = "authd", version, about, after_help = EXITS)]
pub struct Args {
    /// The configuration file [default: $AUTHD_CONFIG, else authd/authd.toml in the configuration directory]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The socket to listen on [default: $AUTHD_SOCKET, else authd/authd.sock in the runtime directory]
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Read the configuration, say what is wrong with it, and end
    #[arg(long)]
    pub check_config: bool,
}

const EXITS: &str = "\
Exit codes:
  0   asked to stop
  64  the configuration cannot be used
  69  no socket to be had, or another authd has it, or has the logins
  70  a part of authd failed; the service manager starts it anew";

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_manual_page_is_what_the_command_line_takes() {
        let mut page = Vec::new();
        clap_mangen::Man::new(Args::command()).render(&mut page).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("authd.1");
        if std::env::var_os("AUTHD_WRITE_MANUAL").is_some() {
            fs::write(&path, &page).unwrap();
        }
        assert!(
            fs::read(&path).unwrap_or_default() == page,
            "crates/authd/authd.1 is out of date: AUTHD_WRITE_MANUAL=1 writes it anew"
        );
    }
}
