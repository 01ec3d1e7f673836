//! Trouble on demand: for the next requests of a route, something goes wrong in a chosen way.
//! It keeps the list and describes the trouble; the gate causes it.

use std::{collections::HashMap, collections::VecDeque, sync::Mutex, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{Route, lock};

/// One way to go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Fault {
    /// Answers with this status and body (JSON if it parses as such, else text); nothing is changed.
    Status {
        /// The HTTP status; one that HTTP does not know counts as 500.
        status: u16,
        /// The body, sent as it is.
        #[serde(default)]
        body: String,
        /// Seconds for the `Retry-After` header.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Takes the request and keeps silent until [`Faults::release`]; then it is handled as usual.
    Stall,
    /// Handles the request, and keeps the answer back until [`Faults::release`].
    StallAfterCommit,
    /// Waits this long, then handles the request as usual.
    Delay {
        /// How long, in milliseconds.
        milliseconds: u64,
    },
    /// Closes the connection; nothing is changed.
    DropBeforeCommit,
    /// Handles the request (a refresh token is rotated), then closes the connection without an answer.
    DropAfterCommit,
    /// Answers 200 with a web page, as a captive portal does; nothing is changed.
    Garbage,
    /// Answers 401 in the form of the endpoint, as if the token had expired; nothing is changed.
    Unauthorized,
    /// Answers 429 `usage_limit_reached`; nothing is changed.
    RateLimited {
        /// When the limit is lifted, in seconds since 1970.
        resets_at: u64,
    },
    /// Sends the first half of the answer, then closes the connection.
    TruncateStream,
    /// Sends the first half of the answer, and the rest after [`Faults::release`].
    HoldStream,
}

impl Fault {
    /// A plain refusal with a status and a body.
    pub fn status(status: u16, body: impl Into<String>) -> Self {
        Self::Status { status, body: body.into(), retry_after: None }
    }

    /// A wait before the request is handled.
    pub fn delay(duration: Duration) -> Self {
        Self::Delay { milliseconds: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// The faults to come, a queue for each route.
pub struct Faults {
    queues: Mutex<HashMap<Route, VecDeque<(Fault, usize)>>>,
    released: watch::Sender<u64>,
}

impl Faults {
    /// The next request of this route goes wrong, after those that are queued already.
    pub fn push(&self, route: Route, fault: Fault) {
        self.push_times(route, fault, 1);
    }

    /// The next `times` requests of this route go wrong; `usize::MAX` for all of them.
    pub fn push_times(&self, route: Route, fault: Fault, times: usize) {
        if times > 0 {
            lock(&self.queues).entry(route).or_default().push_back((fault, times));
        }
    }

    /// Forgets the faults that have not happened yet.
    pub fn clear(&self) {
        lock(&self.queues).clear();
    }

    /// Lets go of every request that is held up now; those held up later wait for the next release.
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

    /// A hold on the next release. Take it before the request is recorded: whoever has seen the record may then
    /// release, and the hold does not miss it.
    pub(crate) fn hold(&self) -> Hold {
        let mut released = self.released.subscribe();
        released.mark_unchanged();
        Hold(released)
    }
}

/// Waits for a release.
pub(crate) struct Hold(watch::Receiver<u64>);

impl Hold {
    pub(crate) async fn released(&mut self) {
        // An error means that the sandbox is gone, which releases everything.
        let _ = self.0.changed().await;
    }
}
