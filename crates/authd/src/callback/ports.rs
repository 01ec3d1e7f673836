//! Binds the callback server's port: the first configured one that is free on both loopback
//! addresses.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpStream};

/// Attempts to find an ephemeral port that is free on both addresses.
const ATTEMPTS: usize = 16;

/// A bound port.
#[derive(Debug)]
pub(super) struct BoundPort {
    v4: Option<TcpListener>,
    v6: Option<TcpListener>,
    port: u16,
    /// Why it is not the first configured port.
    pub(super) fallback_reason: Option<BindError>,
    /// Whether the service manager opened it. Such a port cannot be yielded: closing it here does
    /// not free it.
    pub(super) manager_owned: bool,
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
    /// The listeners that the service manager opened; `None` without any.
    pub(super) fn inherited(listeners: Vec<std::net::TcpListener>) -> Option<Self> {
        let mut bound = Self { v4: None, v6: None, port: 0, fallback_reason: None, manager_owned: true };
        for listener in listeners {
            let Ok(address) = listener.local_addr() else { continue };
            let loopback = address.ip().is_loopback();
            let Ok(listener) = listener.set_nonblocking(true).and_then(|()| TcpListener::from_std(listener))
            else {
                continue;
            };
            match address {
                SocketAddr::V4(_) if loopback => bound.v4 = Some(listener),
                SocketAddr::V6(_) if loopback => bound.v6 = Some(listener),
                // Only loopback is served.
                SocketAddr::V4(_) | SocketAddr::V6(_) => continue,
            }
            bound.port = address.port();
        }
        (bound.port != 0).then_some(bound)
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether a better port may become free.
    pub(super) fn is_fallback(&self) -> bool {
        self.fallback_reason.is_some()
    }

    /// The addresses.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        [&self.v4, &self.v6].into_iter().flatten().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// The next connection, on either address.
    pub(super) async fn accept(&self) -> io::Result<TcpStream> {
        tokio::select! {
            stream = accept(self.v4.as_ref()) => stream,
            stream = accept(self.v6.as_ref()) => stream,
        }
    }
}

/// The next connection of a listener; never without one.
async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Binds the first free one of these ports.
pub(super) fn bind_first(ports: &[u16]) -> Result<BoundPort, BindError> {
    let mut errors = Vec::new();
    for port in ports {
        match bind(*port) {
            Ok(bound) => {
                let fallback_reason = errors.into_iter().next();
                return Ok(BoundPort { fallback_reason, ..bound });
            }
            Err(error) => errors.push(bind_error(*port, &error)),
        }
    }
    let taken = errors.first().and_then(|first| first.taken);
    let details: Vec<String> = errors.into_iter().map(|error| error.detail).collect();
    Err(BindError { detail: details.join("; "), taken })
}

fn bind(port: u16) -> io::Result<BoundPort> {
    let mut attempts = 0;
    loop {
        let v4 = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let bound_port = v4.local_addr()?.port();
        match listen(SocketAddr::from((Ipv6Addr::LOCALHOST, bound_port))) {
            Ok(v6) => return Ok(bound(v4, Some(v6), bound_port)),
            // Another program on this address would get the browsers that resolve localhost to it.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                attempts += 1;
                if port != 0 || attempts == ATTEMPTS {
                    return Err(error);
                }
            }
            // The machine has no IPv6.
            Err(_) => return Ok(bound(v4, None, bound_port)),
        }
    }
}

fn bound(v4: TcpListener, v6: Option<TcpListener>, port: u16) -> BoundPort {
    BoundPort { v4: Some(v4), v6, port, fallback_reason: None, manager_owned: false }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn bind_error(port: u16, error: &io::Error) -> BindError {
    let taken = (error.kind() == io::ErrorKind::AddrInUse).then_some(port);
    let detail = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} is in use by another program (authctl doctor names it)")
        }
        io::ErrorKind::PermissionDenied => {
            format!("port {port} is reserved by the system")
        }
        _ => format!("port {port} cannot be used: {error}"),
    };
    BindError { detail, taken }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_counts_as_taken_only_if_the_system_reports_it() {
        let error = |kind: io::ErrorKind| bind_error(80, &kind.into());
        assert_eq!(error(io::ErrorKind::AddrInUse).taken, Some(80));
        let reserved = error(io::ErrorKind::PermissionDenied);
        assert!(reserved.taken.is_none() && reserved.detail.contains("reserved"), "{reserved:?}");
    }
}
