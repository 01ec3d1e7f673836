//! The callers that wait for a refresh or a save.

use std::time::Duration;

use authd_oauth::Session;
use jiff::Timestamp;
use tokio::sync::oneshot;

/// Longest time a request with an expired credential waits for the next refresh attempt. If the
/// attempt is further away, the request fails at once. The default of `[refresh] wait` is the same.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

#[derive(Default)]
pub(super) struct Waiters {
    /// Wait while any work of the session is pending.
    waiters: Vec<oneshot::Sender<()>>,
    /// Have no valid credential, so they wait at most [`LONGEST_WAIT`].
    expired: Vec<oneshot::Sender<()>>,
}

impl Waiters {
    pub(super) fn add(&mut self, done: oneshot::Sender<()>) {
        self.waiters.push(done);
    }

    /// Adds a client that needs a credential.
    pub(super) fn add_client(&mut self, done: oneshot::Sender<()>, session: &Session, now: Timestamp) {
        if is_expired(session, now) { &mut self.expired } else { &mut self.waiters }.push(done);
    }

    /// Answers every caller whose wait is over.
    pub(super) fn answer(&mut self, session: &Session, now: Timestamp) {
        // A caller that has disconnected gets no answer.
        let answer = |done: oneshot::Sender<()>| _ = done.send(());
        if !session.is_pending(now) {
            self.waiters.drain(..).for_each(answer);
        }
        if !is_expired(session, now) || !session.is_pending_within(now, LONGEST_WAIT) {
            self.expired.drain(..).for_each(answer);
        }
        self.expired.retain(|done| !done.is_closed());
    }
}

fn is_expired(session: &Session, now: Timestamp) -> bool {
    session.credential().remaining(now).is_zero()
}
