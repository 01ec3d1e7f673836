//! The callback server, to which browsers return after a sign-in.

mod further_ports;
mod handler;
mod page;
mod port_yield;
mod ports;
mod request;
mod server;

pub(crate) use self::{
    handler::{CallbackHandler, CallbackOutcome, SignedInUser},
    server::{CallbackServer, wait_until_tried},
};
