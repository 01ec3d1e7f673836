//! What authd has observed of each managed home.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use authd_api::{CodexHomeState, ProfileName};
use jiff::Timestamp;

use super::{error::CodexHomeError, homes::ManagedHome, location::FILE};
use crate::events::{ChangeEvent, EventBus};

/// A Codex home that uses a profile.
#[derive(Clone, Debug)]
pub struct CodexHome {
    /// The home directory of Codex.
    pub home: PathBuf,
    /// The login file; the home if the login is an item of the keychain.
    pub path: PathBuf,
    /// Whether the login is an item of the keychain.
    pub keychain: bool,
    /// The profile.
    pub profile: ProfileName,
    /// What the home holds, and since when.
    pub observed: Observed,
}

/// What a home held when authd last looked.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Whether the login of the home is authd's.
    pub state: CodexHomeState,
    /// The target of the file, if that is a symbolic link.
    pub link: Option<PathBuf>,
    /// When authd last wrote the login.
    pub written_at: Option<Timestamp>,
    /// Why the login is not up to date.
    pub error: Option<Arc<CodexHomeError>>,
}

impl Default for Observed {
    fn default() -> Self {
        Self { state: CodexHomeState::Pending, link: None, written_at: None, error: None }
    }
}

impl Observed {
    fn is_same(&self, other: &Self) -> bool {
        let error = |one: &Self| one.error.as_ref().map(|error| format!("{error:?}"));
        (self.state, &self.link, self.written_at) == (other.state, &other.link, other.written_at)
            && error(self) == error(other)
    }
}

/// What authd has observed of all homes; a cheap handle. A change is announced.
#[derive(Clone, Debug)]
pub(super) struct Observations {
    homes: Arc<Mutex<HashMap<PathBuf, Observed>>>,
    events: EventBus,
}

impl Observations {
    pub(super) fn new(events: EventBus) -> Self {
        Self { homes: Arc::default(), events }
    }

    /// The last observation of a home.
    pub(super) fn get(&self, home: &Path) -> Observed {
        self.homes().get(home).cloned().unwrap_or_default()
    }

    pub(super) fn set(&self, home: &Path, observed: Observed) {
        let is_new = !self.homes().get(home).is_some_and(|previous| previous.is_same(&observed));
        self.homes().insert(home.to_path_buf(), observed);
        if is_new {
            self.announce(home);
        }
    }

    /// Forgets a home, and announces that its entry in the list has changed.
    pub(super) fn remove(&self, home: &Path) {
        self.homes().remove(home);
        self.announce(home);
    }

    /// A home of the list, with the last observation of it.
    pub(super) fn describe(&self, home: PathBuf, managed: ManagedHome) -> CodexHome {
        let ManagedHome { profile, item: keychain, .. } = managed;
        let path = if keychain { home.clone() } else { home.join(FILE) };
        CodexHome { path, keychain, profile, observed: self.get(&home), home }
    }

    fn announce(&self, home: &Path) {
        self.events.publish(ChangeEvent::CodexHome(home.to_path_buf()));
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<PathBuf, Observed>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
