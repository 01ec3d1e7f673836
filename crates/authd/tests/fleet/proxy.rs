//! A TCP proxy between a daemon and a server, which can be cut.

use std::net;

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What happens with the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Works,
    /// Connections are closed, and new ones refused.
    Closed,
    /// Nothing arrives any more.
    Silent,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    link: watch::Sender<Link>,
}

impl Proxy {
    /// Serves connections with those to a server on loopback.
    pub(crate) fn start(listener: net::TcpListener, server: u16) -> Self {
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (link, receiver) = watch::channel(Link::Works);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server, receiver.clone()));
            }
        });
        Self { port, link }
    }

    pub(crate) fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

async fn forward(mut client: TcpStream, server: u16, mut link: watch::Receiver<Link>) {
    loop {
        let state = *link.borrow_and_update();
        match state {
            Link::Closed => return,
            Link::Silent => {
                if link.changed().await.is_err() {
                    return;
                }
            }
            Link::Works => break,
        }
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        _ = link.changed() => {}
    }
    // A silent connection stays open, so that its ends wait.
    while *link.borrow_and_update() == Link::Silent {
        if link.changed().await.is_err() {
            return;
        }
    }
}
