//! The client for calls that may spend a token, over reqwest. Each call has a time limit and its
//! own connection: a kept connection that has died unnoticed would make the result of a refresh
//! unknown.

use std::{error::Error, sync::OnceLock, time::Duration};

use http::Method;
use reqwest::{Client, ClientBuilder, RequestBuilder, redirect, retry};
use url::Url;

use super::{
    addresses::{PublicAddresses, is_private},
    current::Current,
    proxy,
    settings::{KEEPALIVE, Network, NetworkError, ResolvedNetwork},
};
use crate::{ProviderError, provider::is_loopback};

/// The HTTP clients: one for remote hosts, one for this machine, which uses no proxy, and one for
/// discovery.
#[derive(Clone, Debug)]
pub(crate) struct ProviderClient(Current<Clients>);

#[derive(Debug)]
struct Clients {
    network: ResolvedNetwork,
    remote: OnceLock<Client>,
    loopback: OnceLock<Client>,
    /// For discovery that began at a public address: connects to public addresses only.
    public: OnceLock<Client>,
}

/// The hosts that a client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hosts {
    Remote,
    Loopback,
    Public,
}

impl ProviderClient {
    /// A client for this network. The CA file is read and the proxy's URL parsed now.
    pub(crate) fn new(network: Network) -> Result<Self, NetworkError> {
        Clients::new(network).map(Current::new).map(Self)
    }

    /// Replaces the clients: with this network, and the certificates that are on disk now. An
    /// error changes nothing.
    pub(crate) fn reload(&self, network: Network) -> Result<(), NetworkError> {
        self.0.replace(Clients::new(network)?);
        Ok(())
    }

    /// Whether the CA certificates on disk have changed since they were loaded.
    pub(crate) fn is_outdated(&self) -> bool {
        self.0.get().network.is_outdated()
    }

    /// A request, on the client for its host.
    pub(crate) fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, ProviderError> {
        let clients = self.0.get();
        let url = Url::parse(url).map_err(|error| clients.network.failure(&error, true))?;
        let hosts = if is_loopback(&url) { Hosts::Loopback } else { Hosts::Remote };
        Ok(clients.client(hosts)?.request(method, url))
    }

    /// A request that must not reach a private address. A proxy connects by its own rules.
    pub(crate) fn request_public(&self, method: Method, url: &Url) -> Result<RequestBuilder, ProviderError> {
        let clients = self.0.get();
        let hosts = if clients.is_proxied(url) { Hosts::Remote } else { Hosts::Public };
        Ok(clients.client(hosts)?.request(method, url.clone()))
    }

    /// A request to a server that discovery found. With `public_only`, it must not reach a private
    /// address.
    pub(crate) fn request_within(
        &self,
        public_only: bool,
        method: Method,
        url: &str,
    ) -> Result<RequestBuilder, ProviderError> {
        let parsed = Url::parse(url).ok().filter(|_| public_only);
        match parsed {
            Some(url) if is_private(&url) => {
                let detail = "a public server named a private address, which is refused".to_owned();
                Err(ProviderError::NotSent { detail })
            }
            Some(url) => self.request_public(method, &url),
            None => self.request(method, url),
        }
    }

    /// Whether requests to this URL go through a proxy, which looks up the host's address.
    pub(crate) fn is_proxied(&self, url: &Url) -> bool {
        self.0.get().is_proxied(url)
    }

    /// The time limit of a call.
    pub(crate) fn timeout(&self) -> Duration {
        self.0.get().network.network.timeout
    }

    /// The error of a failed request.
    pub(crate) fn failure(&self, error: reqwest::Error) -> ProviderError {
        let is_unsent = error.is_connect() || error.is_builder();
        self.0.get().network.failure(&error.without_url(), is_unsent)
    }

    /// The error of a response that broke off: the request was sent.
    pub(crate) fn response_failure(&self, error: reqwest::Error) -> ProviderError {
        self.0.get().network.failure(&error.without_url(), false)
    }

    /// The proxy and the CA in use, as text.
    pub(crate) fn egress_summary(&self) -> String {
        self.0.get().network.network.summary()
    }
}

impl Clients {
    fn new(network: Network) -> Result<Self, NetworkError> {
        let network = ResolvedNetwork::new(network)?;
        let [remote, loopback, public] = [const { OnceLock::new() }; 3];
        Ok(Self { network, remote, loopback, public })
    }

    fn client(&self, hosts: Hosts) -> Result<&Client, ProviderError> {
        let slot = match hosts {
            Hosts::Remote => &self.remote,
            Hosts::Loopback => &self.loopback,
            Hosts::Public => &self.public,
        };
        self.network.get_or_build(slot, || self.build(hosts))
    }

    fn is_proxied(&self, url: &Url) -> bool {
        let uri = url.as_str().parse();
        !is_loopback(url)
            && uri.is_ok_and(|uri| proxy::matcher(self.network.proxy.as_ref()).intercept(&uri).is_some())
    }

    fn build(&self, hosts: Hosts) -> Result<Client, Box<dyn Error>> {
        let Network { connect_timeout, timeout, .. } = &self.network.network;
        let (idle, interval, retries) = KEEPALIVE;
        let builder = ClientBuilder::new()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .https_only(hosts != Hosts::Loopback)
            .connect_timeout(*connect_timeout)
            .tcp_keepalive(idle)
            .tcp_keepalive_interval(interval)
            .tcp_keepalive_retries(retries)
            .timeout(*timeout)
            .pool_max_idle_per_host(0);
        let builder = match (hosts, &self.network.proxy) {
            (Hosts::Loopback, _) => builder.no_proxy(),
            (Hosts::Public, _) => builder.no_proxy().dns_resolver(PublicAddresses),
            (Hosts::Remote, Some(proxy)) => builder.proxy(proxy::for_reqwest(proxy)?),
            (Hosts::Remote, None) => builder,
        };
        Ok(builder.tls_backend_preconfigured(self.network.tls()?).build()?)
    }
}
