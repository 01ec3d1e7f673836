//! The handle on the store. It gives every call a deadline and keeps the store's status. The worker
//! thread may hang; callers of the handle do not.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use secrecy::SecretString;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use crate::{
    Call, Config, Key, Kind, LegacyIndex, Listing, MigrationReport, ProfilePlace, RekeyReport, StateDir,
    StoreError,
    engine::{Engine, EngineSnapshot},
    worker::Worker,
};

/// The shortest and the longest pause between retries of an unavailable store.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The deadline of a call that processes all records. A thousand records take seconds.
const BULK_DEADLINE: Duration = Duration::from_secs(600);

/// Whether the store works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The store works.
    Ready,
    /// The user has to unlock the store.
    Locked,
    /// The store cannot be reached or read, or does not return what was written.
    Unavailable,
}

/// The status of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The kind in use, once it has been chosen.
    pub kind: Option<Kind>,
    /// Whether the store works.
    pub state: State,
    /// Where the records are, or what is wrong.
    pub detail: String,
    /// The error of the keychain, if authd uses files because of it.
    pub fallback: Option<String>,
}

/// Receives every call with its duration and its error.
type Observer = dyn Fn(Call, Duration, Option<&StoreError>) + Send + Sync;

/// A handle on the store.
#[derive(Clone, Debug)]
pub struct Store(Arc<StoreInner>);

struct StoreInner {
    config: Config,
    state_dir: StateDir,
    observer: OnceLock<Box<Observer>>,
    worker: Worker<Engine>,
    snapshot: watch::Receiver<EngineSnapshot>,
    status: watch::Sender<Status>,
}

impl fmt::Debug for StoreInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreInner").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store of the kind that the state directory remembers, otherwise of the preferred
    /// kind. Nothing is read yet; the first call chooses the kind.
    pub fn open(config: Config, state_dir: StateDir) -> Self {
        Self::start(config, state_dir, false)
    }

    /// Opens another program's keychain items, whatever kind our store is.
    #[must_use]
    pub fn of_another_program(&self, service: &str) -> Self {
        let config = Config { service: service.to_owned(), ..self.0.config.clone() };
        Self::start(config, self.0.state_dir.clone(), true)
    }

    fn start(config: Config, state_dir: StateDir, foreign: bool) -> Self {
        let engine = Engine::new(config.clone(), state_dir.clone(), foreign);
        let snapshot = engine.snapshot();
        let detail = "no call has reached it yet".to_owned();
        Self(Arc::new(StoreInner {
            config,
            state_dir,
            observer: OnceLock::new(),
            worker: Worker::start("store", engine),
            snapshot,
            status: watch::Sender::new(Status {
                kind: None,
                state: State::Unavailable,
                detail,
                fallback: None,
            }),
        }))
    }

    /// Chooses the kind if necessary, then writes, reads back and deletes a test record.
    pub async fn probe(&self) -> Result<Kind, StoreError> {
        self.call(Call::Probe, Engine::probe).await
    }

    /// Reads a record.
    pub async fn load(&self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        let key = key.clone();
        self.call(Call::Load, move |engine| engine.backend()?.load(&key)).await
    }

    /// Writes a record durably and reads it back. The label is shown to the user; an empty one
    /// keeps the present label. After an error the store holds the old record or the new one, and
    /// the call can be repeated.
    pub async fn save(&self, key: &Key, label: &str, record: SecretString) -> Result<(), StoreError> {
        let (key, label) = (key.clone(), label.to_owned());
        self.call(Call::Save, move |engine| engine.save(&key, &label, &record)).await
    }

    /// Replaces a record with the result of `update`, atomically with respect to other calls.
    /// `update` gets `None` for an absent or damaged record. Otherwise like [`Self::save`].
    pub async fn update(
        &self,
        key: &Key,
        label: &str,
        update: impl FnOnce(Option<SecretString>) -> SecretString + Send + 'static,
    ) -> Result<(), StoreError> {
        let (key, label) = (key.clone(), label.to_owned());
        self.call(Call::Save, move |engine| engine.update(&key, &label, update)).await
    }

    /// Deletes a record if it exists.
    pub async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let key = key.clone();
        self.call(Call::Delete, move |engine| engine.backend()?.delete(&key)).await
    }

    /// Lists all records, or fails. Finishes saves that a crash interrupted first.
    pub async fn list(&self) -> Result<Listing, StoreError> {
        self.call(Call::List, |engine| engine.backend()?.list()).await.map(Listing::from)
    }

    /// Encrypts all records with a new key. Skips damaged records and names them in the report.
    /// After an error the old key stays, and [`Self::recover`] or another rekey continues.
    pub async fn rekey(&self) -> Result<RekeyReport, StoreError> {
        self.call(Call::Rekey, |engine| engine.backend()?.rekey()).await
    }

    /// Moves all records to a store of another kind. Fails if the target holds records or if one of
    /// our records is damaged. After an error nothing has moved.
    pub async fn migrate(&self, to: Kind) -> Result<MigrationReport, StoreError> {
        let report = self.call(Call::Migrate, move |engine| engine.migrate(to)).await?;
        self.set_status(State::Ready, &self.0.snapshot.borrow().description);
        Ok(report)
    }

    /// Finishes an interrupted migration and an interrupted rekey.
    pub async fn recover(&self) -> Result<(), StoreError> {
        self.call(Call::Recover, Engine::recover).await
    }

    /// Where the records of the profiles are. An unreadable `store.json` is an error. The backend
    /// is not used, so that the call does not change the status.
    pub async fn profile_place(&self) -> Result<ProfilePlace, StoreError> {
        self.run(Call::Load, Engine::profile_place).await
    }

    /// Writes durably to `store.json` where the records of the profiles are. Writes nothing if the
    /// file already says so. After an error the file has the former place or this one, and
    /// [`Self::profile_place`] returns the former one until a write succeeds.
    pub async fn set_profile_place(&self, place: ProfilePlace) -> Result<(), StoreError> {
        self.run(Call::Save, move |engine| engine.set_profile_place(place)).await
    }

    /// The kind that `store.json` names or that the encrypted records imply, once a call has read
    /// it. It has precedence over the preferred kind.
    pub fn remembered(&self) -> Option<Kind> {
        self.0.snapshot.borrow().remembered
    }

    /// The index of an earlier authd, once a call has read it.
    pub fn legacy_index(&self) -> Option<LegacyIndex> {
        self.0.snapshot.borrow().legacy.clone()
    }

    /// Removes the index of an earlier authd. Call it when the index's content has been saved
    /// elsewhere.
    pub async fn remove_legacy_index(&self) -> Result<(), StoreError> {
        self.call(Call::Delete, Engine::remove_legacy_index).await
    }

    /// Reports every call from now on. Later observers are ignored.
    pub fn observe(&self, observer: impl Fn(Call, Duration, Option<&StoreError>) + Send + Sync + 'static) {
        self.0.observer.set(Box::new(observer)).ok();
    }

    /// The current status.
    pub fn status(&self) -> Status {
        self.0.status.borrow().clone()
    }

    /// The status and its changes. The first success after a failure publishes [`State::Ready`].
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.status.subscribe()
    }

    /// Whether the worker thread runs. After a panic of that thread the store cannot work again in
    /// this process.
    pub fn is_alive(&self) -> bool {
        self.0.worker.is_alive()
    }

    /// Retries an unavailable store until it works, then finishes interrupted operations. Sleeps
    /// while there is nothing to do. Returns when [`Self::is_alive`] is false.
    pub async fn recover_loop(&self) {
        let (mut status, mut snapshot) = (self.watch(), self.0.snapshot.clone());
        while self.is_alive() {
            let mut pause = BACK_OFF.0;
            while status.borrow_and_update().state != State::Ready || snapshot.borrow_and_update().unfinished
            {
                tokio::time::sleep(pause).await;
                if !self.is_alive() {
                    return;
                }
                if self.status().state != State::Ready
                    && let Ok(kind) = self.probe().await
                {
                    info!(%kind, "store available again");
                }
                if self.status().state == State::Ready
                    && self.0.snapshot.borrow().unfinished
                    && let Err(error) = self.recover().await
                    && pause == BACK_OFF.0
                {
                    warn!(%error, "interrupted store operation cannot be finished yet");
                }
                pause = (pause * 2).min(BACK_OFF.1);
            }
            tokio::select! {
                Ok(()) = status.changed() => {}
                Ok(()) = snapshot.changed() => {}
                else => return,
            }
        }
    }

    /// Runs a call on the worker thread, reports it, and updates the status.
    async fn call<T: Send + 'static>(
        &self,
        call: Call,
        run: impl FnOnce(&mut Engine) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let started = Instant::now();
        let result = self.run(call, run).await;
        if let Some(observer) = self.0.observer.get() {
            observer(call, started.elapsed(), result.as_ref().err());
        }
        if let Err(StoreError::Damaged { key, detail }) = &result {
            warn!(key, detail, "damaged record");
        }
        match &result {
            _ if call.is_bulk() || self.running_bulk_call().is_some() => {}
            // A store that can identify one damaged record works.
            Ok(_) | Err(StoreError::Damaged { .. }) => {
                self.set_status(State::Ready, &self.0.snapshot.borrow().description);
            }
            Err(StoreError::Locked { detail }) => self.set_status(State::Locked, detail),
            Err(StoreError::Unavailable { detail }) => self.set_status(State::Unavailable, detail),
            Err(StoreError::Refused { .. }) => {}
        }
        result
    }

    async fn run<T: Send + 'static>(
        &self,
        call: Call,
        run: impl FnOnce(&mut Engine) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let StoreInner { config, worker, snapshot, .. } = &*self.0;
        let deadline = match call {
            call if call.is_bulk() => BULK_DEADLINE,
            // A hanging keychain takes one deadline; the files that replace it take another.
            Call::Probe if snapshot.borrow().kind.is_none() => config.deadline * 2,
            _ => config.deadline,
        };
        if let Some(elapsed) = worker.overdue(config.deadline) {
            return Err(self.running_bulk_call().unwrap_or_else(|| StoreError::blocked(elapsed)));
        }
        let (sender, receiver) = oneshot::channel();
        let sent = worker.send(call, move |engine: &mut Engine| {
            let result = run(engine);
            engine.publish();
            // The receiver is dropped after a timeout. The operation is complete all the same.
            drop(sender.send(result));
        });
        let ended = || StoreError::unavailable("the store's thread has ended");
        if !sent {
            return Err(ended());
        }
        match tokio::time::timeout(deadline, receiver).await {
            Ok(result) => result.unwrap_or_else(|_| Err(ended())),
            Err(_) => Err(self.running_bulk_call().unwrap_or_else(|| StoreError::timed_out(deadline))),
        }
    }

    /// The error for a call that would wait for a running bulk call.
    fn running_bulk_call(&self) -> Option<StoreError> {
        let (call, elapsed) = self.0.worker.running().filter(|(call, _)| call.is_bulk())?;
        let (name, seconds) = (call.name(), elapsed.as_secs());
        Some(StoreError::unavailable(format!("it has been busy for {seconds} s with: {name}")))
    }

    fn set_status(&self, state: State, detail: &str) {
        let EngineSnapshot { kind, fallback, .. } = self.0.snapshot.borrow().clone();
        let new = Status { kind, state, detail: detail.to_owned(), fallback };
        self.0.status.send_if_modified(|current| {
            let changed = *current != new;
            *current = new;
            changed
        });
    }
}
