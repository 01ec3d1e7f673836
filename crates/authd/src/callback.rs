//! The callback server, to which browsers return after a sign-in.

mod handler;
mod page;
mod ports;
mod request;
mod server;

pub(crate) use self::{
    handler::{CallbackHandler, CallbackOutcome, SignedInUser},
    server::{CallbackServer, settled},
};
