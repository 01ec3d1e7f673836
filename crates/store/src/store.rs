//! The handle on the store: which backend it is, how it is, and every call with its deadline. The
//! backend's thread may hang; nobody who holds this handle does.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use secrecy::SecretString;
use serde::Deserialize;
use tokio::sync::{RwLock, oneshot, watch};
use tracing::{info, warn};

mod moving;

pub use self::moving::Moved;
use crate::{
    Key, KeySource, Kind, StoreError,
    backend::Backend,
    file::Files,
    keychain::Keychain,
    memory::Memory,
    worker::{Command, Worker},
};

/// How long to wait before an unavailable store is tried again, first and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Which store is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// The keychain if one answers, else files.
    #[default]
    Auto,
    /// The keychain.
    Keychain,
    /// age-encrypted files.
    File,
    /// Nothing survives the daemon.
    Memory,
}

impl Wish {
    /// The store that is wanted, if it does not depend on what there is.
    pub fn settled(self) -> Option<Kind> {
        match self {
            Self::Auto => None,
            Self::Keychain => Some(Kind::Keychain),
            Self::File => Some(Kind::File),
            Self::Memory => Some(Kind::Memory),
        }
    }
}

/// What a store needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which store is wanted.
    pub kind: Wish,
    /// Where files are.
    pub state_dir: PathBuf,
    /// The name of the keychain's items.
    pub service: String,
    /// Where the key of the files comes from.
    pub key: KeySource,
    /// How long a call may take.
    pub deadline: Duration,
    /// A file that tells the memory store how to misbehave.
    pub memory_control: Option<PathBuf>,
}

/// Whether the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Truthfully.
    Ready,
    /// It wants to be unlocked.
    Locked,
    /// It does not, or not truthfully.
    Unavailable,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which one it is, once that is settled.
    pub kind: Option<Kind>,
    /// Whether it answers.
    pub state: State,
    /// Why this one, or what is wrong with it.
    pub detail: String,
}

/// What can be asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Write, read back, delete.
    Probe,
    /// Read a record.
    Load,
    /// Keep a record.
    Save,
    /// Forget a record.
    Delete,
    /// Read all keys.
    List,
    /// Seal everything with a new key.
    Rekey,
}

impl Call {
    /// Its name, as figures have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Load => "load",
            Self::Save => "save",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Rekey => "rekey",
        }
    }
}

/// Somebody who is told of every call, how long it took, and how it failed.
type Observer = dyn Fn(Call, Duration, Option<&StoreError>) + Send + Sync;

/// A handle on the store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

struct Inner {
    config: Config,
    observer: OnceLock<Box<Observer>>,
    worker: Mutex<Option<Worker>>,
    status: watch::Sender<Status>,
    /// Where it keeps things, as the last probe said.
    described: Mutex<String>,
    /// Held by whoever moves everything; shared by everybody else.
    moving: RwLock<()>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Store {
    /// A store of the kind that is remembered, else of the kind that is wanted. Nothing is opened yet.
    pub fn open(config: Config, remembered: Option<Kind>) -> Self {
        let settled = remembered.or(config.kind.settled());
        let detail = "it has not been tried yet".to_owned();
        let (status, _) = watch::channel(Status { kind: settled, state: State::Unavailable, detail });
        let store = Self(Arc::new(Inner {
            config,
            observer: OnceLock::new(),
            worker: Mutex::default(),
            status,
            described: Mutex::new("it answers".to_owned()),
            moving: RwLock::default(),
        }));
        if let Some(kind) = settled {
            store.settle(kind);
        }
        store
    }

    /// The keychain's items of another program, whatever store is ours.
    #[must_use]
    pub fn of_another_program(&self, service: &str) -> Self {
        let config = Config { kind: Wish::Keychain, service: service.to_owned(), ..self.0.config.clone() };
        Self::open(config, None)
    }

    /// Writes, reads back and deletes. Settles which store it is, if that is open yet.
    pub async fn probe(&self) -> Result<Kind, StoreError> {
        if let Some(Worker { kind, .. }) = self.worker() {
            let described = self.call(Command::Probe).await?;
            self.answers(described);
            return Ok(kind);
        }
        let keychain = self.start(Kind::Keychain);
        match self.call_on(&keychain, Command::Probe, self.0.config.deadline).await {
            Ok(described) => {
                *lock(&self.0.worker) = Some(keychain);
                self.answers(described);
                Ok(Kind::Keychain)
            }
            Err(error) => {
                info!(%error, "no keychain; age-encrypted files are used");
                self.settle(Kind::File);
                let described = self.call(Command::Probe).await?;
                self.answers(format!("{described}; no keychain answers ({error})"));
                Ok(Kind::File)
            }
        }
    }

    /// The record under a key.
    pub async fn load(&self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        self.call(|answer| Command::Load(key.clone(), answer)).await
    }

    /// Keeps a record under a key, durably, and reads it back. The label is for people; an empty one leaves
    /// the label that is there.
    pub async fn save(&self, key: &Key, label: &str, record: SecretString) -> Result<(), StoreError> {
        self.call(|answer| Command::Save(key.clone(), label.to_owned(), record, answer)).await
    }

    /// Keeps what is made of the record that is there, in one call: nothing that was asked for before or after it
    /// comes between. A record that cannot be opened counts as none. The rest is as for [`Self::save`].
    pub async fn amend(
        &self,
        key: &Key,
        label: &str,
        amending: impl FnOnce(Option<SecretString>) -> SecretString + Send + 'static,
    ) -> Result<(), StoreError> {
        self.call(|answer| Command::Amend(key.clone(), label.to_owned(), Box::new(amending), answer)).await
    }

    /// Forgets the record under a key, if there is one.
    pub async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        self.call(|answer| Command::Delete(key.clone(), answer)).await
    }

    /// All keys.
    pub async fn list(&self) -> Result<Vec<Key>, StoreError> {
        self.call(Command::List).await
    }

    /// Tells of every call from now on; to be said once.
    pub fn observe(&self, observer: impl Fn(Call, Duration, Option<&StoreError>) + Send + Sync + 'static) {
        self.0.observer.set(Box::new(observer)).ok();
    }

    /// How the store is now.
    pub fn status(&self) -> Status {
        self.0.status.borrow().clone()
    }

    /// How the store is, and when that changes.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.0.status.subscribe()
    }

    /// Whether the store can ever answer again without a new process. It can while its thread runs, also
    /// while that thread waits for a person; one that died, died of a fault in a library.
    pub fn is_alive(&self) -> bool {
        self.worker().is_none_or(|worker| worker.is_alive())
    }

    /// Tries an unavailable store again until it answers; sleeps while all is well. It ends when the store
    /// cannot answer in this process any more.
    pub async fn heal(&self) {
        let mut status = self.watch();
        loop {
            if status.wait_for(|status| status.state != State::Ready).await.is_err() {
                return;
            }
            let mut pause = BACK_OFF.0;
            while self.status().state != State::Ready {
                if !self.is_alive() {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
                if let Ok(kind) = self.probe().await {
                    info!(%kind, "the store answers again");
                }
            }
        }
    }

    async fn call<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let deadline = self.0.config.deadline;
        // While everything moves to another store, everybody waits: what is written now must go there.
        let Ok(_going) = tokio::time::timeout(deadline, self.0.moving.read()).await else {
            return Err(StoreError::Unavailable {
                detail: "everything is moving to another store".to_owned(),
            });
        };
        let Some(worker) = self.worker() else {
            return Err(StoreError::Unavailable { detail: "no store is settled yet".to_owned() });
        };
        let result = self.call_on(&worker, command, deadline).await;
        match &result {
            Ok(_) if self.status().state == State::Ready => {}
            Ok(_) => self.show(State::Ready, &lock(&self.0.described).clone()),
            Err(StoreError::Locked { detail }) => self.show(State::Locked, detail),
            Err(StoreError::Unavailable { detail }) => self.show(State::Unavailable, detail),
            // One damaged record says nothing of the others.
            Err(StoreError::Refused { .. }) => {}
            Err(StoreError::Damaged { key, detail }) => warn!(key, detail, "a record cannot be opened"),
        }
        result
    }

    async fn call_on<T>(
        &self,
        worker: &Worker,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
        deadline: Duration,
    ) -> Result<T, StoreError> {
        let (sender, answer) = oneshot::channel();
        let gone = || StoreError::Unavailable { detail: "the store's thread has ended".to_owned() };
        if let Some(taken) = worker.stuck(deadline) {
            let seconds = taken.as_secs();
            let detail =
                format!("it has not answered for {seconds} s; is it asking for a password somewhere?");
            return Err(StoreError::Unavailable { detail });
        }
        let command = command(sender);
        let (call, asked) = (command.call(), Instant::now());
        if !worker.send(command) {
            return Err(gone());
        }
        let result = match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(StoreError::Unavailable {
                detail: format!(
                    "it did not answer within {deadline:?}; is it asking for a password somewhere?"
                ),
            }),
        };
        if let Some(observer) = self.0.observer.get() {
            observer(call, asked.elapsed(), result.as_ref().err());
        }
        result
    }

    fn settle(&self, kind: Kind) {
        let worker = self.start(kind);
        *lock(&self.0.worker) = Some(worker);
        self.0.status.send_modify(|status| status.kind = Some(kind));
    }

    fn start(&self, kind: Kind) -> Worker {
        let config = self.0.config.clone();
        let backend: Box<dyn Backend> = match kind {
            Kind::Keychain => Box::new(Keychain::new(config.service)),
            Kind::File => Box::new(Files::new(config.state_dir, config.key)),
            Kind::Memory => Box::new(Memory::new(config.memory_control)),
        };
        Worker::start(backend)
    }

    fn answers(&self, described: String) {
        self.show(State::Ready, &described);
        *lock(&self.0.described) = described;
    }

    fn show(&self, state: State, detail: &str) {
        let kind = self.worker().map(|worker| worker.kind);
        let now = Status { kind, state, detail: detail.to_owned() };
        self.0.status.send_if_modified(|status| {
            let changed = *status != now;
            *status = now;
            changed
        });
    }

    fn worker(&self) -> Option<Worker> {
        lock(&self.0.worker).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
