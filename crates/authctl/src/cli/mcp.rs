//! The arguments of `mcp`.

use std::{io, path::PathBuf};

use authd_api::{ProfileName, ProviderBody};
use clap::{Args, Subcommand};

use super::help_text;

#[derive(Debug, Subcommand)]
pub(crate) enum McpCommand {
    /// Add an MCP server, and sign in to it
    #[command(after_help = help_text::MCP_ADD_EXAMPLES)]
    Add(McpAddArgs),
    /// List the MCP servers, with the profiles that are signed in there
    List,
    /// Sign out of an MCP server, and remove it
    #[command(after_help = help_text::MCP_REMOVE_EXAMPLES)]
    Remove {
        /// The name of the server
        #[arg(value_parser = parse_server_name)]
        name: ProfileName,
    },
}

#[derive(Args, Debug)]
pub(crate) struct McpAddArgs {
    /// A name of your choice for the server, and for the profile
    #[arg(value_parser = parse_server_name)]
    pub(crate) name: ProfileName,
    /// The URL of the server
    pub(crate) url: String,
    /// The id of a client that you have registered at its provider [default: authd registers one]
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The file with the secret of that client
    #[arg(long, value_name = "FILE", requires = "client_id")]
    client_secret_file: Option<PathBuf>,
    /// The https URL of a client metadata document of yours
    #[arg(long, value_name = "URL")]
    client_metadata_url: Option<String>,
    /// A scope to request; may be repeated [default: those that the server suggests]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Print the URL of the sign-in instead of opening it
    #[arg(long)]
    pub(crate) no_browser: bool,
}

impl McpAddArgs {
    /// The request for this definition. The daemon has another working directory, so the path of
    /// the secret becomes absolute.
    pub(crate) fn body(&self) -> io::Result<ProviderBody> {
        Ok(ProviderBody {
            mcp: self.url.clone(),
            client_id: self.client_id.clone(),
            client_secret_file: self.client_secret_file.as_ref().map(std::path::absolute).transpose()?,
            client_metadata_url: self.client_metadata_url.clone(),
            scopes: self.scopes.clone(),
            redirect_uri: None,
        })
    }
}

/// Checks that a name is one of a profile and safe in a URL path. The daemon has more rules.
fn parse_server_name(text: &str) -> Result<ProfileName, &'static str> {
    let is_safe =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if text == "check" {
        return Err("this word is a part of authd's API: use another name");
    }
    let name = text.parse().ok().filter(|_| text.len() <= 32 && text.bytes().all(is_safe));
    name.ok_or("use at most 32 lower-case letters, digits, - and _")
}
