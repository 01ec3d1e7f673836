//! What other nodes changed.

use tokio::sync::broadcast::{self, error::RecvError};

/// Changes that a slow receiver may be behind. Beyond that it gets [`Change::Everything`].
const CAPACITY: usize = 1024;

/// A change in the database. It may be announced more than once, and to the node that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The record of this name was written, renamed or deleted, or its claim has ended.
    Record {
        /// The name.
        name: String,
        /// The revision; `None`: the name is free now.
        revision: Option<u64>,
    },
    /// Any record may have changed: changes could not be received for a while.
    Everything,
}

/// A receiver of changes.
#[derive(Debug)]
pub struct Changes(broadcast::Receiver<Change>);

impl Changes {
    /// The next change; `None` after the end of the fleet.
    pub async fn next(&mut self) -> Option<Change> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(RecvError::Lagged(_)) => {
                self.0 = self.0.resubscribe();
                Some(Change::Everything)
            }
            Err(RecvError::Closed) => None,
        }
    }
}

/// The sender of changes.
#[derive(Debug)]
pub(crate) struct Announcer(broadcast::Sender<Change>);

impl Announcer {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }

    pub(crate) fn subscribe(&self) -> Changes {
        Changes(self.0.subscribe())
    }

    pub(crate) fn announce(&self, change: Change) {
        // Without a receiver there is nothing to tell.
        self.0.send(change).ok();
    }
}
