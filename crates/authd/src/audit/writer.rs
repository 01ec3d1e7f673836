//! The task that writes the audit log. A write that fails is repeated; meanwhile the daemon serves
//! credentials, and the lines wait.

use std::{path::PathBuf, sync::Arc, time::Duration};

use authd_api::AuditTarget;
use authd_broker::{blocking, now};
use authd_store::StateDir;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, sleep_until},
};
use tracing::{info, warn};

use super::{
    files::{Limits, LogFiles},
    journal,
    log::AuditLog,
};
use crate::config::AuditConfig;

/// Wait before a failed write is repeated.
const RETRY: Duration = Duration::from_secs(5);

/// Most lines of one write.
const BATCH: usize = 256;

/// The task's state.
pub(crate) struct AuditWriter {
    log: AuditLog,
    config: watch::Receiver<AuditConfig>,
    /// The configuration in use.
    current: AuditConfig,
    flushes: mpsc::Receiver<oneshot::Sender<()>>,
    journal: PathBuf,
    /// When the last write failed: the time of the next one.
    retry_at: Option<Instant>,
}

impl AuditWriter {
    /// The log of a daemon with this state directory.
    pub(crate) fn new(config: watch::Receiver<AuditConfig>, state_dir: StateDir) -> (AuditLog, Self) {
        Self::with_journal(config, state_dir, journal::SOCKET.into())
    }

    pub(super) fn with_journal(
        mut config: watch::Receiver<AuditConfig>,
        state_dir: StateDir,
        journal: PathBuf,
    ) -> (AuditLog, Self) {
        let (sender, flushes) = mpsc::channel(16);
        let current = config.borrow_and_update().clone();
        let log = AuditLog::new(current.to, Arc::new(LogFiles::new(state_dir)), sender);
        (log.clone(), Self { log, config, current, flushes, journal, retry_at: None })
    }

    /// Writes until `recording` returns, then everything that is left.
    pub(crate) async fn run(mut self, recording: impl Future<Output = ()>) {
        let mut recording = std::pin::pin!(recording);
        loop {
            let rest_of_minute = self.log.rest_of_minute(now());
            let minute_end = async {
                match rest_of_minute {
                    Some(rest) => sleep(rest).await,
                    None => std::future::pending().await,
                }
            };
            let retry = async {
                match self.retry_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut recording => break,
                Ok(()) = self.config.changed() => self.reload().await,
                Some(done) = self.flushes.recv() => {
                    self.log.count_repeats();
                    self.write().await;
                    done.send(()).ok();
                }
                () = minute_end => self.log.end_minute(),
                () = retry => self.write().await,
                () = self.log.0.wake.notified(), if self.retry_at.is_none() => self.write().await,
            }
        }
        self.finish().await;
    }

    /// Applies a new configuration. What was recorded before goes to the old target.
    async fn reload(&mut self) {
        let config = self.config.borrow_and_update().clone();
        if config.to != self.current.to {
            self.log.set_target(config.to);
            self.finish().await;
            info!(to = ?config.to, "audit log reconfigured");
        }
        self.current = config;
    }

    /// Writes everything that was recorded. What cannot be written is lost.
    async fn finish(&mut self) {
        self.log.end_minute();
        self.write().await;
        self.retry_at = None;
        let lost = self.log.drop_waiting();
        if lost > 0 {
            warn!(lost, "uses not recorded in the audit log");
        }
    }

    async fn write(&mut self) {
        self.retry_at = None;
        loop {
            let lines = self.log.next_lines(BATCH);
            if lines.is_empty() {
                return;
            }
            let (written, result) = self.append(lines).await;
            let error = result.as_ref().err().map(ToString::to_string);
            let is_new = self.log.finish_write(written, result);
            if let Some(error) = error {
                if is_new {
                    warn!(error, "audit log not written; retrying");
                }
                self.retry_at = Some(Instant::now() + RETRY);
                return;
            }
        }
    }

    async fn append(&self, lines: Vec<String>) -> (usize, std::io::Result<()>) {
        let limits = Limits { size: self.current.size, files: self.current.files };
        let (to, files, journal) = (self.current.to, self.log.0.files.clone(), self.journal.clone());
        let appended = blocking(move || {
            Ok(match to {
                AuditTarget::File => files.append(&lines, limits),
                AuditTarget::Journal => journal::send(&journal, &lines),
                // Nothing is recorded then.
                AuditTarget::Off | AuditTarget::Unknown => (lines.len(), Ok(())),
            })
        });
        appended.await.unwrap_or_else(|error| (0, Err(error)))
    }
}
