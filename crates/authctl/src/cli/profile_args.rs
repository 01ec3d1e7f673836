//! The arguments of `status` and `use`.

use authd_api::ProfileName;
use clap::{Args, ValueEnum};

use super::ProfileArg;

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// Show it again whenever something changes
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print one line for a status bar
    #[arg(long, value_enum, conflicts_with = "json")]
    pub(crate) format: Option<FormatArg>,
}

/// The format of a status bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// JSON for a custom module of Waybar
    Waybar,
}

#[derive(Args, Debug)]
pub(crate) struct UseArgs {
    /// The profile
    #[arg(id = "target", value_name = "PROFILE")]
    pub(crate) profile: ProfileName,
    /// Only in this directory and below it: write the name to .authd-profile
    #[arg(long)]
    pub(crate) here: bool,
}
