//! An upstream of plain bytes, for what a strict provider would never do: the relay as a pipe is looked
//! at from both of its ends.

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use authd_sandbox::{Sandbox, test_daemon::TestDaemon};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

/// Where the relay leads in these tests.
pub(crate) const PATH: &str = "/v1/profiles/own/relay/anything";

/// An upstream that listens, and answers nothing by itself.
pub(crate) struct Upstream(TcpListener);

impl Upstream {
    /// On a free port.
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// A test daemon that takes this for the API, with a key of one's own for it.
    pub(crate) async fn daemon(&self, sandbox: &Sandbox) -> TestDaemon {
        let mut daemon = crate::support::daemon(sandbox).await;
        self.replace(&mut daemon, &sandbox.endpoints().api_base_url).await;
        let key = json!({"api_key": "sk-own"}).to_string();
        assert!(daemon.request("PUT", "/v1/profiles/own/api-key", &[], key).await.status.is_success());
        daemon
    }

    /// Starts the daemon anew, with this in the place of that base URL.
    pub(crate) async fn replace(&self, daemon: &mut TestDaemon, base_url: &str) {
        let config = fs::read_to_string(daemon.config()).unwrap();
        let here = format!("http://{}/v1", self.address());
        fs::write(daemon.config(), config.replace(base_url, &here)).unwrap();
        daemon.restart().await;
    }

    /// The next connection, as far as the head of its first request.
    pub(crate) async fn asked(&self) -> (TcpStream, String) {
        let (mut stream, _) = self.0.accept().await.unwrap();
        let head = head(&mut stream).await;
        (stream, head)
    }

    /// Both ends of a connection that was switched: the client's, and the upstream's.
    pub(crate) async fn tunnel(&self, daemon: &TestDaemon) -> (UnixStream, TcpStream) {
        let fields = ["Connection: Upgrade", "Upgrade: websocket"];
        let mut client = say(daemon, &format!("GET {PATH}"), &fields).await;
        let (mut server, asked) = self.asked().await;
        assert!(asked.contains("\r\nupgrade: websocket\r\n"), "{asked}");
        let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        server.write_all(agreed.as_bytes()).await.unwrap();
        let answered = head(&mut client).await;
        assert!(answered.starts_with("http/1.1 101") && answered.contains("\r\nupgrade: websocket\r\n"));
        (client, server)
    }
}

/// A connection to the daemon on which this was said: a request's first line without `HTTP/1.1`, and its
/// fields without `Host`.
pub(crate) async fn say(daemon: &TestDaemon, line: &str, fields: &[&str]) -> UnixStream {
    let mut stream = UnixStream::connect(daemon.socket()).await.unwrap();
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let head = format!("{line} HTTP/1.1\r\nHost: authd\r\n{fields}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// Everything up to and with the first empty line, in lower case.
pub(crate) async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    until(stream, b"\r\n\r\n").await.to_ascii_lowercase()
}

/// Everything up to and with these bytes, and not one byte more.
pub(crate) async fn until(stream: &mut (impl AsyncReadExt + Unpin), end: &[u8]) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&seen)),
        }
    }
    String::from_utf8(seen).unwrap()
}

/// Returns when the other side is gone; panics at anything it still says.
pub(crate) async fn gone(stream: &mut (impl AsyncReadExt + Unpin)) {
    if let Ok(byte) = stream.read_u8().await {
        panic!("{byte} came, not the end");
    }
}

/// How much went out when no more does. The daemon has one thread: while it answers others, a writer that
/// it does not hold up gets on.
pub(crate) async fn stalled(daemon: &TestDaemon, written: &AtomicUsize) -> usize {
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
