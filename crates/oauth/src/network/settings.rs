//! The network settings, validated for use, and the error messages that name them.

use std::{error::Error, fmt, path::PathBuf, sync::OnceLock, time::Duration};

use rustls::{ClientConfig, pki_types::CertificateDer};
use url::Url;

use super::{ca_files::CaFiles, proxy, tls};
use crate::ProviderError;

/// TCP keepalive: the idle time before the first probe, the time between probes, and their number.
pub(super) const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 3);

/// The network settings.
#[derive(Clone, PartialEq, Eq)]
pub struct Network {
    /// The proxy. If none is configured, that of the environment (`HTTPS_PROXY`, `ALL_PROXY`,
    /// `NO_PROXY`).
    pub proxy: Option<String>,
    /// A file of CA certificates (PEM) that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Time limit for making a connection.
    pub connect_timeout: Duration,
    /// Time limit for a call to the provider. Relayed requests may take longer.
    pub timeout: Duration,
}

/// Network settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// `network.ca_file` is wrong.
    #[error("the CA file {} cannot be used: {detail}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        detail: String,
    },
    /// `network.proxy` is wrong.
    #[error("the proxy cannot be used: {0}")]
    Proxy(String),
}

impl fmt::Debug for Network {
    /// Hides the proxy's password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network ({})", self.summary())
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
    /// The TLS policy for a protocol other than HTTP: trusts the system's certificates and those of
    /// the CA file, as they are on disk now. The error says why it cannot be used.
    pub fn tls(&self) -> Result<ClientConfig, String> {
        let network = ResolvedNetwork::new(self.clone()).map_err(|error| error.to_string())?;
        let mut config = network.tls().map_err(|error| error.to_string())?;
        config.alpn_protocols.clear();
        Ok(config)
    }

    /// The proxy and the CA in use. Most network errors are due to one of them.
    pub(super) fn summary(&self) -> String {
        let proxy = proxy::describe(self.proxy.as_deref());
        let ca = match (&self.ca_file, proxy::variable(&["SSL_CERT_FILE"])) {
            (Some(file), _) => format!("CA file {} and the system's", file.display()),
            (None, Some(file)) => format!("CA file {file} (SSL_CERT_FILE)"),
            (None, None) => "the system's CAs".to_owned(),
        };
        format!("{proxy}, {ca}")
    }
}

/// Validated network settings.
pub(super) struct ResolvedNetwork {
    pub(super) network: Network,
    /// The configured proxy, with its user name and password.
    pub(super) proxy: Option<Url>,
    extra_roots: Vec<CertificateDer<'static>>,
    /// The configured CA file, as it was read.
    ca_file: CaFiles,
    /// The system's certificates, as they were loaded at the first use.
    system: OnceLock<CaFiles>,
}

impl fmt::Debug for ResolvedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.network.fmt(f)
    }
}

impl ResolvedNetwork {
    /// Reads the CA file and parses the proxy's URL.
    pub(super) fn new(network: Network) -> Result<Self, NetworkError> {
        let proxy = network.proxy.as_deref().map(proxy::parse).transpose();
        let proxy = proxy.map_err(|error| NetworkError::Proxy(error.to_string()))?;
        // Before the file is read: a change meanwhile is noticed.
        let ca_file = CaFiles::of(network.ca_file.clone());
        let extra_roots = match &network.ca_file {
            Some(path) => tls::extra_roots(path)
                .map_err(|detail| NetworkError::CaFile { path: path.clone(), detail })?,
            None => Vec::new(),
        };
        Ok(Self { network, proxy, extra_roots, ca_file, system: OnceLock::new() })
    }

    /// The client in this slot, built at its first use. If that fails, nothing was sent.
    pub(super) fn get_or_build<'a, T>(
        &self,
        slot: &'a OnceLock<T>,
        build: impl FnOnce() -> Result<T, Box<dyn Error>>,
    ) -> Result<&'a T, ProviderError> {
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let client = build().map_err(|error| self.failure(&*error, true))?;
        Ok(slot.get_or_init(|| client))
    }

    /// The TLS configuration, with the system's certificates loaded now.
    pub(super) fn tls(&self) -> Result<ClientConfig, rustls::Error> {
        self.system.get_or_init(CaFiles::of_system);
        tls::config(&self.extra_roots)
    }

    /// Whether the CA certificates on disk have changed since they were loaded.
    pub(super) fn is_outdated(&self) -> bool {
        self.ca_file != CaFiles::of(self.network.ca_file.clone())
            || self.system.get().is_some_and(|loaded| *loaded != CaFiles::of_system())
    }

    /// The error of a request, and whether it is certain that nothing was sent.
    pub(super) fn failure(&self, error: &dyn Error, is_unsent: bool) -> ProviderError {
        let detail = format!("{} ({})", with_causes(error), self.network.summary());
        if is_unsent { ProviderError::NotSent { detail } } else { ProviderError::NoResponse { detail } }
    }
}

/// An error and its causes. The last cause is the most specific.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let message = cause.to_string();
        if !text.ends_with(&message) {
            text = format!("{text}: {message}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_needs_no_scheme_and_is_shown_without_its_user() {
        let network = |proxy: &str| Network { proxy: Some(proxy.to_owned()), ..Network::default() };
        for (configured, parsed, shown) in [
            ("http://me:secret@proxy.example:3128", "http://me:secret@proxy.example:3128/", "http://proxy"),
            ("me:secret@proxy.example:3128", "http://me:secret@proxy.example:3128/", "proxy proxy.example"),
            ("proxy.example:3128", "http://proxy.example:3128/", "proxy proxy.example:3128"),
            ("http://me:a@b@proxy.example", "http://me:a%40b@proxy.example/", "http://proxy.example"),
        ] {
            let resolved = ResolvedNetwork::new(network(configured)).unwrap();
            assert_eq!(resolved.proxy.as_ref().unwrap().as_str(), parsed);
            let text = format!("{resolved:?} {}", resolved.network.summary());
            assert!(text.contains(shown) && !text.contains("secret") && !text.contains("me:"), "{text}");
        }
        assert_eq!(ResolvedNetwork::new(Network::default()).unwrap().proxy, None);
        for wrong in ["", "http://", "http://proxy.example:x", "http://[::1"] {
            let error = ResolvedNetwork::new(network(wrong)).unwrap_err();
            assert!(matches!(error, NetworkError::Proxy(_)), "{wrong}");
        }
    }
}
