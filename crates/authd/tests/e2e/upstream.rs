//! An upstream that sends and receives plain bytes, for cases that the strict sandbox does not
//! allow, and functions for the client's end of the connection.

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

use crate::{
    doors::{ClientStream, Door},
    helpers::AUTHD,
};

/// The relayed path of these tests.
pub(crate) const PATH: &str = "/v1/profiles/own/relay/anything";

/// The profile of [`Upstream::daemon`].
pub(crate) const PROFILE: &str = "own";

/// An upstream that listens on a port. The test reads the requests and writes the responses.
pub(crate) struct Upstream(TcpListener);

impl Upstream {
    /// Listens on a free port.
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// A test daemon with an own API key. This upstream replaces the API.
    pub(crate) async fn daemon(&self, sandbox: &Sandbox) -> TestDaemon {
        let mut daemon = crate::helpers::daemon(sandbox).await;
        self.replace_endpoint(&mut daemon, &sandbox.endpoints().api_base_url).await;
        let key = json!({"api_key": "sk-own", "check": false}).to_string();
        assert!(daemon.request("PUT", "/v1/profiles/own/api-key", &[], key).await.status.is_success());
        daemon
    }

    /// A test daemon with one login, `default`. This upstream replaces the ChatGPT backend.
    pub(crate) async fn signed_in_daemon(&self, sandbox: &Sandbox) -> TestDaemon {
        let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox).store("file")).await;
        daemon.sign_in("default", "plus").await;
        self.replace_endpoint(&mut daemon, &sandbox.endpoints().chatgpt_base_url).await;
        daemon
    }

    /// Restarts the daemon with this upstream instead of the base URL.
    pub(crate) async fn replace_endpoint(&self, daemon: &mut TestDaemon, base_url: &str) {
        let config = fs::read_to_string(daemon.config()).unwrap();
        let own_url = format!("http://{}/v1", self.address());
        fs::write(daemon.config(), config.replace(base_url, &own_url)).unwrap();
        daemon.restart().await;
    }

    /// Accepts a connection, and reads the head of its first request.
    pub(crate) async fn next_request(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let head = read_head(&mut stream).await;
        (stream, head)
    }

    /// Upgrades a connection. Returns the client's and the upstream's end.
    pub(crate) async fn tunnel(&self, door: &Door) -> (ClientStream, TcpStream) {
        let fields = ["Connection: Upgrade", "Upgrade: websocket"];
        let mut client = door.send_head("GET", "anything", &fields).await;
        let (mut server, request) = self.next_request().await;
        assert!(request.contains("\r\nupgrade: websocket\r\n"), "{request}");
        let response =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        server.write_all(response.as_bytes()).await.unwrap();
        let head = read_head(&mut client).await;
        assert!(head.starts_with("http/1.1 101") && head.contains("\r\nupgrade: websocket\r\n"));
        (client, server)
    }
}

/// Connects to the daemon and sends the head of a request. The line is without `HTTP/1.1`, the
/// fields are without `Host`.
pub(crate) async fn send_head(daemon: &TestDaemon, line: &str, fields: &[&str]) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).await.unwrap();
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let head = format!("{line} HTTP/1.1\r\nHost: authd\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Reads up to and including the first empty line. Returns it in lower case.
pub(crate) async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    read_until(stream, b"\r\n\r\n").await.to_ascii_lowercase()
}

/// Reads up to and including these bytes, and no byte more.
pub(crate) async fn read_until(stream: &mut (impl AsyncReadExt + Unpin), end: &[u8]) -> String {
    let mut received = Vec::new();
    while !received.ends_with(end) {
        match stream.read_u8().await {
            Ok(byte) => received.push(byte),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&received)),
        }
    }
    String::from_utf8(received).unwrap()
}

/// Waits for the end of the connection. Panics if a byte arrives.
pub(crate) async fn expect_closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    if let Ok(byte) = stream.read_u8().await {
        panic!("received {byte}, not the end");
    }
}

/// Waits until a writer stalls, and returns the bytes that it wrote. The daemon has one thread:
/// while it serves other requests, a writer without backpressure makes progress.
pub(crate) async fn wait_until_stalled(daemon: &TestDaemon, written: &AtomicUsize) -> usize {
    loop {
        let before = written.load(Ordering::Relaxed);
        for _ in 0..40 {
            daemon.get("/v1/status").await;
        }
        if before > 0 && written.load(Ordering::Relaxed) == before {
            return before;
        }
    }
}
