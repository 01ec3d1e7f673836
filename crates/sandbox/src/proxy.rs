//! A CONNECT proxy that knows three names and leads all of them to the sandbox, so that a client reaches it under
//! the provider's real names. It opens no other connection, and does not look into the ones it carries.
//! Nobody has to say who he is; who does has to be the one user whom it knows.

use std::{io, net::SocketAddr, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use crate::tls::HOSTS;

/// The user whom the proxy knows and his password, as they stand in a URL.
pub const PROXY_USER: &str = "me:secret";

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
    let server = match refusal(&head) {
        Some(status) => Err(status),
        None => TcpStream::connect(target).await.map_err(|_| "502 Bad Gateway"),
    };
    let mut server = match server {
        Ok(server) => server,
        Err(status) => {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return client.write_all(answer.as_bytes()).await;
        }
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

/// Why this is not carried, if it is not.
fn refusal(head: &[u8]) -> Option<&'static str> {
    let head = String::from_utf8_lossy(head);
    let told = head.lines().filter_map(|line| line.split_once(": "));
    let mut users = told.filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"));
    let known = format!("Basic {}", BASE64_STANDARD.encode(PROXY_USER));
    if users.any(|(_, user)| user != known) {
        return Some("407 Proxy Authentication Required");
    }
    let admitted = HOSTS.iter().any(|host| head.starts_with(&format!("CONNECT {host}:443 HTTP/1.1\r\n")));
    if admitted { None } else { Some("403 Forbidden") }
}
