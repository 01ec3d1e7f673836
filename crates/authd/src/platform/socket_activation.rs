//! Sockets that the service manager has opened (`sd_listen_fds`): the API socket and the callback's
//! ports.

use std::{net::TcpListener, os::unix::net::UnixListener};

use listenfd::ListenFd;
use tracing::warn;

/// The inherited sockets.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// The API socket.
    pub(crate) socket: Option<UnixListener>,
    /// The callback's ports.
    pub(crate) callback: Vec<TcpListener>,
    /// The number of other sockets: a second Unix socket for example.
    unused: usize,
}

impl InheritedSockets {
    /// Takes the sockets that `LISTEN_FDS` names. Must be called once.
    pub fn take() -> Self {
        let mut fds = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..fds.len() {
            if let Ok(Some(listener)) = fds.take_unix_listener(index) {
                match inherited.socket {
                    None => inherited.socket = Some(listener),
                    Some(_) => inherited.unused += 1,
                }
            } else if let Ok(Some(listener)) = fds.take_tcp_listener(index) {
                inherited.callback.push(listener);
            } else {
                inherited.unused += 1;
            }
        }
        inherited
    }

    /// Logs sockets that authd does not use: their unit does not fit it.
    pub(crate) fn warn_about_unused(&self) {
        if self.unused > 0 {
            warn!(
                count = self.unused,
                "inherited sockets not used: authd serves one Unix socket, and TCP ports for the callback"
            );
        }
    }
}
