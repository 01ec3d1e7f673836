//! The state of the callback server, which the daemon runs and logins depend on.

use std::{net::SocketAddr, sync::Arc};

use authd_api::CallbackState;
use tokio::sync::oneshot;
use tokio_util::sync::DropGuard;

/// Path prefix of the callback server's links to authorize URLs. A random token follows it.
pub const LINK_PATH: &str = "/go/";

/// Whether and where the callback server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackServerState {
    /// Whether the server listens.
    pub state: CallbackState,
    /// The addresses it listens on.
    pub addresses: Vec<SocketAddr>,
    /// Why it does not listen, or not on the first configured port.
    pub detail: Option<String>,
    /// The first configured port, if another program has it.
    pub taken: Option<u16>,
    /// Whether the server has tried to listen since the start.
    pub has_tried: bool,
}

/// A login needs a port of loopback that the callback server does not listen on: its redirect URI
/// names it. Logins with the same port share it: it is open until the last one drops the guard.
#[derive(Debug)]
pub struct ListenRequest {
    /// The port.
    pub port: u16,
    /// The guard, or why the port cannot be opened.
    pub opened: oneshot::Sender<Result<Arc<DropGuard>, String>>,
}

impl CallbackServerState {
    /// The port that a redirect URI may name.
    pub fn port(&self) -> Option<u16> {
        self.addresses.first().map(SocketAddr::port)
    }
}

impl Default for CallbackServerState {
    fn default() -> Self {
        let (state, addresses) = (CallbackState::Unavailable, Vec::new());
        Self { state, addresses, detail: None, taken: None, has_tried: false }
    }
}
