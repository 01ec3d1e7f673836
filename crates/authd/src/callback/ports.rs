//! Binds the callback server's port: the first configured one that is free on all its addresses.

use std::{
    future, io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    task::Poll,
};

use tokio::net::{TcpListener, TcpStream};

/// Attempts to find an ephemeral port that is free on all addresses.
const ATTEMPTS: usize = 16;

/// A bound port.
#[derive(Debug)]
pub(super) struct BoundPort {
    listeners: Vec<Listener>,
    /// Why it is not the first configured port.
    pub(super) fallback_reason: Option<BindError>,
    /// Whether the service manager opened it. Such a port cannot be yielded: closing it here does
    /// not free it.
    pub(super) manager_owned: bool,
}

/// A listener on one address.
#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Why a port was not bound.
#[derive(Clone, Debug)]
pub(super) struct BindError {
    /// The reason.
    pub(super) detail: String,
    /// The port, if another program has it.
    pub(super) taken: Option<u16>,
}

impl BoundPort {
    /// The listeners that the service manager opened; `None` without any. Only loopback and the
    /// configured addresses are served.
    pub(super) fn inherited(sockets: Vec<std::net::TcpListener>, addresses: &[IpAddr]) -> Option<Self> {
        let is_served = |ip: IpAddr| ip.is_loopback() || addresses.contains(&ip);
        let listeners: Vec<Listener> = sockets
            .into_iter()
            .filter_map(|socket| Listener::new(socket).ok())
            .filter(|listener| is_served(listener.address.ip()))
            .collect();
        let bound = Self { listeners, fallback_reason: None, manager_owned: true };
        (!bound.listeners.is_empty()).then_some(bound)
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.listeners.first().map_or(0, |listener| listener.address.port())
    }

    /// Whether a better port may become free.
    pub(super) fn is_fallback(&self) -> bool {
        self.fallback_reason.is_some()
    }

    /// The addresses.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.address).collect()
    }

    /// The next connection on any address, and the address of its listener.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, IpAddr)> {
        future::poll_fn(|context| {
            for Listener { socket, address } in &self.listeners {
                if let Poll::Ready(accepted) = socket.poll_accept(context) {
                    return Poll::Ready(accepted.map(|(stream, _)| (stream, address.ip())));
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Listener {
    fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket: TcpListener::from_std(socket)?, address })
    }
}

/// Binds the first one of these ports that is free on all these addresses.
pub(super) fn bind_first(addresses: &[IpAddr], ports: &[u16]) -> Result<BoundPort, BindError> {
    let mut errors = Vec::new();
    for port in ports {
        match bind(addresses, *port) {
            Ok(listeners) => {
                let fallback_reason = errors.into_iter().next();
                return Ok(BoundPort { listeners, fallback_reason, manager_owned: false });
            }
            Err((address, error)) => errors.push(bind_error(address, &error)),
        }
    }
    let taken = errors.first().and_then(|first| first.taken);
    let details: Vec<String> = errors.into_iter().map(|error| error.detail).collect();
    Err(BindError { detail: details.join("; "), taken })
}

/// Binds one port on all addresses; 0 is any port that is free on all of them.
fn bind(addresses: &[IpAddr], port: u16) -> Result<Vec<Listener>, (SocketAddr, io::Error)> {
    let mut attempts = 1;
    loop {
        match bind_once(addresses, port) {
            // Another program on an address would get the browsers that resolve localhost to it.
            Err((_, error))
                if port == 0 && attempts < ATTEMPTS && error.kind() == io::ErrorKind::AddrInUse =>
            {
                attempts += 1;
            }
            bound => return bound,
        }
    }
}

fn bind_once(addresses: &[IpAddr], port: u16) -> Result<Vec<Listener>, (SocketAddr, io::Error)> {
    let mut listeners: Vec<Listener> = Vec::new();
    for ip in addresses {
        let port = listeners.first().map_or(port, |first| first.address.port());
        let address = SocketAddr::from((*ip, port));
        match std::net::TcpListener::bind(address).and_then(Listener::new) {
            Ok(listener) => listeners.push(listener),
            // The machine has no IPv6.
            Err(error)
                if *ip == Ipv6Addr::LOCALHOST
                    && !listeners.is_empty()
                    && error.kind() != io::ErrorKind::AddrInUse => {}
            Err(error) => return Err((address, error)),
        }
    }
    Ok(listeners)
}

fn bind_error(address: SocketAddr, error: &io::Error) -> BindError {
    let port = address.port();
    let taken = (error.kind() == io::ErrorKind::AddrInUse).then_some(port);
    let detail = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} is in use by another program (authctl doctor names it)")
        }
        io::ErrorKind::PermissionDenied => {
            format!("port {port} is reserved by the system")
        }
        _ => format!("{address} cannot be used: {error}"),
    };
    BindError { detail, taken }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_counts_as_taken_only_if_the_system_reports_it() {
        let error = |kind: io::ErrorKind| bind_error(([127, 0, 0, 1], 80).into(), &kind.into());
        assert_eq!(error(io::ErrorKind::AddrInUse).taken, Some(80));
        let reserved = error(io::ErrorKind::PermissionDenied);
        assert!(reserved.taken.is_none() && reserved.detail.contains("reserved"), "{reserved:?}");
    }
}
