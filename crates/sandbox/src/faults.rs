//! Faults for the next requests of a route. The middleware applies them.

use std::{collections::HashMap, collections::VecDeque, sync::Mutex, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{Route, lock};

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Fault {
    /// Responds with this status and body (JSON if it is valid JSON, else text), without handling
    /// the request.
    Status {
        /// The HTTP status; an invalid one becomes 500.
        status: u16,
        /// The body, sent as it is.
        #[serde(default)]
        body: String,
        /// Seconds for the `Retry-After` header.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Handles the request after [`Faults::release`].
    Stall,
    /// Handles the request, and responds after [`Faults::release`].
    StallAfterCommit,
    /// Handles the request after a delay.
    Delay {
        /// The delay in milliseconds.
        milliseconds: u64,
    },
    /// Closes the connection without handling the request.
    DropBeforeCommit,
    /// Handles the request (a refresh token is rotated), and closes the connection without a
    /// response.
    DropAfterCommit,
    /// Responds with 200 and a web page, as a captive portal does, without handling the request.
    Garbage,
    /// Responds with 401 as if the token had expired, without handling the request.
    Unauthorized,
    /// Responds with 429 `usage_limit_reached`, without handling the request.
    RateLimited {
        /// The end of the limit, in seconds since 1970.
        resets_at: u64,
    },
    /// Sends the first half of the response, and closes the connection.
    TruncateStream,
    /// Sends the first half of the response, and the rest after [`Faults::release`].
    HoldStream,
}

impl Fault {
    /// [`Fault::Status`] without `Retry-After`.
    pub fn status(status: u16, body: impl Into<String>) -> Self {
        Self::Status { status, body: body.into(), retry_after: None }
    }

    /// [`Fault::Delay`] from a duration.
    pub fn delay(duration: Duration) -> Self {
        Self::Delay { milliseconds: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// A queue of faults for each route.
pub struct Faults {
    queues: Mutex<HashMap<Route, VecDeque<(Fault, usize)>>>,
    released: watch::Sender<u64>,
}

impl Faults {
    /// Queues a fault for one request of this route.
    pub fn push(&self, route: Route, fault: Fault) {
        self.push_times(route, fault, 1);
    }

    /// Queues a fault for `times` requests of this route; `usize::MAX` for all.
    pub fn push_times(&self, route: Route, fault: Fault, times: usize) {
        if times > 0 {
            lock(&self.queues).entry(route).or_default().push_back((fault, times));
        }
    }

    /// Clears the queues.
    pub fn clear(&self) {
        lock(&self.queues).clear();
    }

    /// Releases the requests that are stalled now. Later ones wait for the next release.
    pub fn release(&self) {
        self.released.send_modify(|count| *count += 1);
    }

    pub(crate) fn new() -> Self {
        Self { queues: Mutex::default(), released: watch::Sender::new(0) }
    }

    pub(crate) fn take(&self, route: Route) -> Option<Fault> {
        let mut queues = lock(&self.queues);
        let queue = queues.get_mut(&route)?;
        let (fault, times) = queue.front_mut()?;
        let fault = fault.clone();
        *times -= 1;
        if *times == 0 {
            queue.pop_front();
        }
        Some(fault)
    }

    /// A signal of the next release. Get it before the request is recorded: a test that has seen
    /// the record may release at once.
    pub(crate) fn release_signal(&self) -> ReleaseSignal {
        let mut released = self.released.subscribe();
        released.mark_unchanged();
        ReleaseSignal(released)
    }
}

/// Waits for a release.
pub(crate) struct ReleaseSignal(watch::Receiver<u64>);

impl ReleaseSignal {
    pub(crate) async fn released(&mut self) {
        // An error means that the sandbox was dropped, which also releases the request.
        let _ = self.0.changed().await;
    }
}
