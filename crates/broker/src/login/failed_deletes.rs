//! The logins whose stored copy could not be deleted yet.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

/// How many failed deletes are remembered. The next start deletes the rest.
const CAPACITY: usize = 1024;

/// A set of login ids. While it is not empty, one task retries.
#[derive(Default)]
pub(super) struct FailedDeletes(Mutex<BTreeSet<String>>);

impl FailedDeletes {
    /// Adds a login. Returns whether it is the only one, so that nothing retries yet.
    pub(super) fn add(&self, id: String) -> bool {
        self.with(|ids| {
            let first = ids.is_empty();
            if ids.len() < CAPACITY {
                ids.insert(id);
            }
            first
        })
    }

    pub(super) fn first(&self) -> Option<String> {
        self.with(|ids| ids.first().cloned())
    }

    pub(super) fn remove(&self, id: &str) {
        self.with(|ids| ids.remove(id));
    }

    fn with<T>(&self, access: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        access(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
