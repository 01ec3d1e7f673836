//! The word to the service manager: that all is ready, how it goes, that the daemon is alive. Without a
//! service manager, or without its watchdog, nothing here runs. A system without such words has the line
//! in the log.

#[cfg(target_os = "linux")]
use sd_notify::NotifyState;

use std::{path::Path, time::Duration};

use authd_api::CallbackState;
use authd_store::{State, Status as StoreStatus, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::callback::CallbackFacts;

/// What the line for people is made of.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// Whether browsers can return.
    pub(crate) callback: watch::Receiver<CallbackFacts>,
    /// Whether credentials can be kept.
    pub(crate) store: watch::Receiver<StoreStatus>,
}

impl Health {
    /// How it goes, in a line. What it says is for everybody who can read the user's services.
    fn line(&self, socket: &Path) -> String {
        let callback = match &*self.callback.borrow() {
            CallbackFacts { state: CallbackState::Listening, detail: None, addresses, .. } => {
                let port = addresses.first().map(|address| format!(" to port {}", address.port()));
                format!("browsers return{}", port.unwrap_or_default())
            }
            facts @ CallbackFacts { detail, .. } => {
                let detail = detail.as_deref().unwrap_or("the callback server is not up");
                match facts.port() {
                    Some(port) => format!("browsers return to port {port}, because {detail}"),
                    None => format!("no browser can return: {detail}"),
                }
            }
        };
        let StoreStatus { state, detail, .. } = &*self.store.borrow();
        let store = match state {
            State::Ready => detail.clone(),
            State::Locked => format!("the store is locked: {detail}"),
            State::Unavailable => format!("the store does not answer: {detail}"),
        };
        format!("listening on {}; {callback}; {store}", socket.display()).replace(['\n', '\r'], " ")
    }
}

/// Everything is up, or as far up as it can be: what a person has to mend is in the line.
pub(crate) fn ready(socket: &Path, health: &Health) {
    #[cfg(target_os = "linux")]
    say(&[NotifyState::Ready, NotifyState::Status(&health.line(socket))]);
    #[cfg(not(target_os = "linux"))]
    tracing::info!("{}", health.line(socket));
}

/// Keeps the line for people true until told to stop; wakes up for changes only.
pub(crate) async fn narrate(socket: &Path, mut health: Health, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = health.callback.changed() => {}
            Ok(()) = health.store.changed() => {}
            // Whoever published is gone, as everything is in the end.
            else => return stop.cancelled().await,
        }
        #[cfg(target_os = "linux")]
        say(&[NotifyState::Status(&health.line(socket))]);
        #[cfg(not(target_os = "linux"))]
        tracing::info!("{}", health.line(socket));
    }
}

/// How patient the service manager's watchdog is, if it keeps one for us.
pub(crate) fn watchdog() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    return sd_notify::watchdog_enabled();
    #[cfg(not(target_os = "linux"))]
    None
}

/// Feeds the watchdog until told to stop: the event loop by running this, the store by its thread being
/// alive. What neither can help — a keychain that waits for its person, a provider that is away — is no
/// reason to be started anew.
pub(crate) async fn feed_watchdog(patience: Duration, store: Store, stop: CancellationToken) {
    let mut said = false;
    loop {
        if store.is_alive() {
            #[cfg(target_os = "linux")]
            say(&[NotifyState::Watchdog]);
        } else if !said {
            said = true;
            tracing::error!("the store's thread has died; the watchdog is not fed any more");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(patience / 3) => {}
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_a_person_has_to_mend() {
        let health = |callback: CallbackFacts, state, detail: &str| Health {
            callback: watch::channel(callback).1,
            store: watch::channel(StoreStatus { kind: None, state, detail: detail.to_owned() }).1,
        };
        let up = |detail: Option<&str>| {
            let mut facts = CallbackFacts::default();
            facts.state = CallbackState::Listening;
            facts.addresses = vec!["127.0.0.1:1457".parse().unwrap()];
            facts.detail = detail.map(ToOwned::to_owned);
            facts
        };
        let mut down = CallbackFacts::default();
        down.detail = Some("port 1455 is in use".to_owned());
        for (health, line) in [
            (
                health(up(None), State::Ready, "a keychain answers"),
                "listening on /s; browsers return to port 1457; a keychain answers",
            ),
            (
                health(up(Some("port 1455 is in use")), State::Locked, "the collection is\nlocked"),
                "listening on /s; browsers return to port 1457, because port 1455 is in use; \
                 the store is locked: the collection is locked",
            ),
            (
                health(down, State::Unavailable, "no answer"),
                "listening on /s; no browser can return: port 1455 is in use; \
                 the store does not answer: no answer",
            ),
        ] {
            assert_eq!(health.line(Path::new("/s")), line);
        }
    }
}
