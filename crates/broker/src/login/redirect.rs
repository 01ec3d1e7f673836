//! The redirect URI of a login: the port that it names must be open.

use std::sync::Arc;

use authd_oauth::definition::ProviderDefinition;
use http::Uri;
use tokio::sync::oneshot;
use tokio_util::sync::DropGuard;

use super::{callback_server::ListenRequest, error::LoginError, manager::Logins};

/// What stands for the port in the redirect URI of a definition.
const PORT: &str = "{port}";

/// A redirect URI.
pub(super) struct RedirectUri {
    pub(super) uri: String,
    pub(super) port: u16,
    /// All URIs that the client is registered with: one for each port of the callback server.
    pub(super) registered: Vec<String>,
    /// Keeps the port open, if the callback server does not.
    pub(super) listener: Option<Arc<DropGuard>>,
}

impl Logins {
    /// The redirect URI of a login at a defined provider. Opens its port, unless the user pastes
    /// the redirect.
    pub(super) async fn redirect_uri(
        &self,
        definition: &ProviderDefinition,
        paste: bool,
    ) -> Result<RedirectUri, LoginError> {
        let written = &definition.redirect_uri;
        if !written.contains(PORT) {
            let (uri, port) = (written.clone(), port_of(written));
            let listener = if paste { None } else { self.open_port(port).await? };
            return Ok(RedirectUri { registered: vec![uri.clone()], uri, port, listener });
        }
        let ports = self.0.settings.borrow().ports.clone();
        let port = self.redirect_port(paste)?;
        let with = |port: u16| written.replacen(PORT, &port.to_string(), 1);
        let ports = if ports.contains(&port) { ports } else { vec![port] };
        let registered = ports.into_iter().map(with).collect();
        Ok(RedirectUri { uri: with(port), port, registered, listener: None })
    }

    /// Opens a port of loopback, unless the callback server listens on it. At the start the
    /// callback server tries its ports first.
    pub(super) async fn open_port(&self, port: u16) -> Result<Option<Arc<DropGuard>>, LoginError> {
        drop(self.0.callback.clone().wait_for(|state| state.has_tried).await);
        if self.0.callback.borrow().port() == Some(port) {
            return Ok(None);
        }
        let (opened, reply) = oneshot::channel();
        let closed = || LoginError::CallbackUnavailable(Some("the callback server has stopped".to_owned()));
        self.0.listeners.send(ListenRequest { port, opened }).await.map_err(|_| closed())?;
        let guard = reply.await.map_err(|_| closed())?;
        guard.map(Some).map_err(|reason| LoginError::CallbackUnavailable(Some(reason)))
    }
}

/// The port of a redirect URI; 0 if the text is none.
pub(super) fn port_of(uri: &str) -> u16 {
    uri.parse::<Uri>().ok().and_then(|uri| uri.port_u16()).unwrap_or_default()
}

/// The path of a redirect URI.
pub(super) fn path_of(uri: &str) -> Option<String> {
    uri.parse::<Uri>().ok().map(|uri| uri.path().to_owned())
}
