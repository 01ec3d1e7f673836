//! The way out: the proxy and the CA in force, and what it means if nobody is reached. There are two clients
//! for two purposes, which both go by it and trust the same certificates: [`Http`] for calls that may spend a
//! token, and [`Upstream`] for relayed requests. They are made at their first use, so that a daemon nobody
//! asks anything loads no certificates.

mod calls;
mod tls;
mod upstream;

use std::{error::Error, path::PathBuf, sync::OnceLock, time::Duration};

use rustls::{ClientConfig, pki_types::CertificateDer};
use url::{ParseError, Url};

pub(crate) use self::calls::Http;
pub use self::upstream::Upstream;
use crate::ProviderError;

/// How long a connection is quiet before it is asked whether the other side is there; how often it is asked
/// again, and how often in vain, before it is given up.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 3);

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
    /// What an error means for whoever sent a request, by whether anything of it can have been sent.
    fn failure(&self, error: &dyn Error, unsent: bool) -> ProviderError {
        let detail = format!("{} {}", chain(error), self.in_force());
        if unsent { ProviderError::NotSent { detail } } else { ProviderError::NoResponse { detail } }
    }

    /// The proxy and the CA in force, in brackets: half of all network last_error is one of them.
    fn in_force(&self) -> String {
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

/// A network that can be used, as far as that shows without using it.
struct ResolvedNetwork {
    network: Network,
    /// The configured proxy, with its user's name and password.
    proxy: Option<Url>,
    /// What the CA file holds.
    extra_roots: Vec<CertificateDer<'static>>,
}

impl std::fmt::Debug for ResolvedNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.network.fmt(f)
    }
}

impl ResolvedNetwork {
    /// Reads the CA file, and looks at the proxy's URL.
    fn new(network: Network) -> Result<Self, NetworkError> {
        let parsed =
            |proxy: &String| proxy_url(proxy).map_err(|error| NetworkError::Proxy(error.to_string()));
        let proxy = network.proxy.as_ref().map(parsed).transpose()?;
        let extra_roots = network.ca_file.as_deref().map(tls::extra_roots).transpose()?.unwrap_or_default();
        Ok(Self { network, proxy, extra_roots })
    }

    /// The client that belongs here, made at its first use. One that cannot be made has sent nothing.
    fn first<'a, T>(
        &self,
        place: &'a OnceLock<T>,
        make: impl FnOnce() -> Result<T, Box<dyn Error>>,
    ) -> Result<&'a T, ProviderError> {
        if let Some(client) = place.get() {
            return Ok(client);
        }
        let client = make().map_err(|error| self.network.failure(&*error, true))?;
        Ok(place.get_or_init(|| client))
    }

    /// What is spoken and who is believed.
    fn policy(&self) -> Result<ClientConfig, rustls::Error> {
        tls::policy(&self.extra_roots)
    }
}

/// A proxy's URL. One without a scheme is spoken to in plain HTTP, as everybody does.
fn proxy_url(proxy: &str) -> Result<Url, ParseError> {
    match Url::parse(proxy) {
        Ok(url) if url.has_host() => Ok(url),
        // `proxy.example:3128` looks like a scheme and a path.
        Ok(_) | Err(ParseError::RelativeUrlWithoutBase) => Url::parse(&format!("http://{proxy}")),
        Err(error) => Err(error),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_told_without_its_user_and_needs_no_scheme() {
        let network = |proxy: &str| Network { proxy: Some(proxy.to_owned()), ..Network::default() };
        for (written, meant, told) in [
            ("http://me:secret@proxy.example:3128", "http://me:secret@proxy.example:3128/", "http://proxy"),
            ("me:secret@proxy.example:3128", "http://me:secret@proxy.example:3128/", "proxy proxy.example"),
            ("proxy.example:3128", "http://proxy.example:3128/", "proxy proxy.example:3128"),
            ("http://me:a@b@proxy.example", "http://me:a%40b@proxy.example/", "http://proxy.example"),
        ] {
            let checked = ResolvedNetwork::new(network(written)).unwrap();
            assert_eq!(checked.proxy.as_ref().unwrap().as_str(), meant);
            let text = format!("{checked:?} {}", checked.network.in_force());
            assert!(text.contains(told) && !text.contains("secret") && !text.contains("me:"), "{text}");
        }
        assert_eq!(ResolvedNetwork::new(Network::default()).unwrap().proxy, None);
        for wrong in ["", "http://", "http://proxy.example:x", "http://[::1"] {
            let error = ResolvedNetwork::new(network(wrong)).unwrap_err();
            assert!(matches!(error, NetworkError::Proxy(_)), "{wrong}");
        }
    }
}
