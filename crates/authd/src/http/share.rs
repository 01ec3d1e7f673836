//! Shares: the listeners, and the few routes that a share has.

mod access;
mod compat;
mod doors;
mod listener;
mod router;

pub(crate) use self::{
    doors::{ShareDoors, ShareDoorsHandle},
    router::share_router,
};
