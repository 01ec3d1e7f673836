//! Credentials at rest. A store keeps text under keys. A call returns what the store holds, or an error,
//! within a deadline; the meaning of the text is not known here.
//!
//! ```text
//!   Store (a handle, asynchronous, with deadlines)
//!     └─ Engine (on a worker thread, one call at a time)
//!          ├─ PlacementFile: store.json, which store holds the records
//!          └─ Backend: keychain (on a thread of its own) │ age-encrypted files │ memory
//! ```
//!
//! The records are the only truth about which profiles exist. A read that failed is not an absence: only
//! the store's own "not found" is. After any other error nothing is created, replaced or deleted.

mod backend;
mod bounded;
mod call;
mod config;
mod engine;
mod file;
mod key;
mod keychain;
mod legacy_index;
mod listing;
mod memory;
mod placement;
pub mod private;
mod state_dir;
mod store;
mod worker;

pub use backend::{Kind, RekeyReport, StoreError};
pub use call::Call;
pub use config::{Config, StorePreference};
pub use engine::MigrationReport;
pub use file::KeySource;
pub use key::Key;
pub use legacy_index::LegacyIndex;
pub use listing::Listing;
pub use state_dir::{StateDir, StateDirError};
pub use store::{State, Status, Store};
