//! A thread that owns a value and runs one job on it at a time. Keychains block, and one that waits for a
//! person blocks without end, so the thread is never joined and callers wait for a limited time only.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::Call;

/// A handle on the thread; the thread ends when the handle is dropped.
pub(crate) struct Worker<T> {
    jobs: mpsc::Sender<(Call, Job<T>)>,
    busy: Arc<Mutex<Option<(Call, Instant)>>>,
    /// Empty if the thread could not be started.
    thread: OnceLock<JoinHandle<()>>,
}

/// One piece of work.
type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

impl<T: Send + 'static> Worker<T> {
    /// Starts the thread.
    pub(crate) fn start(name: &str, mut value: T) -> Self {
        let (sender, jobs) = mpsc::channel::<(Call, Job<T>)>();
        let worker = Self { jobs: sender, busy: Arc::default(), thread: OnceLock::new() };
        let busy = worker.busy.clone();
        let work = move || {
            for (call, job) in jobs {
                *lock(&busy) = Some((call, Instant::now()));
                job(&mut value);
                *lock(&busy) = None;
            }
        };
        match thread::Builder::new().name(name.to_owned()).spawn(work) {
            Ok(thread) => drop(worker.thread.set(thread)),
            // The other end of the channel is dropped, so every call fails.
            Err(error) => tracing::error!(%error, "the store's thread could not be started"),
        }
        worker
    }

    /// Whether the thread runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.thread.get().is_some_and(|thread| !thread.is_finished())
    }

    /// Queues a job; false if the thread has ended.
    pub(crate) fn send(&self, call: Call, job: impl FnOnce(&mut T) + Send + 'static) -> bool {
        self.jobs.send((call, Box::new(job))).is_ok()
    }

    /// The job that runs, and for how long it has run.
    pub(crate) fn busy(&self) -> Option<(Call, Duration)> {
        lock(&self.busy).map(|(call, since)| (call, since.elapsed()))
    }

    /// How long the running job has taken, if that is longer than the deadline. Jobs behind it would only
    /// wait in vain.
    pub(crate) fn stuck(&self, deadline: Duration) -> Option<Duration> {
        self.busy().map(|(_, taken)| taken).filter(|taken| *taken > deadline)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panicked_is_not_alive() {
        let worker = Worker::start("test", 7);
        let (sender, answer) = mpsc::channel();
        assert!(worker.send(Call::Load, move |value| sender.send(*value).expect("a receiver")));
        assert!(answer.recv() == Ok(7) && worker.is_alive());
        assert!(worker.send(Call::Load, |_| panic!("as some libraries do")));
        while worker.is_alive() {
            thread::yield_now();
        }
        assert!(!worker.send(Call::Load, |_| {}));
    }
}
