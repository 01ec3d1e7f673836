//! Relayed requests, over the client that reqwest is built on: as long as they take, on kept connections.
//! Nothing is followed, decoded, put in or sent twice, but for what is sent anew on another connection because
//! the kept one was closed before anything of it was sent.
//!
//! Who may be spoken to is decided where a connection is made. A request goes out on none but a connection to
//! the scheme, host and port of its own URL, so that nothing gets past that decision.

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
use url::Url;

use super::{KEEPALIVE, Network, NetworkError, ResolvedNetwork};
use crate::{ProviderError, provider::is_this_machine};

/// How long a connection is kept that nobody uses. Servers and what is before them commonly take 60 s.
const IDLE: Duration = Duration::from_secs(55);

/// How long the other side may leave unacknowledged what was sent to it.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

type BoxError = Box<dyn Error + Send + Sync>;

/// Sends relayed requests with bodies of one kind; a cheap handle.
pub struct Upstream<B>(Arc<Inner<B>>);

struct Inner<B> {
    way: ResolvedNetwork,
    client: OnceLock<Client<Connector, B>>,
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
    /// A client for this network; the CA file is read and the proxy checked now.
    pub fn new(network: Network) -> Result<Self, NetworkError> {
        let (way, client) = (ResolvedNetwork::new(network)?, OnceLock::new());
        Ok(Self(Arc::new(Inner { way, client })))
    }

    /// Where a request goes. What cannot be a URI is never sent.
    pub fn uri(&self, url: String) -> Result<Uri, ProviderError> {
        Uri::try_from(url).map_err(|error| self.0.way.network.failure(&error, true))
    }

    /// Sends a request, whose URI is a whole URL, over HTTP/1.1, and returns its answer with the body still to
    /// come. Fails with [`ProviderError::NotSent`] if no connection was made, and else with
    /// [`ProviderError::NoResponse`]. Who stops waiting takes the request back, as far as that can be.
    pub async fn send(&self, request: Request<B>) -> Result<Response<Incoming>, ProviderError> {
        let answer = self.client()?.request(request).await;
        answer.map_err(|error| self.0.way.network.failure(&error, error.is_connect()))
    }

    /// What it means that an answer's connection could not be taken over.
    pub fn not_upgraded(&self, error: &hyper::Error) -> ProviderError {
        self.0.way.network.failure(error, false)
    }

    fn client(&self) -> Result<&Client<Connector, B>, ProviderError> {
        let inner = &*self.0;
        inner.way.first(&inner.client, || Ok(inner.build()?))
    }
}

impl<B> Inner<B>
where
    B: Body + Send,
    B::Data: Send,
{
    fn build(&self) -> Result<Client<Connector, B>, rustls::Error> {
        let tls = self.way.policy()?;
        let patience = self.way.network.connect_timeout;
        // Which protocol follows is agreed on with whom it is spoken to, and not with a proxy before.
        let mut proxy_tls = tls.clone();
        proxy_tls.alpn_protocols.clear();
        let ways = Connectors {
            tcp: tcp(patience),
            tls: Arc::new(tls),
            proxy_tls: Arc::new(proxy_tls),
            proxies: proxies(self.way.proxy.as_ref()),
            patience,
        };
        Ok(Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(Connector(Arc::new(ways))))
    }
}

/// The proxies in force: the one that is named, or else the environment's, or the system's.
fn proxies(named: Option<&Url>) -> Matcher {
    let variable = |name| std::env::var(name).ok();
    match named {
        Some(proxy) => {
            let not_for = variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default();
            Matcher::builder().all(proxy.as_str()).no(not_for).build()
        }
        None => Matcher::from_system(),
    }
}

fn tcp(patience: Duration) -> HttpConnector {
    let (quiet, interval, retries) = KEEPALIVE;
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(patience));
    tcp.set_keepalive(Some(quiet));
    tcp.set_keepalive_interval(Some(interval));
    tcp.set_keepalive_retries(Some(retries));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}

/// A connection, perhaps encrypted: straight to its destination, or to a proxy and once more within.
type Stream = MaybeHttpsStream<MaybeHttpsStream<TokioIo<TcpStream>>>;

/// Makes connections. It is copied for every request, whether or not that needs a new one.
#[derive(Clone)]
struct Connector(Arc<Connectors>);

struct Connectors {
    tcp: HttpConnector,
    tls: Arc<ClientConfig>,
    proxy_tls: Arc<ClientConfig>,
    proxies: Matcher,
    patience: Duration,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let ways = self.0.clone();
        Box::pin(async move {
            let connected = tokio::time::timeout(ways.patience, ways.connect(to)).await;
            connected.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
        })
    }
}

impl Connectors {
    async fn connect(&self, to: Uri) -> Result<Stream, BoxError> {
        match Route::to(&to, &self.proxies)? {
            Route::Straight => {
                let mut straight = HttpsConnector::from((self.tcp.clone(), self.tls.clone()));
                Ok(MaybeHttpsStream::Http(straight.call(to).await?))
            }
            Route::Through(proxy) => {
                let to_proxy = HttpsConnector::from((self.tcp.clone(), self.proxy_tls.clone()));
                let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
                if let Some(auth) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(auth.clone());
                }
                HttpsConnector::from((tunnel, self.tls.clone())).call(to).await
            }
        }
    }
}

/// How a destination is reached.
#[derive(Debug)]
enum Route {
    /// Without a proxy.
    Straight,
    /// Through a proxy that joins us with it.
    Through(Intercept),
}

/// A destination that would be told a secret in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only this machine is spoken to without TLS")]
struct PlaintextRefused;

impl Route {
    /// The way to this URL's host. This machine is reached without anybody between, and all others with TLS.
    fn to(url: &Uri, proxies: &Matcher) -> Result<Self, PlaintextRefused> {
        if url.host().is_some_and(is_this_machine) {
            return Ok(Self::Straight);
        }
        if url.scheme() != Some(&Scheme::HTTPS) {
            return Err(PlaintextRefused);
        }
        Ok(proxies.intercept(url).map_or(Self::Straight, Self::Through))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The proxy on the way to this URL, if there is one.
    fn route(url: &str, proxies: &Matcher) -> Result<Option<String>, PlaintextRefused> {
        Ok(match Route::to(&url.parse().unwrap(), proxies)? {
            Route::Straight => None,
            Route::Through(proxy) => Some(proxy.uri().to_string()),
        })
    }

    #[test]
    fn this_machine_is_reached_straight_and_the_world_through_the_proxy() {
        let proxy = Matcher::builder().all("http://me:secret@proxy.example:3128").no("near.example").build();
        let through = Ok(Some("http://proxy.example:3128/".to_owned()));
        for there in ["https://chatgpt.com/x", "https://localhost.example/", "https://128.0.0.1/"] {
            assert_eq!(route(there, &proxy), through, "{there}");
        }
        for straight in [
            "https://near.example/x",
            "https://api.near.example/",
            "http://localhost:1/x",
            "http://LOCALHOST/",
            "https://localhost/",
            "http://127.0.0.1:8/",
            "http://[::1]:8/",
        ] {
            assert_eq!(route(straight, &proxy), Ok(None), "{straight}");
        }
        assert_eq!(route("https://chatgpt.com/", &Matcher::builder().build()), Ok(None));
    }

    #[test]
    fn nobody_else_is_spoken_to_in_the_clear() {
        let proxy = Matcher::builder().all("http://proxy.example").no("near.example").build();
        for clear in [
            "http://chatgpt.com/",
            "http://near.example/",
            "http://localhost.example/",
            "http://localhost./",
            // A URL's parser writes this as 127.0.0.1; who resolves it as a name may come to anything.
            "http://127.1/",
            "http://127.0.0.1.example/",
            "http://localhost@chatgpt.com/",
            "ftp://chatgpt.com/",
            "/x",
        ] {
            assert_eq!(route(clear, &proxy), Err(PlaintextRefused), "{clear}");
        }
    }

    #[test]
    fn a_proxy_that_wants_a_name_is_told_it_and_nobody_else() {
        let named = Url::parse("http://me:a%40b@proxy.example:3128").unwrap();
        let proxy = proxies(Some(&named)).intercept(&Uri::from_static("https://chatgpt.com/")).unwrap();
        assert_eq!(proxy.uri(), "http://proxy.example:3128/");
        // base64 of `me:a@b`.
        let auth = proxy.basic_auth().unwrap();
        assert!(auth == "Basic bWU6YUBi" && auth.is_sensitive());
        assert!(!format!("{proxy:?}").contains("bWU6"));
    }
}
