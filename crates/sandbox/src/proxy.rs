//! A CONNECT proxy that connects the three host names of the provider to the sandbox, and rejects
//! all others. Authentication is optional; a user that is sent must be [`PROXY_USER`].

use std::{io, net::SocketAddr, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

use crate::tls::HOSTS;

/// The user and password that the proxy accepts, in the form of a URL.
pub const PROXY_USER: &str = "me:secret";

/// Longest request head, in bytes.
const MAX_HEAD: usize = 8 * 1024;
/// Longest time for a request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A running proxy. Dropping it stops it.
pub(crate) struct Proxy {
    address: SocketAddr,
    task: AbortHandle,
}

impl Proxy {
    /// Listens on a free loopback port. All connections go to `target`.
    pub(crate) async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((client, _)) = listener.accept() => { connections.spawn(tunnel(client, target)); }
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

/// Handles one connection. An error of one side ends the other.
async fn tunnel(mut client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let head = tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut client)).await??;
    let server = match rejection(&head) {
        Some(status) => Err(status),
        None => TcpStream::connect(target).await.map_err(|_| "502 Bad Gateway"),
    };
    let mut server = match server {
        Ok(server) => server,
        Err(status) => {
            let response = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return client.write_all(response.as_bytes()).await;
        }
    };
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Reads to the empty line. The client sends no more before the response, so no byte is lost.
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

/// The status for a request that is rejected; `None` if it is accepted.
fn rejection(head: &[u8]) -> Option<&'static str> {
    let head = String::from_utf8_lossy(head);
    let headers = head.lines().filter_map(|line| line.split_once(": "));
    let mut users = headers.filter(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization"));
    let known = format!("Basic {}", BASE64_STANDARD.encode(PROXY_USER));
    if users.any(|(_, user)| user != known) {
        return Some("407 Proxy Authentication Required");
    }
    let is_known_host =
        HOSTS.iter().any(|host| head.starts_with(&format!("CONNECT {host}:443 HTTP/1.1\r\n")));
    if is_known_host { None } else { Some("403 Forbidden") }
}
