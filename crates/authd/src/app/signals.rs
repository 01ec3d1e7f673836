//! Unix signals.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal requests.
pub(super) enum SignalAction {
    /// SIGTERM, SIGINT: a shutdown.
    Stop,
    /// SIGHUP: a reload of the configuration.
    Reload,
}

/// The handled signals.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Handles the signals from now on.
    pub(super) fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> SignalAction {
        tokio::select! {
            _ = self.terminate.recv() => SignalAction::Stop,
            _ = self.interrupt.recv() => SignalAction::Stop,
            _ = self.hang_up.recv() => SignalAction::Reload,
        }
    }

    /// Waits for another request to stop.
    pub(super) async fn second_stop(&mut self) {
        while let SignalAction::Reload = self.next().await {}
    }
}
