//! `Session`, the pure brain, in a small world of its own: a provider that rotates refresh tokens and
//! kills the family of a reused one, a store that may fail or be slow, a network that loses answers, a
//! clock that jumps, clients that want, ask and reject, new sign-ins, crashes and the end of the daemon.
//!
//! - `model.rs`: the provider and the store.
//! - `world.rs`: the world that performs a session's effects, in any order and as late as you like.
//! - `luck.rs`: what luck does to a call.
//! - `watch.rs`: the promises, checked after every single event.
//! - `step.rs`: what can happen in the world.
//! - `props.rs`: any order of events. `exhaustive.rs`: every order of a few events.
//! - `tables.rs`: the documented rules, one line each. `requests.rs`, `clock.rs`: rules about what comes from
//!   outside. `found.rs`: what these tests found.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod clock;
mod exhaustive;
mod found;
mod luck;
mod model;
mod props;
mod requests;
mod step;
mod tables;
mod watch;
mod world;
