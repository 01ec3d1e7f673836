//! The command line as types: one verb per thing a person wants, each with a help that teaches. What a
//! verb does stands in `run`.

use std::{ffi::OsString, path::PathBuf};

use authd_api::{ModeWish, ProfileName, Program, StoreKind};
use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// The profile to use [default: $AUTHCTL_PROFILE, else the daemon's default profile]
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
    /// The model [default: the first that the account offers]
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// The question [default: what stdin says]
    #[arg(value_name = "QUESTION")]
    pub(crate) question: Vec<String>,
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

impl From<ModeArg> for ModeWish {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Auto => Self::Auto,
            ModeArg::Chatgpt => Self::ChatGpt,
            ModeArg::ApiKey => Self::ApiKey,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  authctl login                       sign in
  authctl login work                  sign in somebody else, under the name \"work\"
  authctl status                      who is signed in, until when
  authctl ask \"What is 2+2?\"          4
  curl -H @<(authctl headers) …       any program, no sign-in of its own

Exit codes:
  0 done · 1 internal error · 2 bad usage · 3 no such profile or login · 4 a person has to sign in
  5 the provider · 6 not your socket · 7 the credential store · 8 the callback server · 9 no daemon
  130 called off";

const LOGIN_EXAMPLES: &str = "\
Examples:
  authctl login                       open the browser, wait, say who is signed in
  authctl login work --mode api-key   under the name \"work\", with an API key
  authctl login --device              no browser on this machine: type a code on another
  authctl login --paste               paste the address that the browser ended on
Start now, authorize elsewhere, confirm later:
  authctl login --no-wait             prints the URL and the login's id (device: URL, code, id)
  authctl login --resume lg_4fJ…      waits for it

Over SSH no browser is opened: follow the printed ssh -L line, or paste the address.
Ctrl-C calls the login off.";

const HEADERS_EXAMPLES: &str = "\
Examples:
  curl -H @<(authctl headers) \"$(authctl url)/models?client_version=0.34.0\"
  authctl headers work --json         {\"base_url\": …, \"headers\": [[\"Authorization\", …], …], …}";

const TOKEN_EXAMPLES: &str = "\
Examples:
  authctl token                       for programs that take a token command
  authctl token work --min-ttl 300    good for five minutes at least";

const LOGOUT_EXAMPLES: &str = "\
Examples:
  authctl logout                      forget the default profile on this machine
  authctl logout work --revoke        tell the provider, too
  authctl logout --all                forget everybody";

const ASK_EXAMPLES: &str = "\
Examples:
  authctl ask \"What is 2+2?\"
  authctl ask -p work --model gpt-5.5 \"What is 2+2?\"
  git diff | authctl ask              the question from stdin
  authctl ask -v \"What is 2+2?\"       shows request and response, secrets redacted";

const IMPORT_EXAMPLES: &str = "\
The login is tried by one refresh first. Then Codex's file holds an access token alone, which authd keeps
fresh: Codex goes on working, and cannot spend the refresh token.

Examples:
  authctl import codex                take over the login of the Codex CLI
  authctl export codex                give it back";

const CODEX_EXAMPLES: &str = "\
Examples:
  authctl codex install               Codex uses the default profile
  authctl codex install -p work --home ~/.codex-work
  authctl codex uninstall             as it was before";

const STORE_EXAMPLES: &str = "\
Examples:
  authctl store status
  authctl store migrate --to file     for a machine whose keychain is not always there
  authctl store rekey

The files open with the stock age tool: age -d -i store.key store/profile.default.age";

const CHECK_EXITS: &str = "\
Exit codes:
  0 every endpoint answered 2xx · 4 one answered 401 or 403 · 5 one failed otherwise";

const EXEC_EXAMPLES: &str = "\
The command sees OPENAI_API_KEY, OPENAI_BASE_URL, AUTHD_SOCKET and, if known, CHATGPT_ACCOUNT_ID.
The token is as it was at the start: a command that outlives it should ask authd again.

Examples:
  authctl exec -- python app.py
  authctl exec -p work -- sh -c 'curl -H \"Authorization: Bearer $OPENAI_API_KEY\" …'";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  authctl completions bash > ~/.local/share/bash-completion/completions/authctl
  authctl completions fish > ~/.config/fish/completions/authctl.fish";

#[cfg(test)]
mod tests;
