//! Lets programs that are written for the public Responses API use the ChatGPT backend, which
//! accepts less (docs/protocol.md, section 11.3). Nothing is translated between different APIs.

mod request;
mod response;

pub(crate) use self::{
    request::{CompatError, adapt},
    response::{StreamAdapter, collect},
};
