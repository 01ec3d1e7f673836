//! The relay: forwards a client's request upstream with the profile's headers, and streams the
//! response.

pub(crate) mod compat;
mod error;
mod forward;
mod headers;
mod mcp;
mod observed_body;
mod replay;
mod upgrade;
mod url;

pub(crate) use self::{
    error::RelayError,
    forward::{Destination, Relay, Target},
    mcp::{is_oauth_metadata, missing_scopes},
    observed_body::{BodyEvent, BodyObserver, ObservedBody},
    upgrade::UpgradeSlot,
};
