//! Credentials at rest. It keeps text under keys, truthfully or with an error, within a deadline; what
//! the text means is not known here.
//!
//! ```text
//!   Store (a handle, asynchronous, with deadlines)
//!     └─ worker (one thread, one command at a time)
//!          └─ Backend: keychain │ age-encrypted files │ memory
//! ```
//!
//! The store that took the first record is remembered in the [`Index`]. If it is unavailable later, that
//! is an error that heals; it is never a reason to begin a second store.

mod backend;
mod file;
mod index;
mod key;
mod keychain;
mod memory;
pub mod private;
mod store;
mod worker;

pub use backend::{Kind, StoreError};
pub use file::KeySource;
pub use index::{Index, Loaded, Whose};
pub use key::Key;
pub use store::{Call, Config, Moved, State, Status, Store, Wish};
