//! Sockets that the service manager has opened (`sd_listen_fds`): the API socket and the callback's
//! ports.

use std::{net::TcpListener, os::unix::net::UnixListener};

use listenfd::ListenFd;

/// The inherited sockets.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// The API socket.
    pub(crate) socket: Option<UnixListener>,
    /// The callback's ports.
    pub(crate) callback: Vec<TcpListener>,
}

impl InheritedSockets {
    /// Takes the sockets that `LISTEN_FDS` names. Must be called once.
    pub fn take() -> Self {
        let mut fds = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..fds.len() {
            if let Ok(Some(listener)) = fds.take_unix_listener(index) {
                inherited.socket.get_or_insert(listener);
            } else if let Ok(Some(listener)) = fds.take_tcp_listener(index) {
                inherited.callback.push(listener);
            }
        }
        inherited
    }
}
