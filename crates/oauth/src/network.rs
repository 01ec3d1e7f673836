//! The way out: HTTP clients with the proxy and the CA in force, and what their errors mean. Clients are
//! made at their first use, so that a daemon nobody asks anything loads no certificates.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::Method;
use reqwest::{
    Certificate, Client, ClientBuilder, NoProxy, Proxy, Request, RequestBuilder, Response, redirect, retry,
};
use url::Url;

use crate::{Failure, provider::is_loopback};

/// How to get out.
#[derive(Clone, PartialEq, Eq)]
pub struct Network {
    /// The proxy; the environment's (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`) where none is named.
    pub proxy: Option<String>,
    /// A file of CA certificates (PEM) to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a whole call to the provider may take; relayed requests may take longer.
    pub timeout: Duration,
}

/// A way out that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Mend `network.ca_file`.
    #[error("the CA file {} cannot be used: {detail}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// Mend `network.proxy`.
    #[error("the proxy cannot be used: {0}")]
    Proxy(String),
}

impl std::fmt::Debug for Network {
    /// Without the proxy's password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Network {}", self.in_force())
    }
}

/// What a pair of clients is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Calls that may spend a token: bounded in time, and each on a connection of its own, so that a
    /// kept connection that has died unnoticed never makes a refresh ambiguous.
    Calls,
    /// Relayed requests: as long as they take, on kept connections.
    Relay,
}

/// Two clients: one for the world, and one for this machine, which no proxy comes between.
#[derive(Clone, Debug)]
pub struct Http(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    network: Network,
    purpose: Purpose,
    certificates: Vec<Certificate>,
    world: OnceLock<Client>,
    loopback: OnceLock<Client>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            proxy: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
        }
    }
}

impl Network {
    /// What a failed request means for whoever sent it.
    pub fn failure(&self, error: reqwest::Error) -> Failure {
        let unsent = error.is_connect() || error.is_builder();
        let detail = format!("{} {}", chain(&error.without_url()), self.in_force());
        if unsent { Failure::Unsent { detail } } else { Failure::Unanswered { detail } }
    }

    /// The proxy and the CA in force, in brackets: half of all network trouble is one of them.
    pub(crate) fn in_force(&self) -> String {
        let variable =
            |names: &[&str]| names.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
        let proxy = self
            .proxy
            .clone()
            .or_else(|| variable(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]));
        let proxy =
            proxy.map_or_else(|| "no proxy".to_owned(), |proxy| format!("proxy {}", without_user(&proxy)));
        let ca = match (&self.ca_file, variable(&["SSL_CERT_FILE"])) {
            (Some(file), _) => format!("CA file {} and the system's", file.display()),
            (None, Some(file)) => format!("CA file {file} (SSL_CERT_FILE)"),
            (None, None) => "the system's CAs".to_owned(),
        };
        format!("({proxy}, {ca})")
    }
}

impl Http {
    /// Clients for this purpose; the CA file is read and the proxy checked now.
    pub fn new(network: Network, purpose: Purpose) -> Result<Self, NetworkError> {
        let certificates = network.ca_file.as_deref().map(certificates).transpose()?.unwrap_or_default();
        if let Some(proxy) = &network.proxy {
            Proxy::all(proxy).map_err(|error| NetworkError::Proxy(chain(&error.without_url())))?;
        }
        let (world, loopback) = (OnceLock::new(), OnceLock::new());
        Ok(Self(Arc::new(Inner { network, purpose, certificates, world, loopback })))
    }

    /// A request, by the client that its URL wants.
    pub fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, Failure> {
        let url = self.url(url)?;
        Ok(self.client(&url)?.request(method, url))
    }

    /// Sends a request that is there already, by the client that its URL wants.
    pub async fn send(&self, request: Request) -> Result<Response, Failure> {
        let client = self.client(request.url())?;
        client.execute(request).await.map_err(|error| self.failure(error))
    }

    /// A URL, which is worth parsing only once.
    pub fn url(&self, url: &str) -> Result<Url, Failure> {
        let unsent = |error| Failure::Unsent { detail: format!("{error} {}", self.0.network.in_force()) };
        Url::parse(url).map_err(unsent)
    }

    fn client(&self, url: &Url) -> Result<&Client, Failure> {
        let inner = &*self.0;
        let at_home = is_loopback(url);
        let slot = if at_home { &inner.loopback } else { &inner.world };
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = inner.build(at_home).map_err(|error| self.failure(error))?;
        Ok(slot.get_or_init(|| client))
    }

    /// What a failed request means for whoever sent it.
    pub fn failure(&self, error: reqwest::Error) -> Failure {
        self.0.network.failure(error)
    }

    /// How this machine gets out, for people.
    pub(crate) fn way_out(&self) -> String {
        self.0.network.in_force().trim_matches(['(', ')']).to_owned()
    }
}

impl Inner {
    fn build(&self, at_home: bool) -> Result<Client, reqwest::Error> {
        let Network { proxy, connect_timeout, timeout, .. } = &self.network;
        let base = ClientBuilder::new()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .https_only(!at_home)
            .connect_timeout(*connect_timeout)
            .tcp_keepalive(Duration::from_secs(60));
        let base = match self.purpose {
            Purpose::Calls => base.timeout(*timeout).pool_max_idle_per_host(0),
            Purpose::Relay => base.pool_idle_timeout(Duration::from_secs(55)),
        };
        let base = match proxy {
            _ if at_home => base.no_proxy(),
            Some(proxy) => base.proxy(Proxy::all(proxy)?.no_proxy(NoProxy::from_env())),
            None => base,
        };
        base.tls_certs_merge(self.certificates.iter().cloned()).build()
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, NetworkError> {
    let unusable = |detail: String| NetworkError::CaFile { path: path.to_path_buf(), detail };
    let pem = fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(chain(&error)))?;
    if found.is_empty() { Err(unusable("it holds no certificate".to_owned())) } else { Ok(found) }
}

/// An error and its causes: the last one is the one that tells.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}

/// A proxy's URL without the user's name and password.
fn without_user(proxy: &str) -> String {
    match proxy.rsplit_once('@') {
        Some((before, host)) => {
            let scheme = before.split_once("://").map_or("", |(scheme, _)| scheme);
            if scheme.is_empty() { host.to_owned() } else { format!("{scheme}://{host}") }
        }
        None => proxy.to_owned(),
    }
}
