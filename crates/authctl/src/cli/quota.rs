//! The arguments of `quota`.

use clap::Args;

use super::{ProfileArg, TimeArg};

#[derive(Args, Debug)]
pub(crate) struct QuotaArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// Show every profile
    #[arg(long, conflicts_with = "name")]
    pub(crate) all: bool,
    /// Show it again whenever something changes
    #[arg(long, conflicts_with = "best")]
    pub(crate) watch: bool,
    /// Print the name of the profile with the most left of its binding limit
    #[arg(long, conflicts_with_all = ["name", "all"])]
    pub(crate) best: bool,
    /// How old the figures may be, as 300 (seconds) or 5m; authd asks the provider at most every
    /// 30 s [default: 5m]
    #[arg(long, value_name = "TIME")]
    pub(crate) max_age: Option<TimeArg>,
}
