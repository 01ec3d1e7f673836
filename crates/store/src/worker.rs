//! The thread that talks to the store: one command at a time, because keychains block, and one that
//! waits for a person blocks for ever. It is never joined, and nobody waits for it beyond a deadline.

use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
};

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

use crate::{
    Key,
    backend::{Backend, StoreError},
};

/// What is asked of the store, and where the answer goes.
pub(crate) enum Command {
    Probe(oneshot::Sender<Result<(), StoreError>>),
    Load(Key, oneshot::Sender<Result<Option<SecretString>, StoreError>>),
    Save(Key, String, SecretString, oneshot::Sender<Result<(), StoreError>>),
    Delete(Key, oneshot::Sender<Result<(), StoreError>>),
    List(oneshot::Sender<Result<Vec<Key>, StoreError>>),
}

/// Starts the thread; it ends when the last sender is gone. The handle tells whether it still runs;
/// nothing, if it never did.
pub(crate) fn start(mut backend: Box<dyn Backend>) -> (mpsc::Sender<Command>, Option<JoinHandle<()>>) {
    let (sender, commands) = mpsc::channel::<Command>();
    let name = format!("store-{}", backend.kind());
    let work = move || {
        for command in commands {
            obey(&mut *backend, command);
        }
    };
    // Without a thread the channel's other end is gone, and every call says so.
    let thread = thread::Builder::new()
        .name(name)
        .spawn(work)
        .inspect_err(|error| tracing::error!(%error, "the store's thread could not be started"));
    (sender, thread.ok())
}

fn obey(backend: &mut dyn Backend, command: Command) {
    // Whoever asked may have given up; then the answer goes nowhere, and the work was still right.
    match command {
        Command::Probe(answer) => drop(answer.send(probe(backend))),
        Command::Load(key, answer) => drop(answer.send(backend.load(&key))),
        Command::Save(key, label, record, answer) => drop(answer.send(save(backend, &key, &label, &record))),
        Command::Delete(key, answer) => drop(answer.send(backend.delete(&key))),
        Command::List(answer) => drop(answer.send(backend.list())),
    }
}

/// Write, read back, delete: a store that does less is none.
fn probe(backend: &mut dyn Backend) -> Result<(), StoreError> {
    let key = Key::probe();
    save(backend, &key, "authd: probe (may be deleted)", &SecretString::from("authd probe"))?;
    backend.delete(&key)
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
    }

    #[test]
    fn a_thread_that_died_is_known_to_be_dead() {
        let (commands, thread) = start(Box::new(Panics));
        let thread = thread.unwrap();
        let (sender, answer) = oneshot::channel();
        commands.send(Command::List(sender)).unwrap();
        assert!(answer.blocking_recv().unwrap().is_ok());
        assert!(!thread.is_finished());
        let (sender, answer) = oneshot::channel();
        commands.send(Command::Probe(sender)).unwrap();
        assert!(answer.blocking_recv().is_err());
        assert!(thread.join().is_err());
    }
}
