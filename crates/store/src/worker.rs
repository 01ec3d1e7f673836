//! The thread that talks to the store: one command at a time, because keychains block, and one that
//! waits for a person blocks for ever. It is never joined, and nobody waits for it beyond a deadline.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

use crate::{
    Key,
    backend::{Backend, Kind, StoreError},
};

/// A handle on the thread.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// The kind of its store.
    pub(crate) kind: Kind,
    commands: mpsc::Sender<Command>,
    busy_since: Arc<Mutex<Option<Instant>>>,
}

/// What is asked of the store, and where the answer goes.
pub(crate) enum Command {
    Probe(oneshot::Sender<Result<String, StoreError>>),
    Load(Key, oneshot::Sender<Result<Option<SecretString>, StoreError>>),
    Save(Key, String, SecretString, oneshot::Sender<Result<(), StoreError>>),
    Delete(Key, oneshot::Sender<Result<(), StoreError>>),
    List(oneshot::Sender<Result<Vec<Key>, StoreError>>),
    Rekey(oneshot::Sender<Result<(), StoreError>>),
}

impl Worker {
    /// Starts the thread; it ends when the last handle is gone.
    pub(crate) fn start(mut backend: Box<dyn Backend>) -> Self {
        let (sender, commands) = mpsc::channel::<Command>();
        let worker = Self { kind: backend.kind(), commands: sender, busy_since: Arc::default() };
        let busy_since = worker.busy_since.clone();
        let work = move || {
            for command in commands {
                *lock(&busy_since) = Some(Instant::now());
                obey(&mut *backend, command);
                *lock(&busy_since) = None;
            }
        };
        if let Err(error) = thread::Builder::new().name(format!("store-{}", worker.kind)).spawn(work) {
            // The channel's other end is gone, and every call says so.
            tracing::error!(%error, "the store's thread could not be started");
        }
        worker
    }

    /// Hands a command over; false if the thread is gone.
    pub(crate) fn send(&self, command: Command) -> bool {
        self.commands.send(command).is_ok()
    }

    /// How long the call that is under way has taken, if that is longer than the deadline. Calls behind
    /// it would only wait in vain.
    pub(crate) fn stuck(&self, deadline: Duration) -> Option<Duration> {
        lock(&self.busy_since).map(|since| since.elapsed()).filter(|taken| *taken > deadline)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn obey(backend: &mut dyn Backend, command: Command) {
    // Whoever asked may have given up; then the answer goes nowhere, and the work was still right.
    match command {
        Command::Probe(answer) => drop(answer.send(probe(backend))),
        Command::Load(key, answer) => drop(answer.send(backend.load(&key))),
        Command::Save(key, label, record, answer) => drop(answer.send(save(backend, &key, &label, &record))),
        Command::Delete(key, answer) => drop(answer.send(backend.delete(&key))),
        Command::List(answer) => drop(answer.send(backend.list())),
        Command::Rekey(answer) => drop(answer.send(backend.rekey())),
    }
}

/// Write, read back, delete: a store that does less is none. One that does it all says where it is.
fn probe(backend: &mut dyn Backend) -> Result<String, StoreError> {
    let key = Key::probe();
    save(backend, &key, "authd: probe (may be deleted)", &SecretString::from("authd probe"))?;
    backend.delete(&key)?;
    Ok(backend.described())
}

/// What is saved is read back, because some keychains cut long values or forget them.
fn save(backend: &mut dyn Backend, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError> {
    backend.save(key, label, record)?;
    match backend.load(key)? {
        Some(read) if read.expose_secret() == record.expose_secret() => Ok(()),
        Some(_) => {
            Err(StoreError::Unavailable { detail: "it returned something else than was written".to_owned() })
        }
        None => Err(StoreError::Unavailable { detail: "it did not keep what was written".to_owned() }),
    }
}
