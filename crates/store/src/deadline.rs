//! A backend on its own thread: a call returns within the deadline even if the backend hangs.

use std::{sync::mpsc, time::Duration};

use secrecy::SecretString;

use crate::{Call, Key, Kind, RekeyReport, StoreError, backend::Backend, listing::Entries, worker::Worker};

/// Runs a backend on its own thread and limits the duration of its calls.
pub(crate) struct WithDeadline<B> {
    kind: Kind,
    description: String,
    worker: Worker<B>,
    deadline: Duration,
}

impl<B: Backend + 'static> WithDeadline<B> {
    /// Starts the thread.
    pub(crate) fn new(backend: B, deadline: Duration) -> Self {
        let (kind, description) = (backend.kind(), backend.description());
        Self { kind, description, worker: Worker::start(&format!("store-{kind}"), backend), deadline }
    }

    fn call<T: Send + 'static>(
        &self,
        call: Call,
        run: impl FnOnce(&mut B) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // The state after a panic is unknown, so propagate it: the supervisor restarts the daemon.
        assert!(self.worker.is_alive(), "the thread of the {} has ended", self.kind);
        if let Some(elapsed) = self.worker.overdue(self.deadline) {
            return Err(StoreError::blocked(elapsed));
        }
        let (sender, receiver) = mpsc::channel();
        self.worker.send(call, move |backend| drop(sender.send(run(backend))));
        match receiver.recv_timeout(self.deadline) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(StoreError::timed_out(self.deadline)),
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the thread of the {} has ended", self.kind),
        }
    }
}

impl<B: Backend + 'static> Backend for WithDeadline<B> {
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

    fn with_fault(fault: &str) -> (WithDeadline<Memory>, tempfile::NamedTempFile) {
        let control = tempfile::NamedTempFile::new().expect("a file");
        fs::write(control.path(), fault).expect("written");
        let memory = Memory::new(Some(control.path().to_path_buf()));
        (WithDeadline::new(memory, Duration::from_millis(100)), control)
    }

    #[test]
    fn hanging_backend_times_out_and_the_next_call_fails_at_once() {
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
    fn backend_panic_is_propagated() {
        let (mut backend, _control) = with_fault("panic");
        loop {
            drop(backend.list());
        }
    }
}
