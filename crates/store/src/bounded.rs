//! A backend on a thread of its own: a call returns within the deadline even if the backend hangs.

use std::{sync::mpsc, time::Duration};

use secrecy::SecretString;

use crate::{
    Call, Key, Kind, RekeyReport, StoreError,
    backend::{Backend, Entries},
    worker::Worker,
};

/// The backend, its thread and the deadline.
pub(crate) struct Bounded<B> {
    kind: Kind,
    description: String,
    worker: Worker<B>,
    deadline: Duration,
}

impl<B: Backend + 'static> Bounded<B> {
    /// Starts the thread.
    pub(crate) fn new(backend: B, deadline: Duration) -> Self {
        let (kind, description) = (backend.kind(), backend.description());
        Self { kind, description, worker: Worker::start(&format!("store-{kind}"), backend), deadline }
    }

    fn call<T: Send + 'static>(
        &self,
        call: Call,
        work: impl FnOnce(&mut B) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // The state after a panic is unknown, so propagate it: the supervisor restarts the daemon.
        assert!(self.worker.is_alive(), "the thread of the {} has ended", self.kind);
        if let Some(taken) = self.worker.stuck(self.deadline) {
            return Err(StoreError::stuck(taken));
        }
        let (sender, answer) = mpsc::channel();
        self.worker.send(call, move |backend| drop(sender.send(work(backend))));
        match answer.recv_timeout(self.deadline) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(StoreError::late(self.deadline)),
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the thread of the {} has ended", self.kind),
        }
    }
}

impl StoreError {
    /// An earlier call still runs.
    pub(crate) fn stuck(taken: Duration) -> Self {
        let seconds = taken.as_secs();
        let detail = format!("it has not answered for {seconds} s; is it asking for a password somewhere?");
        Self::Unavailable { detail }
    }

    /// This call took too long.
    pub(crate) fn late(deadline: Duration) -> Self {
        let detail = format!("it did not answer within {deadline:?}; is it asking for a password somewhere?");
        Self::Unavailable { detail }
    }
}

impl<B: Backend + 'static> Backend for Bounded<B> {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        let key = key.clone();
        self.call(Call::Load, move |backend| backend.load(&key))
    }

    fn save(&mut self, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError> {
        let (key, label, record) = (key.clone(), label.to_owned(), record.clone());
        self.call(Call::Save, move |backend| backend.save(&key, &label, &record))
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        let key = key.clone();
        self.call(Call::Delete, move |backend| backend.delete(&key))
    }

    fn list(&mut self) -> Result<Entries, StoreError> {
        self.call(Call::List, Backend::list)
    }

    fn rekey(&mut self) -> Result<RekeyReport, StoreError> {
        self.call(Call::Rekey, Backend::rekey)
    }

    fn description(&self) -> String {
        self.description.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;
    use crate::memory::Memory;

    fn with_fault(fault: &str) -> (Bounded<Memory>, tempfile::NamedTempFile) {
        let control = tempfile::NamedTempFile::new().expect("a file");
        fs::write(control.path(), fault).expect("written");
        let memory = Memory::new(Some(control.path().to_path_buf()));
        (Bounded::new(memory, Duration::from_millis(100)), control)
    }

    #[test]
    fn a_call_to_a_backend_that_hangs_returns_and_the_next_does_not_wait() {
        let (mut backend, control) = with_fault("hang");
        let first = backend.list().expect_err("it hangs").to_string();
        assert!(first.contains("did not answer within"), "{first}");
        thread::sleep(Duration::from_millis(20));
        let next = backend.list().expect_err("it hangs").to_string();
        assert!(next.contains("has not answered for"), "{next}");
        fs::write(control.path(), "").expect("written");
        while backend.list().is_err() {
            thread::yield_now();
        }
    }

    #[test]
    #[should_panic(expected = "has ended")]
    fn a_panic_of_a_backend_is_propagated() {
        let (mut backend, _control) = with_fault("panic");
        loop {
            drop(backend.list());
        }
    }
}
