//! Work on files, done on a thread of its own: a slow disk must not delay the answers that come from memory.

use std::io;

/// Runs work that may block on a thread for that, and waits for its result.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}
