//! The word to the service manager. Without one, every function does nothing.

use std::path::Path;

#[cfg(target_os = "linux")]
use sd_notify::NotifyState;

/// Everything is up.
pub(crate) fn ready(socket: &Path) {
    #[cfg(target_os = "linux")]
    say(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {}", socket.display()))]);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

/// The configuration is being read again.
pub(crate) fn reloading() {
    #[cfg(target_os = "linux")]
    match NotifyState::monotonic_usec_now() {
        Ok(now) => say(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the service manager was not told of the reload"),
    }
}

/// The configuration has been read.
pub(crate) fn reloaded() {
    #[cfg(target_os = "linux")]
    say(&[NotifyState::Ready]);
}

/// The end has begun.
pub(crate) fn stopping() {
    #[cfg(target_os = "linux")]
    say(&[NotifyState::Stopping, NotifyState::Status("finishing what is under way")]);
}

#[cfg(target_os = "linux")]
fn say(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}
