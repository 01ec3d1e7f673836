//! Credentials at rest: text under keys. Every call returns within a deadline, with what the store
//! holds or with an error. This crate does not interpret the text.
//!
//! ```text
//!   Store (an asynchronous handle with deadlines)
//!     └─ Engine (on a worker thread, one call at a time)
//!          ├─ PlacementFile: store.json, which names the store that holds the records
//!          └─ Backend: keychain (on its own thread) │ age-encrypted files │ memory
//! ```
//!
//! Only the records say which profiles exist. A failed read is not an absence; only the store's own
//! "not found" is. After any other error the store creates, replaces and deletes nothing.

mod backend;
mod call;
mod config;
mod deadline;
mod engine;
mod error;
mod file;
mod key;
mod keychain;
mod legacy_index;
mod listing;
mod memory;
mod placement;
pub mod private;
mod sealing;
mod state_dir;
mod store;
mod worker;

pub use backend::RekeyReport;
pub use call::Call;
pub use config::{Config, KeySource, Kind, StorePreference};
pub use engine::MigrationReport;
pub use error::StoreError;
pub use key::Key;
pub use legacy_index::LegacyIndex;
pub use listing::Listing;
pub use placement::ProfilePlace;
pub use sealing::SealingKey;
pub use state_dir::{StateDir, StateDirError};
pub use store::{State, Status, Store};
