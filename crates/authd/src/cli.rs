//! The daemon's command line.

use std::{ffi::OsString, path::PathBuf};

use lexopt::Arg::{Long, Short};

/// The text of `--help`. The manual page, `authd.1`, has the same options and exit codes: a test
/// compares them.
pub const HELP: &str = "\
The local daemon that owns OAuth logins: like ssh-agent for OAuth.

It runs until SIGTERM or SIGINT; SIGHUP reloads the configuration. Programs use its Unix socket;
users use authctl.

Usage: authd [OPTIONS]

Options:
      --config <FILE>
          The configuration file [default: $AUTHD_CONFIG, else authd/authd.toml in the configuration
          directory]
      --socket <PATH>
          The socket to listen on [default: $AUTHD_SOCKET, else authd/authd.sock in the runtime
          directory]
      --check-config
          Check the configuration and exit
      --print-paths
          Print, as JSON, the directories that the daemon writes to and the files that it reads, and
          exit
  -h, --help
          Print help
  -V, --version
          Print version

Exit codes:
  0   stopped by a signal
  2   invalid command line
  64  invalid configuration
  69  the socket is not available, or another authd serves it or owns the state directory
  70  internal error; the service manager restarts authd
";

/// What a command line requests.
#[derive(Debug, PartialEq, Eq)]
pub enum CliAction {
    /// Run, or check the configuration.
    Run(Args),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// The options.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The socket to listen on.
    pub socket: Option<PathBuf>,
    /// Only check the configuration.
    pub check_config: bool,
    /// Only print the paths.
    pub print_paths: bool,
}

impl CliAction {
    /// Parses the arguments after the program name.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, lexopt::Error> {
        let mut parser = lexopt::Parser::from_args(arguments);
        let mut args = Args::default();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("config") => args.config = Some(parser.value()?.into()),
                Long("socket") => args.socket = Some(parser.value()?.into()),
                Long("check-config") => args.check_config = true,
                Long("print-paths") => args.print_paths = true,
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

    fn parse(line: &str) -> Result<CliAction, String> {
        CliAction::parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_command_line_is_parsed_or_refused() {
        let args = Args { config: Some("c.toml".into()), socket: Some("/s".into()), ..Args::default() };
        assert_eq!(parse("--config c.toml --socket=/s"), Ok(CliAction::Run(args)));
        for (option, check_config) in [("--check-config", true), ("--print-paths", false)] {
            let args = Args { check_config, print_paths: !check_config, ..Args::default() };
            assert_eq!(parse(option), Ok(CliAction::Run(args)));
        }
        assert_eq!(parse(""), Ok(CliAction::Run(Args::default())));
        assert_eq!((parse("--socket s -h"), parse("-V")), (Ok(CliAction::Help), Ok(CliAction::Version)));
        for (line, reason) in [
            ("--confg c", "--confg"),
            ("--config", "--config"),
            ("--check-config=x", "\"x\""),
            ("run", "run"),
        ] {
            let message = parse(line).unwrap_err();
            assert!(message.contains(reason), "{line}: {message}");
        }
    }

    /// The text of the manual page, without marks for fonts.
    fn page() -> String {
        let page = include_str!("../authd.1").replace("\\-", "-");
        page.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "")
    }

    fn normalize(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_manual_page_contains_the_help_text() {
        let page = normalize(&page());
        for paragraph in HELP.split("\n\n").filter(|paragraph| !paragraph.starts_with("Usage")) {
            for text in paragraph.split("\n  ").map(normalize) {
                let text = text.trim_start_matches("Options:").trim_start_matches("Exit codes:").trim();
                assert!(page.contains(text), "the manual page does not contain: {text}");
            }
        }
        assert!(page.contains(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn the_manual_page_has_no_other_options_and_exit_codes() {
        for (section, title) in [("OPTIONS", "Options:"), ("EXIT STATUS", "Exit codes:")] {
            let page = page().replace(".TP\n", "");
            let (_, text) = page.split_once(&format!(".SH {section}\n")).unwrap();
            let (_, help) = HELP.split_once(title).unwrap();
            let text = text.split("\n.SH").next().unwrap();
            assert_eq!(normalize(text), normalize(help.split("\n\n").next().unwrap()), "{section}");
        }
    }
}
