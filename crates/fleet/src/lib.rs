//! The records of a fleet: many nodes share the grants in one PostgreSQL database. The rules by
//! which nodes claim, write and release are the pure functions of [`authd_oauth::claim`]. This
//! crate runs them inside short transactions, on the database's clock.
//!
//! ```text
//!   Fleet (a handle with deadlines)
//!     ├─ one connection for statements: one transaction at a time
//!     └─ its task, with one connection that listens and polls ──► Changes
//! ```
//!
//! The database stores each record sealed. Its administrator sees names, times and nodes only. An
//! unavailable database is never an absence: every call returns what the database holds, or an
//! error.

mod changes;
mod config;
mod connection;
mod error;
mod fleet;
mod inner;
mod listener;
mod operations;
mod row;
mod schema;
mod seal;
mod status;
mod transaction;

pub use changes::{Change, Changes};
pub use config::{FleetConfig, Tls};
pub use fleet::{Fleet, Task};
pub use operations::{Claimed, Renamed, TakenOut, Written};
pub use row::StoredRecord;
pub use status::{Counters, DatabaseState, FleetStatus};
