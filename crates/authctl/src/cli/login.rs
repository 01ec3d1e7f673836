//! The arguments of `authctl login`.

use authd_api::ModePreference;
use clap::{Args, ValueEnum};

use super::{ProfileArg, is_id};

#[derive(Args, Debug, Default)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// Sign in on any device, with a code
    #[arg(long, conflicts_with_all = ["paste", "no_browser"])]
    pub(crate) device: bool,
    /// Read the redirect URL from stdin
    #[arg(long)]
    pub(crate) paste: bool,
    /// Print the URL instead of opening it
    #[arg(long)]
    pub(crate) no_browser: bool,
    /// Sign in at this provider (authctl providers lists them) [default: that of the profile, else
    /// OpenAI]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["mode", "workspace", "with_api_key"])]
    pub(crate) provider: Option<String>,
    /// Request this scope, too; can be repeated
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Vec<String>,
    /// The credential to use
    #[arg(long, value_enum, default_value_t = ModeArg::Auto)]
    pub(crate) mode: ModeArg,
    /// Accept this workspace (account id) only
    #[arg(long, value_name = "ID")]
    pub(crate) workspace: Option<String>,
    /// Replace the login of another account in this profile
    #[arg(long)]
    pub(crate) replace: bool,
    /// Print the URL and the login id, and return
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Read an API key of your own from stdin; the provider must accept it
    #[arg(long)]
    #[arg(conflicts_with_all = ["device", "paste", "no_browser", "mode", "workspace", "no_wait", "scope"])]
    pub(crate) with_api_key: bool,
    /// Read a token of your own from stdin: a personal access token of OpenAI (at-...), or with
    /// --provider one of that provider
    #[arg(long)]
    #[arg(conflicts_with_all = ["device", "paste", "no_browser", "mode", "workspace", "no_wait", "scope", "with_api_key"])]
    pub(crate) with_token: bool,
    /// Wait for a login that was started with --no-wait
    #[arg(long, value_name = "ID", value_parser = parse_login_id)]
    #[arg(conflicts_with_all = ["name", "device", "provider", "scope", "workspace", "replace", "no_wait", "with_api_key", "with_token"])]
    pub(crate) resume: Option<String>,
    /// Cancel a login that is pending; authctl logins lists them
    #[arg(long, value_name = "ID", value_parser = parse_login_id)]
    #[arg(conflicts_with_all = ["name", "device", "paste", "no_browser", "provider", "scope", "workspace", "replace", "no_wait", "with_api_key", "with_token", "resume"])]
    pub(crate) cancel: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// Chosen by the plan
    #[default]
    Auto,
    /// The access token, for the ChatGPT backend
    Chatgpt,
    /// An API key, for the public API
    ApiKey,
}

/// Checks that a login id is safe in a URL path.
fn parse_login_id(text: &str) -> Result<String, &'static str> {
    if is_id(text) { Ok(text.to_owned()) } else { Err("not a login id, which looks like lg_4fJ...") }
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
