//! The thread that talks to the store: one command at a time, because keychains block, and one that
//! waits for a person blocks for ever. It is never joined, and nobody waits for it beyond a deadline.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

use crate::{
    Key,
    backend::{Backend, Kind, StoreError},
    store::Call,
};

/// A handle on the thread.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    /// The kind of its store.
    pub(crate) kind: Kind,
    commands: mpsc::Sender<Command>,
    busy_since: Arc<Mutex<Option<Instant>>>,
    /// Nothing, if the thread could not be started.
    thread: Arc<OnceLock<JoinHandle<()>>>,
}

/// What makes a record of the one that is there.
pub(crate) type Amending = Box<dyn FnOnce(Option<SecretString>) -> SecretString + Send>;

/// What is asked of the store, and where the answer goes.
pub(crate) enum Command {
    Probe(oneshot::Sender<Result<String, StoreError>>),
    Load(Key, oneshot::Sender<Result<Option<SecretString>, StoreError>>),
    Save(Key, String, SecretString, oneshot::Sender<Result<(), StoreError>>),
    Amend(Key, String, Amending, oneshot::Sender<Result<(), StoreError>>),
    Delete(Key, oneshot::Sender<Result<(), StoreError>>),
    List(oneshot::Sender<Result<Vec<Key>, StoreError>>),
    Rekey(oneshot::Sender<Result<(), StoreError>>),
}

impl Command {
    /// What it asks for.
    pub(crate) fn call(&self) -> Call {
        match self {
            Self::Probe(_) => Call::Probe,
            Self::Load(..) => Call::Load,
            Self::Save(..) | Self::Amend(..) => Call::Save,
            Self::Delete(..) => Call::Delete,
            Self::List(_) => Call::List,
            Self::Rekey(_) => Call::Rekey,
        }
    }
}

impl Worker {
    /// Starts the thread; it ends when the last handle is gone.
    pub(crate) fn start(mut backend: Box<dyn Backend>) -> Self {
        let (sender, commands) = mpsc::channel::<Command>();
        let worker = Self {
            kind: backend.kind(),
            commands: sender,
            busy_since: Arc::default(),
            thread: Arc::default(),
        };
        let busy_since = worker.busy_since.clone();
        let work = move || {
            for command in commands {
                *lock(&busy_since) = Some(Instant::now());
                obey(&mut *backend, command);
                *lock(&busy_since) = None;
            }
        };
        match thread::Builder::new().name(format!("store-{}", worker.kind)).spawn(work) {
            Ok(thread) => drop(worker.thread.set(thread)),
            // The channel's other end is gone, and every call says so.
            Err(error) => tracing::error!(%error, "the store's thread could not be started"),
        }
        worker
    }

    /// Whether the thread runs, if only to wait for a person.
    pub(crate) fn is_alive(&self) -> bool {
        self.thread.get().is_some_and(|thread| !thread.is_finished())
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
        Command::Amend(key, label, amending, answer) => {
            drop(answer.send(amend(backend, &key, &label, amending)));
        }
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

/// What cannot be opened has nothing to give, now or later.
fn amend(backend: &mut dyn Backend, key: &Key, label: &str, amending: Amending) -> Result<(), StoreError> {
    let there = match backend.load(key) {
        Err(StoreError::Damaged { .. }) => None,
        there => there?,
    };
    save(backend, key, label, &amending(there))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Kind;

    /// A library that fails in a way its authors did not expect.
    struct Panics;

    impl Backend for Panics {
        fn kind(&self) -> Kind {
            Kind::Memory
        }

        fn load(&mut self, _: &Key) -> Result<Option<SecretString>, StoreError> {
            panic!("as some libraries do")
        }

        fn save(&mut self, _: &Key, _: &str, _: &SecretString) -> Result<(), StoreError> {
            Ok(())
        }

        fn delete(&mut self, _: &Key) -> Result<(), StoreError> {
            Ok(())
        }

        fn list(&mut self) -> Result<Vec<Key>, StoreError> {
            Ok(Vec::new())
        }

        fn rekey(&mut self) -> Result<(), StoreError> {
            Ok(())
        }

        fn described(&self) -> String {
            "a store that panics".to_owned()
        }
    }

    #[test]
    fn a_thread_that_died_is_known_to_be_dead() {
        let worker = Worker::start(Box::new(Panics));
        let (sender, answer) = oneshot::channel();
        assert!(worker.send(Command::List(sender)));
        assert!(answer.blocking_recv().unwrap().is_ok() && worker.is_alive());
        let (sender, answer) = oneshot::channel();
        assert!(worker.send(Command::Probe(sender)));
        assert!(answer.blocking_recv().is_err());
        while worker.is_alive() {
            thread::yield_now();
        }
    }
}
