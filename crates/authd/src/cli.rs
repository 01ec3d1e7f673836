//! What the daemon's command line takes: three options, which are parsed by hand. A parser that makes its help and
//! its complaints itself would be an eighth of a megabyte of a program that stays in memory.

use std::{ffi::OsString, path::PathBuf};

use lexopt::Arg::{Long, Short};

/// What `--help` says. The manual page, `authd.1`, says the same.
pub const HELP: &str = "\
The local daemon that owns OAuth logins: like ssh-agent for OAuth.

It runs until it is told to stop (SIGTERM, SIGINT); SIGHUP reloads the configuration. Programs ask it
on a Unix socket; people use authctl.

Usage: authd [OPTIONS]

Options:
      --config <FILE>
          The configuration file [default: $AUTHD_CONFIG, else authd/authd.toml in the configuration
          directory]
      --socket <PATH>
          The socket to listen on [default: $AUTHD_SOCKET, else authd/authd.sock in the runtime
          directory]
      --check-config
          Read the configuration, say what is wrong with it, and end
  -h, --help
          Print help
  -V, --version
          Print version

Exit codes:
  0   asked to stop
  2   the command line cannot be used
  64  the configuration cannot be used
  69  no socket to be had, or another authd has it, or has the logins
  70  a part of authd failed; the service manager starts it anew
";

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// To run, or to look at the configuration.
    Run(Args),
    /// To print [`HELP`].
    Help,
    /// To print the version.
    Version,
}

/// How to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The socket to listen on.
    pub socket: Option<PathBuf>,
    /// Only read the configuration.
    pub check_config: bool,
}

impl Asked {
    /// What these words ask for, without the program's name.
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, lexopt::Error> {
        let mut words = lexopt::Parser::from_args(words);
        let mut args = Args::default();
        while let Some(word) = words.next()? {
            match word {
                Long("config") => args.config = Some(words.value()?.into()),
                Long("socket") => args.socket = Some(words.value()?.into()),
                Long("check-config") => args.check_config = true,
                Long("help") | Short('h') => return Ok(Self::Help),
                Long("version") | Short('V') => return Ok(Self::Version),
                other => return Err(other.unexpected()),
            }
        }
        Ok(Self::Run(args))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Result<Asked, String> {
        Asked::parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_line_is_understood_or_refused() {
        let args = Args { config: Some("c.toml".into()), socket: Some("/s".into()), check_config: true };
        assert_eq!(asked("--config c.toml --check-config --socket=/s"), Ok(Asked::Run(args)));
        assert_eq!(asked(""), Ok(Asked::Run(Args::default())));
        assert_eq!((asked("--socket s -h"), asked("-V")), (Ok(Asked::Help), Ok(Asked::Version)));
        for (line, why) in [
            ("--confg c", "--confg"),
            ("--config", "--config"),
            ("--check-config=x", "\"x\""),
            ("run", "run"),
        ] {
            let message = asked(line).unwrap_err();
            assert!(message.contains(why), "{line}: {message}");
        }
    }

    #[test]
    fn the_manual_page_says_what_the_help_says() {
        let page = include_str!("../authd.1").replace("\\-", "-");
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let page = flat(&page.replace("\\fB", "").replace("\\fI", "").replace("\\fR", ""));
        for paragraph in HELP.split("\n\n").filter(|paragraph| !paragraph.starts_with("Usage")) {
            for told in paragraph.split("\n  ").map(flat) {
                let told = told.trim_start_matches("Options:").trim_start_matches("Exit codes:").trim();
                assert!(page.contains(told), "the page does not say: {told}");
            }
        }
        assert!(page.contains(env!("CARGO_PKG_VERSION")));
    }
}
