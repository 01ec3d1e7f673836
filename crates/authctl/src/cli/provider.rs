//! The arguments of `providers`.

use clap::{Args, Subcommand};

use super::help_text;

#[derive(Args, Debug)]
pub(crate) struct ProvidersArgs {
    #[command(subcommand)]
    pub(crate) command: Option<ProvidersCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProvidersCommand {
    /// Read the metadata of a provider, and say what it offers and lacks; this sends no credential
    #[command(after_help = help_text::PROVIDERS_CHECK_EXAMPLES)]
    Check {
        /// The name of a provider, or the URL of an issuer or an MCP server
        #[arg(value_name = "NAME|URL")]
        provider: String,
    },
}
