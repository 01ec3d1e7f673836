//! The relay: forwards a client's request upstream with the profile's headers, and streams the response.

mod error;
mod forward;
mod headers;
mod replay;
mod upgrade;

pub(crate) use self::{
    error::RelayError,
    forward::{Relay, Target},
    upgrade::UpgradeSlot,
};
