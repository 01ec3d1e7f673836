//! A thread that owns a value and runs one job on it at a time. Keychain calls block, some until
//! the user answers a dialog. So the thread is never joined, and callers wait for a limited time
//! only.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::Call;

/// A handle on the thread. The thread ends when the handle is dropped.
pub(crate) struct Worker<T> {
    jobs: mpsc::Sender<(Call, Job<T>)>,
    running: Arc<Mutex<Option<(Call, Instant)>>>,
    /// `None` if the thread could not be started.
    thread: Option<JoinHandle<()>>,
}

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

impl<T: Send + 'static> Worker<T> {
    /// Starts the thread. If that fails, every call of the worker fails.
    pub(crate) fn start(name: &str, mut value: T) -> Self {
        let (sender, jobs) = mpsc::channel::<(Call, Job<T>)>();
        let running = Arc::default();
        let state = Arc::clone(&running);
        let run = move || {
            for (call, job) in jobs {
                *lock(&state) = Some((call, Instant::now()));
                job(&mut value);
                *lock(&state) = None;
            }
        };
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .inspect_err(|error| tracing::error!(%error, "store thread failed to start"))
            .ok();
        Self { jobs: sender, running, thread }
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Queues a job. Returns false if the thread has ended.
    pub(crate) fn send(&self, call: Call, job: impl FnOnce(&mut T) + Send + 'static) -> bool {
        self.jobs.send((call, Box::new(job))).is_ok()
    }

    /// The running job, and how long it has run.
    pub(crate) fn running(&self) -> Option<(Call, Duration)> {
        lock(&self.running).map(|(call, since)| (call, since.elapsed()))
    }

    /// How long the running job has run, if that exceeds the deadline.
    pub(crate) fn overdue(&self, deadline: Duration) -> Option<Duration> {
        self.running().map(|(_, elapsed)| elapsed).filter(|elapsed| *elapsed > deadline)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_is_not_alive_after_a_panic() {
        let worker = Worker::start("test", 7);
        let (sender, receiver) = mpsc::channel();
        assert!(worker.send(Call::Load, move |value| sender.send(*value).expect("a receiver")));
        assert!(receiver.recv() == Ok(7) && worker.is_alive());
        assert!(worker.send(Call::Load, |_| panic!("a panic in a library")));
        while worker.is_alive() {
            thread::yield_now();
        }
        assert!(!worker.send(Call::Load, |_| {}));
    }
}
