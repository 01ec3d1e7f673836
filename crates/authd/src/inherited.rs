//! What the service manager opened for us: the socket, and, if it was asked to, the callback's ports.

use std::{net::TcpListener, os::unix::net::UnixListener};

use listenfd::ListenFd;

/// What was open before we started.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The socket.
    pub(crate) socket: Option<UnixListener>,
    /// The callback's ports.
    pub(crate) callback: Vec<TcpListener>,
}

impl Inherited {
    /// Takes what the environment names (`LISTEN_FDS`, as `sd_listen_fds` does). To be called once.
    pub fn take() -> Self {
        let mut given = ListenFd::from_env();
        let mut inherited = Self::default();
        for at in 0..given.len() {
            if let Ok(Some(listener)) = given.take_unix_listener(at) {
                inherited.socket.get_or_insert(listener);
            } else if let Ok(Some(listener)) = given.take_tcp_listener(at) {
                inherited.callback.push(listener);
            }
        }
        inherited
    }
}
