//! A TCP proxy that loses the server's answer to a commit.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

pub(crate) struct Proxy {
    pub(crate) port: u16,
    is_armed: Arc<AtomicBool>,
    dropped: mpsc::UnboundedReceiver<()>,
}

impl Proxy {
    /// Listens on loopback, in front of a server there.
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_armed = Arc::new(AtomicBool::new(false));
        let (sender, dropped) = mpsc::unbounded_channel();
        let armed = is_armed.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server, armed.clone(), sender.clone()));
            }
        });
        Self { port, is_armed, dropped }
    }

    /// The next connection that commits is closed when the server has committed.
    pub(crate) fn drop_next_commit(&self) {
        self.is_armed.store(true, Ordering::SeqCst);
    }

    /// Waits until that has happened.
    pub(crate) async fn dropped(&mut self) {
        self.dropped.recv().await.unwrap();
    }
}

/// Forwards one connection. The server's answer to a commit names it, too (`CommandComplete`).
async fn forward(
    mut client: TcpStream,
    server: u16,
    is_armed: Arc<AtomicBool>,
    dropped: mpsc::UnboundedSender<()>,
) {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
    let (mut from_client, mut from_server) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => match read {
                Ok(length @ 1..) => server.write_all(&from_client[..length]).await.unwrap(),
                _ => return,
            },
            read = server.read(&mut from_server) => match read {
                Ok(length @ 1..) => {
                    let answer = &from_server[..length];
                    let has_committed = answer.windows(7).any(|window| window == b"COMMIT\0");
                    if has_committed && is_armed.swap(false, Ordering::SeqCst) {
                        dropped.send(()).unwrap();
                        return;
                    }
                    if client.write_all(answer).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}
