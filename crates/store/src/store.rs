//! The handle on the store: every call with its deadline, and how the store is. The worker thread may
//! hang; a caller of this handle does not.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use secrecy::SecretString;
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use crate::{
    Call, Config, Key, Kind, LegacyIndex, Listing, MigrationReport, RekeyReport, StateDir, StoreError,
    engine::{Engine, Facts},
    worker::Worker,
};

/// The first and the longest pause before an unavailable store is tried again.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The deadline of a call that works on every record: a thousand take seconds.
const BULK: Duration = Duration::from_secs(600);

/// Whether the store works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It works.
    Ready,
    /// The user has to unlock it.
    Locked,
    /// It cannot be reached or read, or does not keep what it is given.
    Unavailable,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The kind in use, once that is settled.
    pub kind: Option<Kind>,
    /// Whether it works.
    pub state: State,
    /// Where the records are, or what is wrong.
    pub detail: String,
}

/// Receives every call, how long it took, and how it failed.
type Observer = dyn Fn(Call, Duration, Option<&StoreError>) + Send + Sync;

/// A handle on the store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

struct Inner {
    config: Config,
    state_dir: StateDir,
    observer: OnceLock<Box<Observer>>,
    worker: Worker<Engine>,
    facts: watch::Receiver<Facts>,
    status: watch::Sender<Status>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Store {
    /// A store of the kind that the state directory remembers, else of the kind that is preferred. Nothing
    /// is read yet: [`Self::probe`], or any other call, settles which one it is.
    pub fn open(config: Config, state_dir: StateDir) -> Self {
        Self::start(config, state_dir, false)
    }

    /// The keychain's items of another program, whatever store is ours.
    #[must_use]
    pub fn of_another_program(&self, service: &str) -> Self {
        let config = Config { service: service.to_owned(), ..self.0.config.clone() };
        Self::start(config, self.0.state_dir.clone(), true)
    }

    fn start(config: Config, state_dir: StateDir, foreign: bool) -> Self {
        let engine = Engine::new(config.clone(), state_dir.clone(), foreign);
        let facts = engine.facts();
        let detail = "it has not been tried yet".to_owned();
        Self(Arc::new(Inner {
            config,
            state_dir,
            observer: OnceLock::new(),
            worker: Worker::start("store", engine),
            facts,
            status: watch::Sender::new(Status { kind: None, state: State::Unavailable, detail }),
        }))
    }

    /// Settles which store is in use, then writes, reads back and deletes.
    pub async fn probe(&self) -> Result<Kind, StoreError> {
        self.call(Call::Probe, Engine::probe).await
    }

    /// The record under a key.
    pub async fn load(&self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        let key = key.clone();
        self.call(Call::Load, move |engine| engine.load(&key)).await
    }

    /// Keeps a record under a key, durably, and reads it back. The label is for people; an empty one leaves
    /// the present label. After an error the old record or the new one is there, and the call can be repeated.
    pub async fn save(&self, key: &Key, label: &str, record: SecretString) -> Result<(), StoreError> {
        let (key, label) = (key.clone(), label.to_owned());
        self.call(Call::Save, move |engine| engine.save(&key, &label, &record)).await
    }

    /// Replaces a record with what `update` makes of the present one, in one step: no other call comes
    /// between. A record that cannot be opened counts as none. The rest is as for [`Self::save`].
    pub async fn update(
        &self,
        key: &Key,
        label: &str,
        update: impl FnOnce(Option<SecretString>) -> SecretString + Send + 'static,
    ) -> Result<(), StoreError> {
        let (key, label) = (key.clone(), label.to_owned());
        self.call(Call::Save, move |engine| engine.update(&key, &label, update)).await
    }

    /// Deletes the record under a key, if there is one.
    pub async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let key = key.clone();
        self.call(Call::Delete, move |engine| engine.delete(&key)).await
    }

    /// Everything that the store holds; an error if any of it cannot be read. Saves that a crash
    /// interrupted are finished first.
    pub async fn list(&self) -> Result<Listing, StoreError> {
        self.call(Call::List, Engine::list).await.map(Listing::from)
    }

    /// Seals everything with a new key. Damaged records are skipped and named in the report. After an error
    /// the old key is kept, and [`Self::recover`] or another call goes on.
    pub async fn rekey(&self) -> Result<RekeyReport, StoreError> {
        self.call(Call::Rekey, Engine::rekey).await
    }

    /// Moves every record to a store of another kind. Refuses a target that holds records already, and
    /// does nothing if one of ours is damaged. After an error everything is where it was.
    pub async fn migrate(&self, to: Kind) -> Result<MigrationReport, StoreError> {
        let report = self.call(Call::Migrate, move |engine| engine.migrate(to)).await?;
        self.show(State::Ready, &self.0.facts.borrow().description);
        Ok(report)
    }

    /// Finishes an interrupted migration and an interrupted change of the key.
    pub async fn recover(&self) -> Result<(), StoreError> {
        self.call(Call::Recover, Engine::recover).await
    }

    /// The kind that `store.json` names, or that the sealed records tell, once a call has read it. It wins
    /// over the preferred kind.
    pub fn remembered(&self) -> Option<Kind> {
        self.0.facts.borrow().remembered
    }

    /// What the index of an earlier authd says, once a call has read it.
    pub fn legacy_index(&self) -> Option<LegacyIndex> {
        self.0.facts.borrow().legacy.clone()
    }

    /// Removes the index of an earlier authd; to be called when its content is saved elsewhere.
    pub async fn remove_legacy_index(&self) -> Result<(), StoreError> {
        self.call(Call::Delete, Engine::remove_legacy_index).await
    }

    /// Reports every call from now on; the first observer stays.
    pub fn observe(&self, observer: impl Fn(Call, Duration, Option<&StoreError>) + Send + Sync + 'static) {
        self.0.observer.set(Box::new(observer)).ok();
    }

    /// How the store is now.
    pub fn status(&self) -> Status {
        self.0.status.borrow().clone()
    }

    /// How the store is, and when that changes. The first success after a failure publishes
    /// [`State::Ready`].
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.status.subscribe()
    }

    /// Whether the store can work again in this process. It cannot once its thread has panicked.
    pub fn is_alive(&self) -> bool {
        self.0.worker.is_alive()
    }

    /// Tries an unavailable store again until it works, and then finishes what is unfinished; sleeps while
    /// there is nothing to do. Returns when the store cannot work in this process any more.
    pub async fn recover_loop(&self) {
        let (mut status, mut facts) = (self.watch(), self.0.facts.clone());
        while self.is_alive() {
            let mut pause = BACK_OFF.0;
            while status.borrow_and_update().state != State::Ready || facts.borrow_and_update().unfinished {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
                if !self.is_alive() {
                    return;
                }
                if self.status().state != State::Ready
                    && let Ok(kind) = self.probe().await
                {
                    info!(%kind, "the store works again");
                }
                if self.status().state == State::Ready
                    && self.0.facts.borrow().unfinished
                    && let Err(error) = self.recover().await
                {
                    let first = pause == BACK_OFF.0 * 2;
                    if first {
                        warn!(%error, "an interrupted change of the store cannot be finished yet");
                    }
                }
            }
            tokio::select! {
                Ok(()) = status.changed() => {}
                Ok(()) = facts.changed() => {}
                else => return,
            }
        }
    }

    /// Runs a call on the worker thread, and derives the status from its result.
    async fn call<T: Send + 'static>(
        &self,
        call: Call,
        work: impl FnOnce(&mut Engine) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let asked = Instant::now();
        let result = self.run(call, work).await;
        if let Some(observer) = self.0.observer.get() {
            observer(call, asked.elapsed(), result.as_ref().err());
        }
        if let Err(StoreError::Damaged { key, detail }) = &result {
            warn!(key, detail, "a record cannot be opened");
        }
        match &result {
            _ if call.is_bulk() || self.bulk().is_some() => {}
            // A store that tells one damaged record apart works.
            Ok(_) | Err(StoreError::Damaged { .. }) => {
                self.show(State::Ready, &self.0.facts.borrow().description);
            }
            Err(StoreError::Locked { detail }) => self.show(State::Locked, detail),
            Err(StoreError::Unavailable { detail }) => self.show(State::Unavailable, detail),
            Err(StoreError::Refused { .. }) => {}
        }
        result
    }

    async fn run<T: Send + 'static>(
        &self,
        call: Call,
        work: impl FnOnce(&mut Engine) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Inner { config, worker, facts, .. } = &*self.0;
        let deadline = match call {
            call if call.is_bulk() => BULK,
            // A keychain that does not answer takes one deadline; the files that are used instead, another.
            Call::Probe if facts.borrow().kind.is_none() => config.deadline * 2,
            _ => config.deadline,
        };
        if let Some(taken) = worker.stuck(config.deadline) {
            return Err(self.bulk().unwrap_or_else(|| StoreError::stuck(taken)));
        }
        let (sender, answer) = oneshot::channel();
        let sent = worker.send(call, move |engine: &mut Engine| {
            let result = work(engine);
            engine.publish();
            // A caller that gave up does not receive it; the work was right all the same.
            drop(sender.send(result));
        });
        let ended = || StoreError::Unavailable { detail: "the store's thread has ended".to_owned() };
        if !sent {
            return Err(ended());
        }
        match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(ended())),
            Err(_) => Err(self.bulk().unwrap_or_else(|| StoreError::late(deadline))),
        }
    }

    /// The error of a call that would have to wait for one that works on every record.
    fn bulk(&self) -> Option<StoreError> {
        let (call, taken) = self.0.worker.busy().filter(|(call, _)| call.is_bulk())?;
        let (name, seconds) = (call.name(), taken.as_secs());
        Some(StoreError::Unavailable { detail: format!("it has been busy for {seconds} s with: {name}") })
    }

    fn show(&self, state: State, detail: &str) {
        let now = Status { kind: self.0.facts.borrow().kind, state, detail: detail.to_owned() };
        self.0.status.send_if_modified(|status| {
            let changed = *status != now;
            *status = now;
            changed
        });
    }
}
