//! A CONNECT proxy that knows three names and leads all of them to the sandbox, so that a client reaches it under
//! the provider's real names. It opens no other connection, and does not look into the ones it carries.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use crate::tls::HOSTS;

/// The longest request head that is read, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// How long the head may take.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// A running proxy; it stops when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    task: AbortHandle,
}

impl Proxy {
    /// Listens on a free loopback port; everything goes to `target`.
    pub(crate) async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((client, _)) = listener.accept() => { connections.spawn(carry(client, target)); }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, task: task.abort_handle() })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Carries one connection; an error is one side's going away, and ends the other.
async fn carry(mut client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let head = tokio::time::timeout(HEAD_TIME, read_head(&mut client)).await??;
    if !admitted(&head) {
        return client
            .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    }
    let Ok(mut server) = TcpStream::connect(target).await else {
        return client
            .write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            .await;
    };
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Reads up to the empty line. The client says nothing more until it is answered, so no byte behind it is lost.
async fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(client.read_u8().await?);
    }
    Ok(head)
}

fn admitted(head: &[u8]) -> bool {
    HOSTS.iter().any(|host| head.starts_with(format!("CONNECT {host}:443 HTTP/1.1\r\n").as_bytes()))
}
