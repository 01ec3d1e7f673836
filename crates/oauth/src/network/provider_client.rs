//! The client for calls that may spend a token, over reqwest. Each call has a time limit and its
//! own connection: a kept connection that has died unnoticed would make the result of a refresh
//! unknown.

use std::{error::Error, sync::OnceLock};

use http::Method;
use reqwest::{Client, ClientBuilder, RequestBuilder, redirect, retry};
use url::Url;

use super::{
    current::Current,
    proxy,
    settings::{KEEPALIVE, Network, NetworkError, ResolvedNetwork},
};
use crate::{ProviderError, provider::is_loopback};

/// Two HTTP clients: one for remote hosts, and one for this machine, which uses no proxy.
#[derive(Clone, Debug)]
pub(crate) struct ProviderClient(Current<Clients>);

#[derive(Debug)]
struct Clients {
    network: ResolvedNetwork,
    remote: OnceLock<Client>,
    loopback: OnceLock<Client>,
}

impl ProviderClient {
    /// A client for this network. The CA file is read and the proxy's URL parsed now.
    pub(crate) fn new(network: Network) -> Result<Self, NetworkError> {
        Clients::new(network).map(Current::new).map(Self)
    }

    /// Replaces both clients: with this network, and the certificates that are on disk now. An
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
        let is_local = is_loopback(&url);
        let slot = if is_local { &clients.loopback } else { &clients.remote };
        let client = clients.network.get_or_build(slot, || clients.build(is_local))?;
        Ok(client.request(method, url))
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
        Ok(Self { network, remote: OnceLock::new(), loopback: OnceLock::new() })
    }

    fn build(&self, is_local: bool) -> Result<Client, Box<dyn Error>> {
        let Network { connect_timeout, timeout, .. } = &self.network.network;
        let (idle, interval, retries) = KEEPALIVE;
        let builder = ClientBuilder::new()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .https_only(!is_local)
            .connect_timeout(*connect_timeout)
            .tcp_keepalive(idle)
            .tcp_keepalive_interval(interval)
            .tcp_keepalive_retries(retries)
            .timeout(*timeout)
            .pool_max_idle_per_host(0);
        let builder = match &self.network.proxy {
            _ if is_local => builder.no_proxy(),
            Some(proxy) => builder.proxy(proxy::for_reqwest(proxy)?),
            None => builder,
        };
        Ok(builder.tls_backend_preconfigured(self.network.tls()?).build()?)
    }
}
