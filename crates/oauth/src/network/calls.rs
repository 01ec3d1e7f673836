//! Calls that may spend a token, over reqwest: bounded in time, and each on a connection of its own, so that a
//! kept connection that has died unnoticed never makes a refresh ambiguous.

use std::{
    error::Error,
    sync::{Arc, OnceLock},
};

use http::Method;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, RequestBuilder, redirect, retry};
use url::Url;

use super::{KEEPALIVE, Network, NetworkError, ResolvedNetwork};
use crate::{ProviderError, provider::is_loopback};

/// Two clients: one for the world, and one for this machine, which no proxy comes between.
#[derive(Clone, Debug)]
pub(crate) struct Http(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    way: ResolvedNetwork,
    world: OnceLock<Client>,
    loopback: OnceLock<Client>,
}

impl Http {
    /// Clients for this network; the CA file is read and the proxy checked now.
    pub(crate) fn new(network: Network) -> Result<Self, NetworkError> {
        let (way, world, loopback) = (ResolvedNetwork::new(network)?, OnceLock::new(), OnceLock::new());
        Ok(Self(Arc::new(Inner { way, world, loopback })))
    }

    /// A request, by the client that its URL wants.
    pub(crate) fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, ProviderError> {
        let url = Url::parse(url).map_err(|error| self.0.way.network.failure(&error, true))?;
        Ok(self.client(&url)?.request(method, url))
    }

    fn client(&self, url: &Url) -> Result<&Client, ProviderError> {
        let inner = &*self.0;
        let at_home = is_loopback(url);
        let slot = if at_home { &inner.loopback } else { &inner.world };
        inner.way.first(slot, || inner.build(at_home))
    }

    /// What a failed request means for whoever sent it.
    pub(crate) fn failure(&self, error: reqwest::Error) -> ProviderError {
        let unsent = error.is_connect() || error.is_builder();
        self.0.way.network.failure(&error.without_url(), unsent)
    }

    /// How this machine gets out, for people.
    pub(crate) fn egress_summary(&self) -> String {
        self.0.way.network.in_force().trim_matches(['(', ')']).to_owned()
    }
}

impl Inner {
    fn build(&self, at_home: bool) -> Result<Client, Box<dyn Error>> {
        let Network { connect_timeout, timeout, .. } = &self.way.network;
        let (quiet, interval, retries) = KEEPALIVE;
        let base = ClientBuilder::new()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .https_only(!at_home)
            .connect_timeout(*connect_timeout)
            .tcp_keepalive(quiet)
            .tcp_keepalive_interval(interval)
            .tcp_keepalive_retries(retries)
            .timeout(*timeout)
            .pool_max_idle_per_host(0);
        let base = match &self.way.proxy {
            _ if at_home => base.no_proxy(),
            Some(proxy) => base.proxy(Proxy::all(proxy.as_str())?.no_proxy(NoProxy::from_env())),
            None => base,
        };
        Ok(base.tls_backend_preconfigured(self.way.policy()?).build()?)
    }
}
