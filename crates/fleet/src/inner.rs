//! What the handles and the task of a fleet share, and how a call gets the connection.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use authd_oauth::claim::Holder;
use authd_store::StoreError;
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::Client;

use crate::{
    changes::Announcer,
    config::Settings,
    connection::{Connection, Tables},
    error::timed_out,
    status::StatusSender,
};

/// Receives the duration and the error of every call.
type Observer = dyn Fn(Duration, Option<&StoreError>) + Send + Sync;

/// What the handles and the task share.
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) holder: Holder,
    pub(crate) status: StatusSender,
    pub(crate) announcer: Announcer,
    pub(crate) observer: OnceLock<Box<Observer>>,
    connection: Mutex<Slot>,
}

/// The place of the connection for statements.
#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    /// Whether a call has succeeded.
    was_used: bool,
}

impl Inner {
    pub(crate) fn new(settings: Settings, holder: Holder) -> Self {
        Self {
            settings,
            holder,
            status: StatusSender::new(),
            announcer: Announcer::new(),
            observer: OnceLock::new(),
            connection: Mutex::new(Slot::default()),
        }
    }

    /// Runs a call within the deadline, and records how it went.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let deadline = self.settings.deadline;
        let result = tokio::time::timeout(deadline, call).await;
        let result = result.unwrap_or_else(|_| Err(timed_out(&self.settings, deadline)));
        let taken = started.elapsed();
        if let Some(observer) = self.observer.get() {
            observer(taken, result.as_ref().err());
        }
        match &result {
            Ok(_) => self.status.succeeded(taken),
            Err(StoreError::Damaged { .. }) => {}
            Err(error) => self.status.failed(error),
        }
        result
    }

    /// Waits for the connection, and makes it if there is none.
    pub(crate) async fn session(&self, tables: Tables) -> Result<Session<'_>, StoreError> {
        let mut slot = self.connection.lock().await;
        let kept = slot.connection.take().filter(|connection| connection.fits(tables));
        if let Some(connection) = kept {
            return Ok(Session { connection, slot });
        }
        let connection = Connection::open(&self.settings, &self.status, tables, None).await?;
        self.status.count(|counters| counters.reconnections += u64::from(slot.was_used));
        Ok(Session { connection, slot })
    }
}

/// The use of the connection by one call. A call that fails or is cancelled closes the connection,
/// because the state of its transaction is unknown.
pub(crate) struct Session<'a> {
    connection: Connection,
    slot: MutexGuard<'a, Slot>,
}

impl Session<'_> {
    pub(crate) fn client(&self) -> &Client {
        &self.connection.client
    }

    /// Keeps the connection for the next call.
    pub(crate) fn keep(mut self) {
        *self.slot = Slot { connection: Some(self.connection), was_used: true };
    }
}
