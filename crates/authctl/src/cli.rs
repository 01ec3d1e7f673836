//! The command line as types: one verb per thing a person wants, each with a help that teaches. What a
//! verb does stands in `run`.

use std::{ffi::OsString, path::PathBuf};

use self::words::{
    ASK_EXAMPLES, CHECK_EXITS, CODEX_EXAMPLES, COMPLETIONS_EXAMPLES, EXAMPLES, EXEC_EXAMPLES,
    HEADERS_EXAMPLES, IMPORT_EXAMPLES, LOGIN_EXAMPLES, LOGOUT_EXAMPLES, SERVICE_EXAMPLES, STORE_EXAMPLES,
    TOKEN_EXAMPLES,
};
use authd_api::{ModePreference, ProfileName, Program, StoreKind};
use clap::{Args, Parser, Subcommand, ValueEnum};

mod brief;
mod words;

/// Sign in to OpenAI once, and let every program on this machine use it.
///
/// authctl asks authd, the local daemon that holds the logins and keeps them fresh. `login` starts the
/// daemon if none runs.
#[derive(Debug, Parser)]
#[command(name = "authctl", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// The profile to use [default: $AUTHCTL_PROFILE, else the daemon's default profile; with login and
    /// import, the one called "default"]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<ProfileName>,
    /// Answer with JSON on stdout, errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The daemon's socket [default: $AUTHD_SOCKET, else authd/authd.sock in the runtime directory]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Say nothing but answers and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say more: where the daemon is, and with `ask` the request and the response
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Sign in, in the browser or with a code
    #[command(after_help = LOGIN_EXAMPLES)]
    Login(LoginArgs),
    /// Print ready-to-use headers
    #[command(after_help = HEADERS_EXAMPLES)]
    Headers(CredentialArgs),
    /// Print the bare bearer token
    #[command(after_help = TOKEN_EXAMPLES)]
    Token(CredentialArgs),
    /// Print the base URL that the headers are good for
    Url(One),
    /// Show what is signed in, until when and in which mode
    Status(StatusArgs),
    /// List the profiles
    Profiles,
    /// Make a profile the default one
    Use {
        /// The profile
        profile: ProfileName,
    },
    /// Give a profile another name
    Rename {
        /// Its name now
        profile: ProfileName,
        /// Its new name
        new_name: ProfileName,
    },
    /// Get a fresh token now
    Refresh(One),
    /// Sign out
    #[command(after_help = LOGOUT_EXAMPLES)]
    Logout(LogoutArgs),
    /// Ask a model, and print its answer as it comes
    #[command(after_help = ASK_EXAMPLES)]
    Ask(AskArgs),
    /// Show where credentials are kept, move them, or seal them with a new key
    #[command(after_help = STORE_EXAMPLES)]
    Store {
        /// What to do
        #[command(subcommand)]
        deed: StoreDeed,
    },
    /// Take over another program's login: authd refreshes it from now on
    #[command(after_help = IMPORT_EXAMPLES)]
    Import {
        /// Whose login
        source: ProgramArg,
        /// Its login file [default: $CODEX_HOME/auth.json, else ~/.codex/auth.json]
        #[arg(long)]
        path: Option<PathBuf>,
    },
    /// Give a login back to another program, and forget it here
    Export {
        /// To whom
        target: ProgramArg,
        /// Its login file [default: $CODEX_HOME/auth.json, else ~/.codex/auth.json]
        #[arg(long)]
        path: Option<PathBuf>,
    },
    /// Let the Codex CLI use a profile
    #[command(after_help = CODEX_EXAMPLES)]
    Codex {
        /// What to do
        #[command(subcommand)]
        deed: CodexDeed,
    },
    /// Call the account's endpoints, and say what came back
    #[command(after_help = CHECK_EXITS)]
    Check(One),
    /// Look for what keeps things from working, and say what to do about it
    Doctor,
    /// Have the daemon started when you sign in to this machine, and kept running
    #[command(after_help = SERVICE_EXAMPLES)]
    Service {
        /// What to do
        #[command(subcommand)]
        deed: ServiceDeed,
    },
    /// Run a command with the credential in its environment
    #[command(after_help = EXEC_EXAMPLES)]
    Exec {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Print a shell's completion script
    #[command(after_help = COMPLETIONS_EXAMPLES)]
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

/// A program whose login files authd knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgramArg {
    /// The Codex CLI
    Codex,
}

/// What to do with a home directory of Codex.
#[derive(Debug, Subcommand)]
pub(crate) enum CodexDeed {
    /// Keep its auth.json supplied with fresh access tokens; what was there is kept safe
    Install(CodexHome),
    /// Restore what was there
    Uninstall(CodexHome),
}

/// A home directory of Codex.
#[derive(Args, Debug)]
pub(crate) struct CodexHome {
    /// The directory [default: $CODEX_HOME, else ~/.codex]
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
}

/// What to do with the credential store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreDeed {
    /// Show which store is in use, and why
    Status,
    /// Move everything to another store; nothing is deleted before its copy has been read back
    Migrate {
        /// Where to
        #[arg(long, value_enum)]
        to: StoreArg,
    },
    /// Seal the encrypted files with a new key
    Rekey,
}

/// What to do with the daemon's service: systemd's for a user, or launchd's.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceDeed {
    /// Write its units, enable and start them; a daemon that was started by hand is stopped first
    Install(Rehearsal),
    /// Stop it and remove its units; logins stay
    Uninstall(Rehearsal),
    /// Show whether it is installed, whether it runs, and where its files are
    Status,
    /// Show the daemon's log
    Logs {
        /// Go on showing it
        #[arg(short, long)]
        follow: bool,
        /// How many lines from its end
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        lines: u32,
    },
}

/// Whether to do it.
#[derive(Args, Debug)]
pub(crate) struct Rehearsal {
    /// Show what would be done, and change nothing
    #[arg(long)]
    pub(crate) print: bool,
}

/// A store that survives the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreArg {
    /// The operating system's keychain
    Keychain,
    /// age-encrypted files in the state directory
    File,
}

/// A verb about one profile.
#[derive(Args, Clone, Debug)]
pub(crate) struct One {
    /// The profile, as with --profile
    #[arg(value_name = "PROFILE")]
    pub(crate) name: Option<ProfileName>,
}

#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    pub(crate) one: One,
    /// Sign in on any device, with a code
    #[arg(long, conflicts_with_all = ["paste", "no_browser"])]
    pub(crate) device: bool,
    /// Bring the redirect URL yourself: read it from stdin
    #[arg(long)]
    pub(crate) paste: bool,
    /// Print the URL instead of opening it
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Which credential to use
    #[arg(long, value_enum, default_value_t = ModeArg::Auto)]
    pub(crate) mode: ModeArg,
    /// Accept this workspace (account id) only
    #[arg(long, value_name = "ID")]
    pub(crate) workspace: Option<String>,
    /// Replace another person's login under this name
    #[arg(long)]
    pub(crate) replace: bool,
    /// Print the URL and the login's id, and return
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait for a login that was started with --no-wait
    #[arg(long, value_name = "ID", conflicts_with_all = ["name", "device", "workspace", "replace", "no_wait"])]
    pub(crate) resume: Option<LoginId>,
}

/// Which kind of credential a login is to end in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// The plan decides
    Auto,
    /// The access token, for the ChatGPT backend
    Chatgpt,
    /// An API key, for the public API
    ApiKey,
}

/// A login's id: safe in a URL path as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LoginId(String);

#[derive(Args, Debug)]
pub(crate) struct CredentialArgs {
    #[command(flatten)]
    pub(crate) one: One,
    /// How much longer the credential must last [default: the daemon's, 60]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) min_ttl: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) one: One,
    /// Go on showing it, whenever something changes
    #[arg(long)]
    pub(crate) watch: bool,
}

#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    pub(crate) one: One,
    /// Revoke the login at the provider first; that may end sessions on other machines, too
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
    /// The question [default: what stdin says]
    #[arg(value_name = "QUESTION")]
    pub(crate) question: Vec<String>,
}

impl Cli {
    /// What the command line says; help and mistakes are told, and end the program.
    pub(crate) fn read() -> Self {
        brief::parse(std::env::args_os()).unwrap_or_else(Self::parse)
    }
}

impl LoginId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for LoginId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(plain);
        if fits { Ok(Self(text.to_owned())) } else { Err("not a login's id: it looks like lg_4fJ…") }
    }
}

impl From<ProgramArg> for Program {
    fn from(program: ProgramArg) -> Self {
        match program {
            ProgramArg::Codex => Self::Codex,
        }
    }
}

impl From<StoreArg> for StoreKind {
    fn from(store: StoreArg) -> Self {
        match store {
            StoreArg::Keychain => Self::Keychain,
            StoreArg::File => Self::File,
        }
    }
}

impl From<ModeArg> for ModePreference {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Auto => Self::Auto,
            ModeArg::Chatgpt => Self::ChatGpt,
            ModeArg::ApiKey => Self::ApiKey,
        }
    }
}

#[cfg(test)]
mod tests;
