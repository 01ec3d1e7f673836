//! Shares: one profile for the holder of a key or of a socket, for a limited time.

mod error;
mod file;
mod hold;
mod key;
mod list;
mod live;
mod paths;
mod rate;
mod terms;

pub(crate) use self::list::run;
pub use self::{
    error::ShareError,
    hold::ShareHold,
    key::ShareKey,
    list::{ShareSnapshot, Shares},
    live::Share,
    paths::PathError,
    terms::ShareTerms,
};
