//! A client of the doors of shares.

use std::{fmt::Debug, io, path::PathBuf, time::Duration};

use authd_sandbox::test_daemon::{Reply, TestDaemon, send_on};
use bytes::Bytes;
use http::{HeaderName, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// A share as its holder has it.
#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) share: Value,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Debug + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Debug + Send + Unpin> Stream for S {}

impl Holder {
    /// Makes a share of a daemon.
    pub(crate) async fn new(daemon: &TestDaemon, body: Value) -> Self {
        Self { share: daemon.post("/v1/shares", body).await }
    }

    pub(crate) fn id(&self) -> &str {
        self.share["id"].as_str().unwrap()
    }

    pub(crate) fn key(&self) -> &str {
        self.share["key"].as_str().unwrap_or_default()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.share["socket"].as_str().unwrap().into()
    }

    /// The address of a loopback share.
    pub(crate) fn address(&self) -> String {
        let url = self.share["url"].as_str().unwrap();
        url.strip_prefix("http://").unwrap().strip_suffix("/v1").unwrap().to_owned()
    }

    pub(crate) fn is_loopback(&self) -> bool {
        self.share["door"] == "loopback"
    }

    /// Connects to the share's door.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        if self.is_loopback() {
            Ok(Box::new(TcpStream::connect(self.address()).await?))
        } else {
            Ok(Box::new(UnixStream::connect(self.socket()).await?))
        }
    }

    /// The `Host` of the door, and the key if it has one.
    pub(crate) fn credentials(&self) -> Vec<(HeaderName, String)> {
        if self.is_loopback() {
            let key = format!("Bearer {}", self.key());
            vec![(header::HOST, self.address()), (header::AUTHORIZATION, key)]
        } else {
            vec![(header::HOST, "authd".to_owned())]
        }
    }

    /// Sends a request with the share's own `Host` and key. A header in `headers` replaces its own;
    /// an empty value removes it.
    pub(crate) async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> io::Result<Response<Incoming>> {
        let body = body.into();
        let mut request = Request::builder().method(method).uri(path).body(Full::new(body.clone())).unwrap();
        let mut own = self.credentials();
        if !body.is_empty() {
            own.push((header::CONTENT_TYPE, "application/json".into()));
        }
        for (name, value) in own {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        for (name, value) in headers {
            let name: header::HeaderName = name.parse().unwrap();
            request.headers_mut().remove(&name);
            if !value.is_empty() {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        send_on(self.connect().await?, request).await
    }

    /// Sends a request and reads its whole response.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let exchange = async {
            let (head, body) = self.open(method, path, headers, body).await.unwrap().into_parts();
            Reply {
                status: head.status,
                headers: head.headers,
                body: body.collect().await.unwrap().to_bytes(),
            }
        };
        tokio::time::timeout(Duration::from_secs(60), exchange).await.unwrap()
    }

    /// The status of a request for the models through the relay.
    pub(crate) async fn models(&self) -> u16 {
        self.send("GET", &self.relay("models?client_version=0.34.0"), &[], "").await.status.as_u16()
    }

    /// A path of the relay.
    pub(crate) fn relay(&self, path: &str) -> String {
        if self.is_loopback() { format!("/v1/{path}") } else { format!("/v1/profiles/-/relay/{path}") }
    }
}

/// A share of each door.
pub(crate) async fn both(daemon: &TestDaemon, body: Value) -> [Holder; 2] {
    let with_door = |door: &str| {
        let mut body = body.clone();
        body["door"] = json!(door);
        body
    };
    [Holder::new(daemon, with_door("socket")).await, Holder::new(daemon, with_door("loopback")).await]
}
