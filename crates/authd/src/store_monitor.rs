//! The state of the stores as users see them. The profiles are in the store of this machine, or in
//! the database of the fleet.

use std::sync::Arc;

use authd_broker::{Names, RegistrySnapshot};
use authd_fleet::{DatabaseState, Fleet, FleetStatus};
use authd_store::{ProfilePlace, State, Status, StoreError};
use tokio::sync::watch;

/// Watches the stores.
#[derive(Clone, Debug)]
pub(crate) struct StoreMonitor {
    local: watch::Receiver<Status>,
    fleet: Option<(Fleet, watch::Receiver<FleetStatus>)>,
    registry: watch::Receiver<Arc<RegistrySnapshot>>,
    /// What the last change was compared with.
    seen: (Status, ProfileStore),
}

/// The store that holds the profiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProfileStore {
    /// Whether it is the database of the fleet.
    pub(crate) is_fleet: bool,
    /// Whether it works.
    pub(crate) state: State,
    /// Where the profiles are, or what is wrong.
    pub(crate) detail: String,
}

impl StoreMonitor {
    pub(crate) fn new(
        local: watch::Receiver<Status>,
        fleet: Option<Fleet>,
        registry: watch::Receiver<Arc<RegistrySnapshot>>,
    ) -> Self {
        let fleet = fleet.map(|fleet| {
            let status = fleet.watch();
            (fleet, status)
        });
        let seen = current(&local, fleet.as_ref(), &registry);
        Self { local, fleet, registry, seen }
    }

    /// The store of this machine.
    pub(crate) fn local(&self) -> Status {
        self.local.borrow().clone()
    }

    /// The database of the fleet, if one is configured.
    pub(crate) fn fleet(&self) -> Option<(&Fleet, FleetStatus)> {
        self.fleet.as_ref().map(|(fleet, status)| (fleet, status.borrow().clone()))
    }

    /// The store of the profiles.
    pub(crate) fn profiles(&self) -> ProfileStore {
        current(&self.local, self.fleet.as_ref(), &self.registry).1
    }

    /// Waits for the next change of a state, or of what is wrong. `None` during the shutdown.
    pub(crate) async fn changed(&mut self) -> Option<()> {
        loop {
            let fleet = async {
                match &mut self.fleet {
                    Some((_, status)) => status.changed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.local.changed() => changed.ok()?,
                changed = fleet => changed.ok()?,
                changed = self.registry.changed() => changed.ok()?,
            }
            if self.mark_seen() {
                return Some(());
            }
        }
    }

    /// Compares with the present state from now on. Returns whether it differs from the last one.
    pub(crate) fn mark_seen(&mut self) -> bool {
        self.local.mark_unchanged();
        self.registry.mark_unchanged();
        if let Some((_, status)) = &mut self.fleet {
            status.mark_unchanged();
        }
        let current = current(&self.local, self.fleet.as_ref(), &self.registry);
        let differs = current != self.seen;
        self.seen = current;
        differs
    }
}

fn current(
    local: &watch::Receiver<Status>,
    fleet: Option<&(Fleet, watch::Receiver<FleetStatus>)>,
    registry: &watch::Receiver<Arc<RegistrySnapshot>>,
) -> (Status, ProfileStore) {
    let local = local.borrow().clone();
    let registry = registry.borrow().clone();
    let profiles = match fleet {
        Some((fleet, status)) if registry.place != ProfilePlace::Local => {
            in_fleet(fleet, &status.borrow(), &registry)
        }
        _ => in_local(&local, &registry),
    };
    (local, profiles)
}

fn in_fleet(fleet: &Fleet, status: &FleetStatus, registry: &RegistrySnapshot) -> ProfileStore {
    let (state, detail) = match &status.state {
        DatabaseState::Connecting => (State::Unavailable, format!("{}: not contacted yet", fleet.server())),
        DatabaseState::Connected => (State::Ready, fleet.server() + move_in_progress(registry.place)),
        DatabaseState::Unavailable { detail } => (State::Unavailable, detail.clone()),
    };
    ProfileStore { is_fleet: true, state, detail }
}

fn move_in_progress(place: ProfilePlace) -> &'static str {
    match place {
        ProfilePlace::Local | ProfilePlace::Fleet => "",
        ProfilePlace::ToFleet => "; some logins are still moving there",
        ProfilePlace::ToLocal => "; the logins are moving to this machine",
    }
}

fn in_local(local: &Status, registry: &RegistrySnapshot) -> ProfileStore {
    let (state, detail) = match &registry.names {
        // The store works, and the profiles are not there.
        Names::Unavailable(error) if local.state == State::Ready => (State::Unavailable, cause(error)),
        Names::Unavailable(_) | Names::Loading | Names::Known => (local.state, local.detail.clone()),
    };
    ProfileStore { is_fleet: false, state, detail }
}

fn cause(error: &StoreError) -> String {
    match error {
        StoreError::Locked { detail }
        | StoreError::Unavailable { detail }
        | StoreError::Refused { detail } => detail.clone(),
        error @ StoreError::Damaged { .. } => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use authd_fleet::FleetConfig;

    use super::*;

    fn local(state: State) -> watch::Receiver<Status> {
        watch::channel(Status { kind: None, state, detail: "files".to_owned(), fallback: None }).1
    }

    fn fleet() -> Fleet {
        let key = age::x25519::Identity::generate().to_string();
        Fleet::start(FleetConfig::new("postgresql://me:secret@127.0.0.1:9/authd", key, "a")).unwrap().0
    }

    #[test]
    fn store_of_the_profiles_is_where_they_are() {
        let registry = |place, names| {
            let snapshot = RegistrySnapshot { place, names, ..RegistrySnapshot::default() };
            watch::channel(Arc::new(snapshot)).1
        };
        let missing = StoreError::Refused { detail: "not configured".to_owned() };
        let missing = || Names::Unavailable(Arc::new(missing.clone()));
        let unread = "PostgreSQL at 127.0.0.1:9 (database authd): not contacted yet";
        for (local_state, fleet, place, names, expected) in [
            (State::Ready, None, ProfilePlace::Local, Names::Known, (false, State::Ready, "files")),
            (State::Locked, None, ProfilePlace::Local, missing(), (false, State::Locked, "files")),
            (
                State::Ready,
                None,
                ProfilePlace::Local,
                missing(),
                (false, State::Unavailable, "not configured"),
            ),
            (State::Ready, Some(fleet()), ProfilePlace::Local, Names::Known, (false, State::Ready, "files")),
            (
                State::Ready,
                Some(fleet()),
                ProfilePlace::Fleet,
                Names::Known,
                (true, State::Unavailable, unread),
            ),
        ] {
            let monitor = StoreMonitor::new(local(local_state), fleet, registry(place, names));
            let ProfileStore { is_fleet, state, detail } = monitor.profiles();
            assert_eq!((is_fleet, state, detail.as_str()), expected);
        }
    }

    #[tokio::test]
    async fn only_a_different_state_is_a_change() {
        let (registry, receiver) = watch::channel(Arc::<RegistrySnapshot>::default());
        let store = Status { kind: None, state: State::Ready, detail: String::new(), fallback: None };
        let (_store, local) = watch::channel(store);
        let mut monitor = StoreMonitor::new(local, Some(fleet()), receiver);
        registry.send_modify(|snapshot| Arc::make_mut(snapshot).names = Names::Known);
        assert!(!monitor.mark_seen());
        registry.send_modify(|snapshot| Arc::make_mut(snapshot).place = ProfilePlace::Fleet);
        monitor.changed().await.unwrap();
        assert!(monitor.profiles().is_fleet && !monitor.mark_seen());
        drop(registry);
        assert_eq!(monitor.changed().await, None);
    }
}
