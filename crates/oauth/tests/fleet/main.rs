//! Model tests of a fleet: real sessions and the real rules of `authd_oauth::claim`, with an
//! database, a provider and machines that fail.
//!
//! - `database.rs`: the store, with planted faults. `provider.rs`: the provider and its ledger.
//! - `node.rs`: a node and its call. `simulation.rs`: the steps.
//! - `recovery.rs`: the end of each life.
//! - `exhaustive.rs`: every order of a few steps. `props.rs`: long random lives.
//! - `large.rs`: a simulation of large fleets. `scale.rs`: small versions of it. `simulate.rs`: the
//!   program that prints its figures.

mod database;
mod exhaustive;
mod large;
mod node;
mod props;
mod provider;
mod recovery;
mod scale;
mod simulation;
