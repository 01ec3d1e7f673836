//! The command line as types, with the text of `--help`. `run` executes the commands.

use std::{ffi::OsString, path::PathBuf};

use authd_api::{BUILD_VERSION, ProfileName, Program};
use clap::{Args, Parser, Subcommand, ValueEnum, error::ErrorKind};

mod audit;
pub(crate) mod fast_path;
mod git_credential;
mod help_text;
mod login;
pub(crate) mod mcp;
mod profile_args;
pub(crate) mod profile_option;
mod provider;
mod quota;
mod share;
mod store;
mod time_arg;

pub(crate) use self::{
    audit::AuditArgs,
    git_credential::GitCredentialArgs,
    login::LoginArgs,
    profile_args::{FormatArg, StatusArgs, UseArgs},
    provider::{ProvidersArgs, ProvidersCommand},
    quota::QuotaArgs,
    share::{ExecArgs, ShareArgs, UnshareArgs},
    store::{StoreArg, StoreCommand},
    time_arg::TimeArg,
};

/// Sign in to OpenAI once, and let every program on this machine use the login.
///
/// authctl is the client of authd, the local daemon that holds the logins and keeps them fresh.
/// `login` starts the daemon if it does not run.
#[derive(Debug, Parser)]
#[command(name = "authctl", version = BUILD_VERSION, after_help = help_text::EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// The profile to use [default: $AUTHCTL_PROFILE, else the nearest .authd-profile upward, else
    /// the default profile of the daemon; for login and import, the profile "default"]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<ProfileName>,
    /// Print JSON to stdout, errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The socket of the daemon [default: $AUTHD_SOCKET, else authd/authd.sock in the runtime
    /// directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Print results and errors only
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Print more: the socket, and with `ask` the request and the response
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign in, with the browser or with a code
    #[command(after_help = help_text::LOGIN_EXAMPLES)]
    Login(LoginArgs),
    /// Print ready-to-use headers
    #[command(after_help = help_text::HEADERS_EXAMPLES)]
    Headers(CredentialArgs),
    /// Print the bare bearer token
    #[command(after_help = help_text::TOKEN_EXAMPLES)]
    Token(CredentialArgs),
    /// Print the base URL that the headers are valid for
    Url(ProfileArg),
    /// Show each profile: account, plan, mode, state and expiry
    #[command(after_help = help_text::STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// List the logins that wait for their user; login --cancel ends one
    Logins,
    /// List the profiles
    Profiles,
    /// Make a profile the default one
    #[command(after_help = help_text::USE_EXAMPLES)]
    Use(UseArgs),
    /// Rename a profile
    Rename {
        /// The profile
        #[arg(id = "target", value_name = "PROFILE")]
        profile: ProfileName,
        /// Its new name
        new_name: ProfileName,
    },
    /// Get a fresh token now
    #[command(after_help = help_text::REFRESH_EXAMPLES)]
    Refresh(RefreshArgs),
    /// Sign out
    #[command(after_help = help_text::LOGOUT_EXAMPLES)]
    Logout(LogoutArgs),
    /// Ask a model a question, and print the answer as it arrives
    #[command(after_help = help_text::ASK_EXAMPLES)]
    Ask(AskArgs),
    /// Show the credential store, move it, or encrypt it with a new key
    #[command(subcommand, after_help = help_text::STORE_EXAMPLES)]
    Store(StoreCommand),
    /// Take over the login of another program: from now on authd refreshes it
    #[command(after_help = help_text::IMPORT_EXAMPLES)]
    Import {
        /// The program to take the login from
        source: ProgramArg,
        /// Its login file [default: $CODEX_HOME/auth.json, else ~/.codex/auth.json]
        #[arg(long)]
        path: Option<PathBuf>,
    },
    /// Give a login back to another program, and delete it here
    Export {
        /// The program to give the login to
        target: ProgramArg,
        /// Its login file [default: $CODEX_HOME/auth.json, else ~/.codex/auth.json]
        #[arg(long)]
        path: Option<PathBuf>,
    },
    /// Let the Codex CLI use a profile
    #[command(subcommand, after_help = help_text::CODEX_EXAMPLES)]
    Codex(CodexCommand),
    /// Show how much of the account's usage limits is left
    #[command(after_help = help_text::QUOTA_EXAMPLES)]
    Quota(QuotaArgs),
    /// Call the endpoints of the account, and print each result
    #[command(after_help = help_text::CHECK_EXIT_CODES)]
    Check(ProfileArg),
    /// Show which process used which profile, from the audit log
    #[command(after_help = help_text::AUDIT_EXAMPLES)]
    Audit(AuditArgs),
    /// Find problems of the daemon and its environment, and print a remedy for each
    Doctor,
    /// Run the daemon as a service: started when you sign in to this machine, and kept running
    #[command(subcommand, after_help = help_text::SERVICE_EXAMPLES)]
    Service(ServiceCommand),
    /// Run a command with a share of the profile in its environment
    #[command(after_help = help_text::EXEC_EXAMPLES)]
    Exec(ExecArgs),
    /// Share one profile through a restricted door, for a container, a remote shell or an SDK
    #[command(after_help = help_text::SHARE_EXAMPLES)]
    Share(ShareArgs),
    /// List the providers, or say what one of them offers
    #[command(after_help = help_text::PROVIDERS_EXAMPLES)]
    Providers(ProvidersArgs),
    /// Give git the token of a provider as a password: a credential helper
    #[command(after_help = help_text::GIT_CREDENTIAL_EXAMPLES)]
    GitCredential(GitCredentialArgs),
    /// Sign in to MCP servers, and use them from any program
    #[command(subcommand, after_help = help_text::MCP_EXAMPLES)]
    Mcp(mcp::McpCommand),
    /// List the shares
    Shares,
    /// End shares
    Unshare(UnshareArgs),
    /// Print the variables that exec --raw sets, as commands of a shell
    #[command(after_help = help_text::ENV_EXAMPLES)]
    Env {
        #[command(flatten)]
        profile: ProfileArg,
        /// The syntax [default: fish if $SHELL is fish, else sh]
        #[arg(long, value_enum)]
        shell: Option<ShellArg>,
    },
    /// Print the path of the socket
    Socket,
    /// Print the completion script of a shell
    #[command(after_help = help_text::COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Man {
        /// The directory to write them to [default: print authctl(1)]
        directory: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShellArg {
    /// bash, zsh, dash and ksh
    #[value(aliases = ["bash", "zsh", "dash", "ksh"])]
    Sh,
    /// fish
    Fish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgramArg {
    /// The Codex CLI
    Codex,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CodexCommand {
    /// Keep auth.json supplied with fresh access tokens; a backup of the previous login is kept
    Install(CodexHome),
    /// Restore the previous login
    Uninstall(CodexHome),
    /// Show each managed home: its profile, and whether Codex uses it
    Status,
}

#[derive(Args, Debug)]
pub(crate) struct CodexHome {
    /// The home directory of Codex [default: $CODEX_HOME, else ~/.codex]
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Write the units, enable and start them; a daemon that runs outside the service is stopped
    /// first
    Install(DryRun),
    /// Stop the service and remove its units; logins stay
    Uninstall(DryRun),
    /// Show whether the service is installed and running, and where its files are
    Status,
    /// Show the log of the service
    Logs {
        /// Print new lines as they arrive
        #[arg(short, long)]
        follow: bool,
        /// How many lines to show from the end
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        lines: u32,
    },
}

#[derive(Args, Debug)]
pub(crate) struct DryRun {
    /// Show the steps, and change nothing
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ProfileArg {
    /// The profile, as with --profile
    #[arg(value_name = "PROFILE")]
    pub(crate) name: Option<ProfileName>,
}

#[derive(Args, Debug)]
pub(crate) struct CredentialArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// How much longer the credential must be valid, as 300 (seconds) or 5m [default: the
    /// daemon's, 60s]
    #[arg(long, value_name = "TIME")]
    pub(crate) min_ttl: Option<TimeArg>,
    /// How long to wait for the daemon, which may have to refresh first [default: 4s for token, 20s
    /// for headers]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<TimeArg>,
}

#[derive(Args, Debug)]
pub(crate) struct RefreshArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// Report a scope that a server demanded with 403 insufficient_scope, instead of a refresh; may
    /// be repeated
    #[arg(long = "missing-scope", value_name = "SCOPE")]
    pub(crate) missing_scopes: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// Revoke the login at the provider first; this may end sessions on other machines
    #[arg(long)]
    pub(crate) revoke: bool,
    /// Sign out of every profile
    #[arg(long, conflicts_with = "name")]
    pub(crate) all: bool,
}

#[derive(Args, Debug)]
pub(crate) struct AskArgs {
    /// The model [default: the configured one, else the first that the account offers]
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// The question [default: read from stdin]
    #[arg(value_name = "QUESTION")]
    pub(crate) question: Vec<String>,
}

/// Parses the command line of this process, or ends it with a message.
pub(crate) fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| suggest_after_help(error, std::env::args_os()).exit())
}

/// clap suggests a command for `authctl tokn`, but not for `authctl help tokn`.
fn suggest_after_help(error: clap::Error, args: impl Iterator<Item = OsString>) -> clap::Error {
    let mut args: Vec<OsString> = args.collect();
    if error.kind() == ErrorKind::InvalidSubcommand && args.get(1).is_some_and(|arg| arg == "help") {
        args.remove(1);
        return Cli::try_parse_from(args).err().unwrap_or(error);
    }
    error
}

/// Whether an id is safe in a URL path.
fn is_id(text: &str) -> bool {
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(is_safe)
}

impl From<ProgramArg> for Program {
    fn from(program: ProgramArg) -> Self {
        match program {
            ProgramArg::Codex => Self::Codex,
        }
    }
}

#[cfg(test)]
mod docs_tests;
#[cfg(test)]
mod tests;
