//! Records uses of profiles in the audit log.

use super::{peer::Peer, state::AppState};
use crate::audit::Usage;

impl AppState {
    /// Records a use by the current request of a client.
    pub(super) fn record(&self, peer: &Peer, usage: impl FnOnce() -> Usage) {
        if self.audit.is_on() {
            let usage = usage();
            let share = usage.share.or_else(|| peer.share_id());
            self.audit.record(Usage { process: peer.process(), share, ..usage }, peer.request());
        }
    }

    /// Performs an action, and records it unless it fails. `complete` adds what the result tells.
    ///
    /// If the client disconnects, the returned future is dropped, but the daemon may finish the
    /// action. So it is recorded then, too.
    pub(super) async fn recorded<T, E>(
        &self,
        peer: &Peer,
        usage: Usage,
        action: impl Future<Output = Result<T, E>>,
        complete: impl FnOnce(Usage, &T) -> Usage,
    ) -> Result<T, E> {
        let mut guard = RecordOnDrop { state: self, peer, usage: Some(usage) };
        let result = action.await;
        let usage = guard.usage.take();
        guard.usage = result.as_ref().ok().and_then(|result| Some(complete(usage?, result)));
        result
    }

    /// Remembers the process that has started a login, for the entry about its end.
    pub(super) fn remember_login(&self, peer: &Peer, id: &str) {
        if self.audit.is_on() {
            self.audit.remember_login(id, peer.process());
        }
    }
}

struct RecordOnDrop<'r> {
    state: &'r AppState,
    peer: &'r Peer,
    usage: Option<Usage>,
}

impl Drop for RecordOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(usage) = self.usage.take() {
            self.state.record(self.peer, || usage);
        }
    }
}
