//! The client for relayed requests, over hyper's client, on which reqwest is built. It has no time
//! limit and keeps connections. It follows no redirects, decodes nothing and adds nothing. It
//! repeats a request only if a kept connection was closed before any part of the request was sent.
//!
//! The connector decides which hosts may be contacted. A request is only sent on a connection to
//! the scheme, host and port of its own URL, so that it cannot bypass that decision.

use std::{
    error::Error,
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, Uri, uri::Scheme};
use hyper::body::{Body, Incoming};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::{
        legacy::{
            Client,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::Service;

use super::{
    current::Current,
    proxy,
    settings::{KEEPALIVE, Network, NetworkError, ResolvedNetwork},
};
use crate::{ProviderError, provider::is_this_machine};

/// How long an idle connection is kept. Servers and load balancers commonly close it after 60 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// Longest head of a response, and most data that is read at once, in bytes.
const BUFFER: usize = 64 << 10;

/// How long sent data may stay unacknowledged.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

type BoxError = Box<dyn Error + Send + Sync>;

/// The client for relayed requests with bodies of type `B`. A clone is cheap.
pub struct Upstream<B>(Current<UpstreamClient<B>>);

struct UpstreamClient<B> {
    network: ResolvedNetwork,
    client: OnceLock<Client<Connector, B>>,
}

impl<B> UpstreamClient<B> {
    fn new(network: Network) -> Result<Self, NetworkError> {
        Ok(Self { network: ResolvedNetwork::new(network)?, client: OnceLock::new() })
    }
}

impl<B> Clone for Upstream<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> Upstream<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// A client for this network. The CA file is read and the proxy's URL parsed now.
    pub fn new(network: Network) -> Result<Self, NetworkError> {
        UpstreamClient::new(network).map(Current::new).map(Self)
    }

    /// Replaces the client: with this network, and the certificates that are on disk now. Requests
    /// and tunnels in progress end on the old one. An error changes nothing.
    pub fn reload(&self, network: Network) -> Result<(), NetworkError> {
        self.0.replace(UpstreamClient::new(network)?);
        Ok(())
    }

    /// Whether the CA certificates on disk have changed since they were loaded.
    pub fn is_outdated(&self) -> bool {
        self.0.get().network.is_outdated()
    }

    /// Parses the URL of a request. The error is [`ProviderError::NotSent`].
    pub fn uri(&self, url: String) -> Result<Uri, ProviderError> {
        Uri::try_from(url).map_err(|error| self.0.get().network.failure(&error, true))
    }

    /// Sends a request, whose URI is a full URL, over HTTP/1.1. Returns the response before its
    /// body has arrived. The error is [`ProviderError::NotSent`] if no connection was made, and
    /// [`ProviderError::NoResponse`] otherwise. Dropping the future cancels the request.
    pub async fn send(&self, request: Request<B>) -> Result<Response<Incoming>, ProviderError> {
        let current = self.0.get();
        let UpstreamClient { network, client } = &*current;
        let client = network.get_or_build(client, || Ok(build(network)?))?;
        let response = client.request(request).await;
        response.map_err(|error| network.failure(&error, error.is_connect()))
    }

    /// The error of a connection upgrade that failed.
    pub fn not_upgraded(&self, error: &hyper::Error) -> ProviderError {
        self.0.get().network.failure(error, false)
    }
}

fn build<B>(network: &ResolvedNetwork) -> Result<Client<Connector, B>, rustls::Error>
where
    B: Body + Send,
    B::Data: Send,
{
    let tls = network.tls()?;
    let connect_timeout = network.network.connect_timeout;
    // The application protocol is negotiated with the destination, not with a proxy before it.
    let mut proxy_tls = tls.clone();
    proxy_tls.alpn_protocols.clear();
    let connectors = Connectors {
        tcp: tcp(connect_timeout),
        tls: Arc::new(tls),
        proxy_tls: Arc::new(proxy_tls),
        proxies: proxy::matcher(network.proxy.as_ref()),
        connect_timeout,
    };
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .http1_max_buf_size(BUFFER)
        .build(Connector(Arc::new(connectors))))
}

fn tcp(connect_timeout: Duration) -> HttpConnector {
    let (idle, interval, retries) = KEEPALIVE;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    tcp.set_keepalive(Some(idle));
    tcp.set_keepalive_interval(Some(interval));
    tcp.set_keepalive_retries(Some(retries));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(USER_TIMEOUT));
    tcp
}

/// A connection, with or without TLS: to the destination, or to a proxy and through it.
type Stream = MaybeHttpsStream<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// Makes connections. hyper clones it for every request.
#[derive(Clone)]
struct Connector(Arc<Connectors>);

struct Connectors {
    tcp: HttpConnector,
    tls: Arc<ClientConfig>,
    proxy_tls: Arc<ClientConfig>,
    proxies: Matcher,
    connect_timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let connectors = self.0.clone();
        Box::pin(async move {
            let connect = connectors.connect(destination);
            let connected = tokio::time::timeout(connectors.connect_timeout, connect).await;
            connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        })
    }
}

impl Connectors {
    async fn connect(&self, destination: Uri) -> Result<Stream, BoxError> {
        let Some(proxy) = proxy_for(&destination, &self.proxies)? else {
            let mut direct = HttpsConnector::from((self.tcp.clone(), self.tls.clone()));
            return Ok(MaybeHttpsStream::Http(direct.call(destination).await?));
        };
        let to_proxy = HttpsConnector::from((self.tcp.clone(), self.proxy_tls.clone()));
        let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        HttpsConnector::from((tunnel, self.tls.clone())).call(destination).await
    }
}

/// A remote destination without TLS: secrets would be sent in plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection without TLS is only made to this machine")]
struct PlaintextRefused;

/// The proxy for a URL, if any. This machine is contacted without a proxy, all others with TLS.
fn proxy_for(url: &Uri, proxies: &Matcher) -> Result<Option<Intercept>, PlaintextRefused> {
    if url.host().is_some_and(is_this_machine) {
        return Ok(None);
    }
    if url.scheme() != Some(&Scheme::HTTPS) {
        return Err(PlaintextRefused);
    }
    Ok(proxies.intercept(url))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    /// The proxy for this URL, if any.
    fn route(url: &str, proxies: &Matcher) -> Result<Option<String>, PlaintextRefused> {
        let proxy = proxy_for(&url.parse().unwrap(), proxies)?;
        Ok(proxy.map(|proxy| proxy.uri().to_string()))
    }

    #[test]
    fn this_machine_is_contacted_directly_and_others_through_the_proxy() {
        let proxy = Matcher::builder().all("http://me:secret@proxy.example:3128").no("near.example").build();
        let proxied = Ok(Some("http://proxy.example:3128/".to_owned()));
        for remote in ["https://chatgpt.com/x", "https://localhost.example/", "https://128.0.0.1/"] {
            assert_eq!(route(remote, &proxy), proxied, "{remote}");
        }
        for direct in [
            "https://near.example/x",
            "https://api.near.example/",
            "http://localhost:1/x",
            "http://LOCALHOST/",
            "https://localhost/",
            "http://127.0.0.1:8/",
            "http://[::1]:8/",
        ] {
            assert_eq!(route(direct, &proxy), Ok(None), "{direct}");
        }
        assert_eq!(route("https://chatgpt.com/", &Matcher::builder().build()), Ok(None));
    }

    #[test]
    fn other_hosts_are_not_contacted_without_tls() {
        let proxy = Matcher::builder().all("http://proxy.example").no("near.example").build();
        for plaintext in [
            "http://chatgpt.com/",
            "http://near.example/",
            "http://localhost.example/",
            "http://localhost./",
            // The URL parser expands this to 127.0.0.1; a name resolver may return any address.
            "http://127.1/",
            "http://127.0.0.1.example/",
            "http://localhost@chatgpt.com/",
            "ftp://chatgpt.com/",
            "/x",
        ] {
            assert_eq!(route(plaintext, &proxy), Err(PlaintextRefused), "{plaintext}");
        }
    }

    #[test]
    fn proxy_receives_its_credentials_and_debug_hides_them() {
        let configured = Url::parse("http://me:a%40b@proxy.example:3128").unwrap();
        let proxy =
            proxy::matcher(Some(&configured)).intercept(&Uri::from_static("https://chatgpt.com/")).unwrap();
        assert_eq!(proxy.uri(), "http://proxy.example:3128/");
        // base64 of `me:a@b`.
        let auth = proxy.basic_auth().unwrap();
        assert!(auth == "Basic bWU6YUBi" && auth.is_sensitive());
        assert!(!format!("{proxy:?}").contains("bWU6"));
    }
}
