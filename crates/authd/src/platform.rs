//! The operating system: process hardening, the socket and its lock, the process behind a
//! connection, socket activation, the service manager, and limits on connections.

mod client_stream;
mod connection_limiter;
mod hardening;
mod peer_process;
mod socket;
mod socket_activation;
mod socket_lock;
mod systemd;

pub(crate) use self::{
    client_stream::{ClientListener, ClientStream},
    connection_limiter::{
        ConnectionLimiter, Permit, ProcessLimiter, Slot, callback_connections, share_connections,
        share_sockets, socket_connections,
    },
    hardening::{open_file_limit, raise_open_files},
    peer_process::ProcessReader,
    socket::{Socket, peer_is_own},
    socket_lock::SocketLock,
    systemd::{
        Health, feed_watchdog, notify_ready, notify_reloaded, notify_reloading, notify_stopping,
        update_status, watchdog_timeout,
    },
};
pub use self::{
    hardening::{Hardening, MemoryLock, harden},
    socket::SocketError,
    socket_activation::InheritedSockets,
    socket_lock::LockError,
};
