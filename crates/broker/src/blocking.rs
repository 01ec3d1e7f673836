//! Runs file work on the blocking pool, so that a slow disk does not delay answers from memory.

use std::{io, panic};

/// Runs file work, and waits for it. A panic of the work is an error.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

/// Makes a change in a task of its own. A client can disconnect during a write, and then its
/// request is dropped: the list in memory would miss what the file will have.
pub(crate) async fn finish<T: Send + 'static>(change: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(change).await.unwrap_or_else(|error| panic::resume_unwind(error.into_panic()))
}
