//! Waits for changes of a store's state.

use authd_fleet::{DatabaseState, Fleet, FleetStatus};
use authd_store::{State, Status};
use tokio::sync::watch;

/// The state of the store that holds a record.
pub(crate) enum StoreWatch {
    /// This node's store.
    Local(watch::Receiver<Status>),
    /// The fleet's store, and whether it worked when this was last asked.
    Fleet(watch::Receiver<FleetStatus>, bool),
}

impl StoreWatch {
    pub(crate) fn is_of_fleet(&self) -> bool {
        matches!(self, Self::Fleet(..))
    }

    pub(crate) fn of_fleet(fleet: &Fleet) -> Self {
        let watch = fleet.watch();
        let worked = works(&watch);
        Self::Fleet(watch, worked)
    }

    /// The state after the next change; `None` after the end of the store.
    pub(crate) async fn changed(&mut self) -> Option<State> {
        match self {
            Self::Local(watch) => {
                watch.changed().await.ok()?;
                Some(watch.borrow_and_update().state)
            }
            // The status changes with every call.
            Self::Fleet(watch, worked) => loop {
                watch.changed().await.ok()?;
                let works = works(watch);
                if std::mem::replace(worked, works) != works {
                    return Some(if works { State::Ready } else { State::Unavailable });
                }
            },
        }
    }

    /// Forgets a change that has not been reported.
    pub(crate) fn mark_unchanged(&mut self) {
        match self {
            Self::Local(watch) => watch.mark_unchanged(),
            Self::Fleet(watch, worked) => *worked = works(watch),
        }
    }
}

fn works(watch: &watch::Receiver<FleetStatus>) -> bool {
    matches!(watch.borrow().state, DatabaseState::Connected)
}
