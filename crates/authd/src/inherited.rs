//! What the service manager opened or kept for us: the socket; if it was asked to, the callback's ports;
//! what the last run left.

use std::{fs::File, net::TcpListener, os::unix::net::UnixListener};

use listenfd::ListenFd;

use crate::notify;

/// What was open before we started.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The socket.
    pub(crate) socket: Option<UnixListener>,
    /// The callback's ports.
    pub(crate) callback: Vec<TcpListener>,
    /// What the last run left.
    pub(crate) handover: Option<File>,
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
            } else if let Ok(Some(descriptor)) = given.take_raw_fd(at) {
                inherited.handover = inherited.handover.or_else(|| notify::kept(descriptor));
            }
        }
        inherited
    }
}
