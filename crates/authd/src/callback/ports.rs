//! Which port the callback server gets: the first of the configured ones that is free on both loopback
//! addresses. Nothing is served here.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpStream};

/// How often a free port is looked for that is free on both addresses.
const TRIES: usize = 16;

/// A port that is ours.
#[derive(Debug)]
pub(super) struct Bound {
    v4: Option<TcpListener>,
    v6: Option<TcpListener>,
    port: u16,
    /// Why it is not the first one.
    pub(super) trouble: Option<Trouble>,
    /// The service manager listens on it, too: leaving it would give it to nobody.
    pub(super) held: bool,
}

/// Why a port is not ours.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// In words.
    pub(super) detail: String,
    /// The port, if another program has it.
    pub(super) taken: Option<u16>,
}

impl Bound {
    /// What the service manager opened for us; none, if it opened nothing.
    pub(super) fn inherited(listeners: Vec<std::net::TcpListener>) -> Option<Self> {
        let mut bound = Self { v4: None, v6: None, port: 0, trouble: None, held: true };
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
                // Nobody but this machine has business here.
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
        self.trouble.is_some()
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

/// The next connection of a listener that may not be there.
async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// The first of these ports that is free; else why none is.
pub(super) fn bind_first(ports: &[u16]) -> Result<Bound, Trouble> {
    let mut troubles = Vec::new();
    for port in ports {
        match bind(*port) {
            Ok(bound) => {
                let trouble = troubles.into_iter().next();
                return Ok(Bound { trouble, ..bound });
            }
            Err(error) => troubles.push(trouble(*port, &error)),
        }
    }
    let taken = troubles.first().and_then(|first| first.taken);
    let details: Vec<String> = troubles.into_iter().map(|trouble| trouble.detail).collect();
    Err(Trouble { detail: details.join("; "), taken })
}

fn bind(port: u16) -> io::Result<Bound> {
    let mut tries = 0;
    loop {
        let v4 = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let bound_port = v4.local_addr()?.port();
        match listen(SocketAddr::from((Ipv6Addr::LOCALHOST, bound_port))) {
            Ok(v6) => return Ok(ours(v4, Some(v6), bound_port)),
            // A stranger on the other address would get the browsers that resolve localhost to it.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                tries += 1;
                if port != 0 || tries == TRIES {
                    return Err(error);
                }
            }
            // A machine without IPv6.
            Err(_) => return Ok(ours(v4, None, bound_port)),
        }
    }
}

fn ours(v4: TcpListener, v6: Option<TcpListener>, port: u16) -> Bound {
    Bound { v4: Some(v4), v6, port, trouble: None, held: false }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

fn trouble(port: u16, error: &io::Error) -> Trouble {
    let taken = (error.kind() == io::ErrorKind::AddrInUse).then_some(port);
    let detail = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("port {port} is in use by another program (authctl doctor names it)")
        }
        io::ErrorKind::PermissionDenied => {
            format!("port {port} may not be used here: the system reserves it")
        }
        _ => format!("port {port} cannot be used: {error}"),
    };
    Trouble { detail, taken }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_another_programs_only_if_the_system_says_so() {
        let of = |kind: io::ErrorKind| trouble(80, &kind.into());
        assert_eq!(of(io::ErrorKind::AddrInUse).taken, Some(80));
        let reserved = of(io::ErrorKind::PermissionDenied);
        assert!(reserved.taken.is_none() && reserved.detail.contains("reserves it"), "{reserved:?}");
    }
}
