//! The end of a share closes every kind of connection through its door, and those to the upstream,
//! but none of another share.

use std::time::{Duration, Instant};

use authd_sandbox::test_daemon::TestDaemon;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    doors::{ClientStream, Door},
    helpers::sandbox,
    share_client::{Holder, both},
    upstream::{PROFILE, Upstream, read_head, read_until},
};

/// Longest time until all connections are closed. A share closes them at once, and a shutdown after
/// a second; the rest is for a busy machine.
const LIMIT: Duration = Duration::from_secs(5);

/// Lifetime in seconds of a share that ends by itself.
const TTL: u64 = 3;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";

/// Open connections through a door, with the upstream's ends of those that have one.
struct Connections {
    idle: ClientStream,
    busy: Vec<(ClientStream, TcpStream)>,
    stream: (ClientStream, TcpStream),
    tunnel: (ClientStream, TcpStream),
}

impl Connections {
    async fn open(door: &Door, upstream: &Upstream) -> Self {
        let exchange = async |method: &str, fields: &[&str]| {
            let client = door.send_head(method, "anything", fields).await;
            (client, upstream.next_request().await.0)
        };
        let (mut idle, mut server) = exchange("GET", &[]).await;
        server.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(read_head(&mut idle).await.starts_with("http/1.1 204"));
        let mut stream = exchange("GET", &[]).await;
        stream.1.write_all(OK).await.unwrap();
        read_until(&mut stream.0, b"one\r\n").await;
        let waiting = exchange("GET", &[]).await;
        let mut uploading = exchange("POST", &["Content-Length: 100"]).await;
        uploading.0.write_all(b"first").await.unwrap();
        read_until(&mut uploading.1, b"first").await;
        let tunnel = upstream.tunnel(door).await;
        Self { idle, busy: vec![waiting, uploading], stream, tunnel }
    }

    /// Waits until every client has read the end, and every upstream.
    async fn expect_closed(self) {
        let Self { idle, busy, stream, tunnel } = self;
        let (mut clients, mut servers): (Vec<_>, Vec<_>) = busy.into_iter().chain([stream, tunnel]).unzip();
        clients.push(idle);
        let mut rest = Vec::new();
        for client in &mut clients {
            // An error is an end, too.
            client.read_to_end(&mut rest).await.ok();
        }
        for server in &mut servers {
            server.read_to_end(&mut rest).await.ok();
        }
        assert!(!String::from_utf8_lossy(&rest).contains("\r\n0\r\n\r\n"), "a response looks complete");
    }

    /// Checks that each connection can still be used.
    async fn expect_open(mut self, door: &Door, upstream: &Upstream) {
        self.idle.write_all(door.head("GET", "anything", &[]).as_bytes()).await.unwrap();
        upstream.next_request().await.0.write_all(OK).await.unwrap();
        read_until(&mut self.idle, b"one\r\n").await;
        let (client, server) = &mut self.stream;
        server.write_all(b"3\r\ntwo\r\n").await.unwrap();
        read_until(client, b"two\r\n").await;
        let (client, server) = &mut self.tunnel;
        client.write_all(b"ping").await.unwrap();
        assert_eq!(read_until(server, b"ping").await, "ping");
        let [(client, server), _] = &mut self.busy[..] else { panic!("two requests") };
        server.write_all(OK).await.unwrap();
        read_until(client, b"one\r\n").await;
    }
}

/// How a share ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Unshare,
    SignOut,
    Expiry,
    Stop,
}

impl End {
    async fn cause(self, daemon: &mut TestDaemon, shares: &[Holder]) {
        match self {
            Self::Unshare => {
                for share in shares {
                    let path = format!("/v1/shares/{}", share.id());
                    assert_eq!(daemon.request("DELETE", &path, &[], "").await.status.as_u16(), 204);
                }
            }
            Self::SignOut => {
                let reply = daemon.request("DELETE", &format!("/v1/profiles/{PROFILE}"), &[], "").await;
                assert_eq!(reply.status.as_u16(), 204);
            }
            Self::Expiry => {}
            Self::Stop => daemon.signal(rustix::process::Signal::TERM),
        }
    }
}

async fn check(end: End) {
    let (sandbox, upstream) = (sandbox().await, Upstream::start().await);
    let mut daemon = upstream.daemon(&sandbox).await;
    let key = json!({"api_key": "sk-other", "check": false}).to_string();
    daemon.request("PUT", "/v1/profiles/other/api-key", &[], key).await;
    let other = Door::Share(Holder::new(&daemon, json!({"profile": "other", "door": "loopback"})).await);
    let others = Connections::open(&other, &upstream).await;
    let ttl = if end == End::Expiry { TTL } else { 600 };
    let shares = both(&daemon, json!({"profile": PROFILE, "ttl": ttl})).await;
    // Without a request, only the door of one share tells whose connection it is.
    let mut silent = shares[0].connect().await.unwrap();
    let mut half_sent = shares[0].connect().await.unwrap();
    half_sent.write_all(b"GET /v1/profiles/-/relay/anything HTTP/1.1\r\nHost: au").await.unwrap();
    let doors = shares.each_ref().map(|share| Door::Share(share.clone()));
    let mut connections = Vec::new();
    for door in &doors {
        connections.push(Connections::open(door, &upstream).await);
    }
    end.cause(&mut daemon, &shares).await;
    let started = Instant::now();
    if matches!(end, End::Unshare | End::SignOut) {
        // The first request comes too late: not even a refusal is sent.
        silent.write_all(doors[0].head("GET", "anything", &[]).as_bytes()).await.ok();
    }
    for connections in connections {
        connections.expect_closed().await;
    }
    let mut rest = Vec::new();
    for connection in [&mut silent, &mut half_sent] {
        connection.read_to_end(&mut rest).await.ok();
    }
    let limit = if end == End::Expiry { LIMIT + Duration::from_secs(TTL) } else { LIMIT };
    assert!(started.elapsed() < limit, "{end:?}: {:?}", started.elapsed());
    assert!(rest.is_empty() || end == End::Stop, "{}", String::from_utf8_lossy(&rest));
    if end == End::Stop {
        others.expect_closed().await;
        assert!(daemon.wait().await.success());
    } else {
        others.expect_open(&other, &upstream).await;
        let listed = daemon.get("/v1/shares").await;
        assert_eq!(listed["shares"].as_array().unwrap().len(), 1, "{listed}");
    }
}

#[tokio::test]
async fn unshare_closes_every_connection_of_the_share() {
    check(End::Unshare).await;
}

#[tokio::test]
async fn sign_out_closes_every_connection_of_the_share() {
    check(End::SignOut).await;
}

#[tokio::test]
async fn expiry_closes_every_connection_of_the_share() {
    check(End::Expiry).await;
}

#[tokio::test]
async fn stopped_daemon_closes_every_connection_of_every_share() {
    check(End::Stop).await;
}
