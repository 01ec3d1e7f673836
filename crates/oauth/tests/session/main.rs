//! Tests of the `Session` state machine against a simulated environment: a provider that rotates
//! refresh tokens and revokes the family of a reused one, a store that fails or is slow, a network
//! that loses responses, a clock that is set, clients, new sign-ins, crashes and the daemon's stop.
//!
//! - `model.rs`: the provider and the store.
//! - `simulation.rs`: executes a session's effects, in any order and with any delay.
//! - `outcome.rs`: the outcome of a call.
//! - `invariants.rs`: the invariants, checked after every event.
//! - `step.rs`: the steps of a simulation.
//! - `props.rs`: random orders of events. `exhaustive.rs`: every order of a few events.
//! - `tables.rs`: the documented rules, one line each.
//! - `requests.rs`, `clock.rs`: rules for events from outside.
//! - `bearer.rs`: rules for the tokens of defined providers.
//! - `facts.rs`: what defined providers do differently, and the refusal that is not final.
//! - `refusals.rs`: rejections that do not end a grant.
//! - `regressions.rs`: failures that these tests found.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails by panicking")]

mod bearer;
mod clock;
mod exhaustive;
mod facts;
mod invariants;
mod model;
mod outcome;
mod props;
mod refusals;
mod regressions;
mod requests;
mod simulation;
mod step;
mod tables;
