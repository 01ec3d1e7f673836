//! The handle that records uses, and the queue of lines that are not written yet.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use authd_api::{AuditEntry, AuditStatus, AuditTarget, Process};
use authd_broker::now;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{
    coalescer::Coalescer,
    files::LogFiles,
    reader::{AuditReader, Filter},
    usage::Usage,
};
use crate::platform::ProcessReader;

/// Most lines that wait for a disk or a journal that does not work. Further uses are not recorded.
const MOST_WAITING: usize = 4096;

/// Most logins whose process is remembered. More cannot be pending.
const MOST_LOGINS: usize = 512;

/// A cheap handle of the audit log.
#[derive(Clone)]
pub(crate) struct AuditLog(pub(super) Arc<Shared>);

/// What the handles and the writer share.
pub(super) struct Shared {
    is_on: AtomicBool,
    state: Mutex<State>,
    /// Wakes the writer.
    pub(super) wake: Notify,
    /// Requests to write everything that was recorded.
    flushes: mpsc::Sender<oneshot::Sender<()>>,
    /// Changes with each write.
    pub(super) written: watch::Sender<()>,
    pub(super) files: Arc<LogFiles>,
    processes: Arc<ProcessReader>,
}

#[derive(Default)]
struct State {
    to: AuditTarget,
    coalescer: Coalescer,
    /// The lines that are not written yet, the oldest first.
    waiting: VecDeque<Arc<AuditEntry>>,
    /// How many uses were not recorded.
    lost: u64,
    /// Why the last write failed.
    error: Option<String>,
    /// The clients that started the pending logins.
    logins: HashMap<String, Option<Arc<Process>>>,
}

impl AuditLog {
    pub(super) fn new(
        to: AuditTarget,
        files: Arc<LogFiles>,
        flushes: mpsc::Sender<oneshot::Sender<()>>,
    ) -> Self {
        let log = Self(Arc::new(Shared {
            is_on: AtomicBool::new(to != AuditTarget::Off),
            state: Mutex::new(State { to, ..State::default() }),
            wake: Notify::new(),
            flushes,
            written: watch::Sender::default(),
            files,
            processes: Arc::default(),
        }));
        log.0.processes.set_on(log.is_on());
        log
    }

    /// Reads the process of each connection while the log is on.
    pub(crate) fn processes(&self) -> Arc<ProcessReader> {
        self.0.processes.clone()
    }

    /// Whether uses are recorded.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::Relaxed)
    }

    /// Records a use by the request with this number.
    pub(crate) fn record(&self, usage: Usage, request: Option<u64>) {
        if self.is_on() {
            let mut state = self.state();
            let lines = state.coalescer.add(usage, request, now());
            self.enqueue(&mut state, lines);
        }
    }

    /// Remembers which process has started a login.
    pub(crate) fn remember_login(&self, id: &str, process: Option<Arc<Process>>) {
        let mut state = self.state();
        if self.is_on() && state.logins.len() < MOST_LOGINS {
            state.logins.insert(id.to_owned(), process);
        }
    }

    /// Removes and returns the process that has started a login.
    pub(super) fn take_login(&self, id: &str) -> Option<Arc<Process>> {
        self.state().logins.remove(id).flatten()
    }

    /// The logins whose process is remembered.
    pub(super) fn remembered_logins(&self) -> Vec<String> {
        self.state().logins.keys().cloned().collect()
    }

    /// Where the log is, and whether it works.
    pub(crate) fn status(&self) -> AuditStatus {
        let State { to, ref error, lost, .. } = *self.state();
        let path = (to == AuditTarget::File).then(|| self.0.files.path().display().to_string());
        AuditStatus { to, path, error: error.clone(), lost }
    }

    /// Reads the files from the oldest entry on, after writing everything that was recorded.
    pub(crate) async fn read(&self, filter: Filter) -> io::Result<AuditReader> {
        let (done, flushed) = oneshot::channel();
        if self.0.flushes.send(done).await.is_ok() {
            // During a shutdown the writer may have ended.
            flushed.await.ok();
        }
        AuditReader::open(self.0.files.clone(), filter).await
    }

    /// Notifies of each write.
    pub(crate) fn written(&self) -> watch::Receiver<()> {
        self.0.written.subscribe()
    }

    pub(super) fn set_target(&self, to: AuditTarget) {
        self.0.is_on.store(to != AuditTarget::Off, Ordering::Relaxed);
        self.0.processes.set_on(self.is_on());
        let mut state = self.state();
        state.to = to;
        if to == AuditTarget::Off {
            state.error = None;
            state.logins.clear();
        }
    }

    /// Adds the lines of repeats to the queue.
    pub(super) fn count_repeats(&self) {
        let mut state = self.state();
        let lines = state.coalescer.take_repeats();
        self.enqueue(&mut state, lines);
    }

    /// Ends the minute.
    pub(super) fn end_minute(&self) {
        let mut state = self.state();
        let lines = state.coalescer.end_minute();
        self.enqueue(&mut state, lines);
    }

    /// How long the minute still lasts; `None` if nothing was used in it.
    pub(super) fn rest_of_minute(&self, now: Timestamp) -> Option<Duration> {
        const LONGEST: Duration = Duration::from_secs(60);
        let end = self.state().coalescer.minute_end()?;
        Some(Duration::try_from(end.duration_since(now)).unwrap_or_default().min(LONGEST))
    }

    /// The next lines to write, at most this many.
    pub(super) fn next_lines(&self, most: usize) -> Vec<String> {
        // Every use takes the lock, so it is not held during the formatting.
        let entries: Vec<_> = self.state().waiting.iter().take(most).cloned().collect();
        let line = |entry: Arc<AuditEntry>| serde_json::to_string(&*entry).expect("an entry has a JSON form");
        entries.into_iter().map(line).collect()
    }

    /// Records the result of a write of so many lines. Returns whether the error is a new one.
    pub(super) fn finish_write(&self, lines: usize, result: io::Result<()>) -> bool {
        let mut state = self.state();
        state.waiting.drain(..lines);
        let error = result.err().map(|error| error.to_string());
        let is_new = error.is_some() && error != state.error;
        state.error = error;
        self.0.written.send_replace(());
        is_new
    }

    /// Drops the lines that wait. Returns how many uses that loses.
    pub(super) fn drop_waiting(&self) -> u64 {
        let mut state = self.state();
        let uses = state.waiting.drain(..).map(|entry| entry.count).sum();
        state.lost += uses;
        uses
    }

    fn enqueue(&self, state: &mut State, lines: Vec<AuditEntry>) {
        if lines.is_empty() {
            return;
        }
        for line in lines {
            if state.waiting.len() < MOST_WAITING {
                state.waiting.push_back(Arc::new(line));
            } else {
                state.lost += line.count;
            }
        }
        self.0.wake.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can leave a half-made change.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
