//! The ways to the relay of a profile: the socket of the daemon, and both doors of a share. The
//! tests of the relay run over all three, because there is one relay.

use std::{io, path::PathBuf};

use authd_sandbox::test_daemon::{Reply, TestDaemon, send_on};
use bytes::Bytes;
use http::{HeaderName, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::UnixStream};

use crate::share_client::{Holder, Stream, both};

/// A connection of a client.
pub(crate) type ClientStream = Box<dyn Stream>;

/// A way to the relay of a profile.
pub(crate) enum Door {
    /// The socket of the daemon.
    Daemon { socket: PathBuf, profile: String },
    /// The door of a share.
    Share(Holder),
}

/// All doors to the relay of a profile. Each door is printed before it is used, so that the output
/// of a failed test names it.
#[expect(clippy::print_stdout, reason = "a passed test shows no output")]
pub(crate) async fn doors(daemon: &TestDaemon, profile: &str) -> impl Iterator<Item = Door> {
    let own = Door::daemon(daemon, profile);
    let [socket, loopback] = both(daemon, json!({"profile": profile})).await;
    [own, Door::Share(socket), Door::Share(loopback)]
        .into_iter()
        .inspect(|door| println!("door: {}", door.relay("")))
}

impl Door {
    /// The socket of the daemon.
    pub(crate) fn daemon(daemon: &TestDaemon, profile: &str) -> Self {
        Self::Daemon { socket: daemon.socket(), profile: profile.to_owned() }
    }

    /// The one test that needs it runs on Linux only.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_loopback(&self) -> bool {
        matches!(self, Self::Share(share) if share.is_loopback())
    }

    /// A path of the relay.
    pub(crate) fn relay(&self, path: &str) -> String {
        match self {
            Self::Daemon { profile, .. } => format!("/v1/profiles/{profile}/relay/{path}"),
            Self::Share(share) => share.relay(path),
        }
    }

    /// The headers that every request needs.
    pub(crate) fn credentials(&self) -> Vec<(HeaderName, String)> {
        match self {
            Self::Daemon { .. } => vec![(header::HOST, "authd".to_owned())],
            Self::Share(share) => share.credentials(),
        }
    }

    pub(crate) async fn connect(&self) -> io::Result<ClientStream> {
        match self {
            Self::Daemon { socket, .. } => Ok(Box::new(UnixStream::connect(socket).await?)),
            Self::Share(share) => share.connect().await,
        }
    }

    /// Sends a request with a JSON body to a path of the relay, and returns the response with its
    /// body as a stream.
    pub(crate) async fn open(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        let mut request = Request::builder().method(method).uri(self.relay(path));
        for (name, value) in self.credentials() {
            request = request.header(name, value);
        }
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = request.body(Full::new(body.into())).unwrap();
        send_on(self.connect().await.unwrap(), request).await.unwrap()
    }

    /// Sends a request as [`Door::open`] does, and reads its whole response.
    pub(crate) async fn send(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Reply {
        let (head, body) = self.open(method, path, body).await.into_parts();
        Reply { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    /// Connects, and sends the head of a request to a path of the relay with these fields.
    pub(crate) async fn send_head(&self, method: &str, path: &str, fields: &[&str]) -> ClientStream {
        let mut stream = self.connect().await.unwrap();
        stream.write_all(self.head(method, path, fields).as_bytes()).await.unwrap();
        stream
    }

    /// The head of a request to a path of the relay with these fields.
    pub(crate) fn head(&self, method: &str, path: &str, fields: &[&str]) -> String {
        let own = self.credentials().into_iter().map(|(name, value)| format!("{name}: {value}"));
        let fields: String = own.chain(fields.iter().map(ToString::to_string)).map(|f| f + "\r\n").collect();
        format!("{method} {} HTTP/1.1\r\n{fields}\r\n", self.relay(path))
    }
}
