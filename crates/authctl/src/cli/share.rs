//! The arguments of `share`, `exec` and `unshare`.

use std::ffi::OsString;

use authd_api::{ShareAccess, ShareBody, ShareCompat, ShareDoor};
use clap::{Args, ValueEnum};

use super::{ProfileArg, TimeArg, is_id};

#[derive(Args, Debug)]
pub(crate) struct ShareArgs {
    #[command(flatten)]
    pub(crate) profile: ProfileArg,
    /// Open a port on 127.0.0.1 with a key, instead of a socket
    #[arg(long)]
    loopback: bool,
    /// Allow the holder to read the headers, which contain the access token
    #[arg(long)]
    headers: bool,
    /// How long the share lasts, for example 30m [default: 8h; with a command, as long as it runs,
    /// at most 30 days]
    #[arg(long, value_name = "TIME")]
    ttl: Option<TimeArg>,
    /// Most requests a minute, for example 60 or 60/min
    #[arg(long, value_name = "NUMBER", value_parser = parse_rate)]
    rate: Option<u32>,
    /// A path that the relay forwards, with everything below it; may be repeated [default: all]
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    /// A note for the list of shares
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Change requests so that programs for another API work; needs --loopback
    #[arg(long, value_enum, requires = "loopback")]
    compat: Option<CompatArg>,
    /// Run this command with the share in its environment; the share ends with it
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct ExecArgs {
    /// Set the access token and its headers instead; the token is not renewed while the command
    /// runs
    #[arg(long)]
    pub(crate) raw: bool,
    /// Change requests so that programs for another API work
    #[arg(long, value_enum, conflicts_with = "raw")]
    compat: Option<CompatArg>,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct UnshareArgs {
    /// The ids of the shares
    #[arg(value_name = "ID", required_unless_present = "all", value_parser = parse_share_id)]
    pub(crate) ids: Vec<String>,
    /// End all shares
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CompatArg {
    /// The public Responses API, on a personal plan
    Responses,
}

impl ShareArgs {
    /// The request for this share.
    pub(crate) fn body(&self) -> ShareBody {
        ShareBody {
            profile: self.profile.name.clone(),
            allow: if self.headers { ShareAccess::Headers } else { ShareAccess::Relay },
            door: if self.loopback { ShareDoor::Loopback } else { ShareDoor::Socket },
            ttl: self.ttl.map(TimeArg::seconds),
            rate: self.rate,
            paths: self.paths.clone(),
            label: self.label.clone(),
            compat: self.compat.map(ShareCompat::from),
            held: false,
        }
    }
}

impl ExecArgs {
    /// The request for the share of the command.
    pub(crate) fn body(&self) -> ShareBody {
        let compat = self.compat.map(ShareCompat::from);
        ShareBody { door: ShareDoor::Loopback, compat, ..ShareBody::default() }
    }
}

impl From<CompatArg> for ShareCompat {
    fn from(compat: CompatArg) -> Self {
        match compat {
            CompatArg::Responses => Self::Responses,
        }
    }
}

/// Checks that a share id is safe in a URL path.
fn parse_share_id(text: &str) -> Result<String, &'static str> {
    if is_id(text) { Ok(text.to_owned()) } else { Err("not the id of a share; authctl shares lists them") }
}

fn parse_rate(text: &str) -> Result<u32, &'static str> {
    let number = text.strip_suffix("/min").unwrap_or(text);
    let rate = number.parse().ok().filter(|rate| *rate > 0);
    rate.ok_or("not a number of requests a minute, such as 60 or 60/min")
}
