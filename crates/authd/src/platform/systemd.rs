//! Notifies the service manager (`sd_notify`): readiness, status and watchdog. Without a service
//! manager nothing is sent. On systems without `sd_notify` the status line goes to the log.

#[cfg(target_os = "linux")]
use sd_notify::NotifyState;

use std::{path::Path, time::Duration};

use authd_api::CallbackState;
use authd_broker::CallbackServerState;
use authd_store::{State, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::store_monitor::{ProfileStore, StoreMonitor};

/// The sources of the status line.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    /// The callback server.
    pub(crate) callback: watch::Receiver<CallbackServerState>,
    /// The stores.
    pub(crate) stores: StoreMonitor,
}

impl Health {
    /// The status line. Every user of the machine may be able to read it.
    fn line(&self, socket: &Path) -> String {
        let callback = match &*self.callback.borrow() {
            CallbackServerState { state: CallbackState::Listening, detail: None, addresses, .. } => {
                let port = addresses.first().map(|address| format!(" to port {}", address.port()));
                format!("browsers return{}", port.unwrap_or_default())
            }
            server @ CallbackServerState { detail, .. } => {
                let detail = detail.as_deref().unwrap_or("the callback server is not up");
                match server.port() {
                    Some(port) => format!("browsers return to port {port}, because {detail}"),
                    None => format!("no browser can return: {detail}"),
                }
            }
        };
        let ProfileStore { is_fleet, state, detail } = self.stores.profiles();
        let store = match state {
            State::Ready => detail,
            State::Locked => format!("the store is locked: {detail}"),
            State::Unavailable => format!("the store does not answer: {detail}"),
        };
        let local = self.stores.local();
        let local = if is_fleet && local.state != State::Ready {
            format!("; the store of this machine does not answer: {}", local.detail)
        } else {
            String::new()
        };
        format!("listening on {}; {callback}; {store}{local}", socket.display()).replace(['\n', '\r'], " ")
    }
}

/// Reports that the daemon serves requests. The status line names what is not available.
pub(crate) fn notify_ready(socket: &Path, health: &Health) {
    #[cfg(target_os = "linux")]
    notify(&[NotifyState::Ready, NotifyState::Status(&health.line(socket))]);
    #[cfg(not(target_os = "linux"))]
    tracing::info!("{}", health.line(socket));
}

/// Updates the status line at every change until the shutdown.
pub(crate) async fn update_status(socket: &Path, mut health: Health, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Ok(()) = health.callback.changed() => {}
            Some(()) = health.stores.changed() => {}
            // The publishers are gone during the shutdown.
            else => return stop.cancelled().await,
        }
        #[cfg(target_os = "linux")]
        notify(&[NotifyState::Status(&health.line(socket))]);
        #[cfg(not(target_os = "linux"))]
        tracing::info!("{}", health.line(socket));
    }
}

/// The timeout of the service manager's watchdog, if it is enabled.
pub(crate) fn watchdog_timeout() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    return sd_notify::watchdog_enabled();
    #[cfg(not(target_os = "linux"))]
    None
}

/// Feeds the watchdog while the event loop runs and the store's thread is alive. A locked keychain
/// or an unreachable provider does not stop it: a restart would not help.
pub(crate) async fn feed_watchdog(timeout: Duration, store: Store, stop: CancellationToken) {
    let mut logged = false;
    loop {
        if store.is_alive() {
            #[cfg(target_os = "linux")]
            notify(&[NotifyState::Watchdog]);
        } else if !logged {
            logged = true;
            tracing::error!("store thread ended; watchdog no longer fed");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(timeout / 3) => {}
        }
    }
}

/// Reports the start of a reload.
pub(crate) fn notify_reloading() {
    #[cfg(target_os = "linux")]
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "reload not reported to the service manager"),
    }
}

/// Reports the end of a reload.
pub(crate) fn notify_reloaded() {
    #[cfg(target_os = "linux")]
    notify(&[NotifyState::Ready]);
}

/// Reports the start of the shutdown.
pub(crate) fn notify_stopping() {
    #[cfg(target_os = "linux")]
    notify(&[NotifyState::Stopping, NotifyState::Status("finishing work in progress")]);
}

#[cfg(target_os = "linux")]
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "service manager not notified");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use authd_store::Status;

    use super::*;

    #[test]
    fn status_line_names_what_is_not_available() {
        let health = |callback: CallbackServerState, state, detail: &str| {
            let store = Status { kind: None, state, detail: detail.to_owned(), fallback: None };
            let registry = watch::channel(Arc::default()).1;
            Health {
                callback: watch::channel(callback).1,
                stores: StoreMonitor::new(watch::channel(store).1, None, registry),
            }
        };
        let up = |detail: Option<&str>| CallbackServerState {
            state: CallbackState::Listening,
            addresses: vec!["127.0.0.1:1457".parse().unwrap()],
            detail: detail.map(ToOwned::to_owned),
            ..CallbackServerState::default()
        };
        let down = CallbackServerState {
            detail: Some("port 1455 is in use".to_owned()),
            ..CallbackServerState::default()
        };
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
