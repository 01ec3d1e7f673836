//! Starts browser logins, at the built-in provider and at defined ones. A login is saved before its
//! URL is returned, so that a restart does not lose it.

use std::{net::SocketAddr, time::Duration};

use authd_api::{Flow, LoginBody};
use authd_oauth::{Attempt, ModePreference};
use authd_store::Key;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::time::Instant;
use tracing::warn;

use super::{
    callback_server::LINK_PATH, defined::DefinedLogin, error::LoginError, manager::Logins,
    redirect::RedirectUri, snapshot::LoginSnapshot, stored::StoredLogin,
};
use crate::clock;

impl Logins {
    pub(super) async fn start_browser(&self, body: LoginBody) -> Result<LoginSnapshot, LoginError> {
        let settings = self.0.settings.borrow().clone();
        let port = self.redirect_port(body.paste)?;
        let uri = settings.provider.redirect_uri(port);
        let (now, mode) = (clock::now(), settings.mode(body.mode));
        let profile = Self::profile_of(&body);
        let attempt = Attempt::new(uri.clone(), mode, body.workspace, now, settings.lifetime);
        let login = LoginSnapshot {
            authorize_url: Some(attempt.authorize_url(&settings.provider)),
            ..LoginSnapshot::new(profile, Flow::Browser, now, attempt.expires_at)
        };
        let redirect = RedirectUri { uri, port, registered: Vec::new(), listener: None };
        Ok(self.add_attempt(login, attempt, redirect, (body.replace, body.paste), settings.lifetime).await)
    }

    pub(super) async fn start_defined_browser(
        &self,
        login: DefinedLogin,
        body: LoginBody,
    ) -> Result<LoginSnapshot, LoginError> {
        let lifetime = self.0.settings.borrow().lifetime;
        let definition = self.definition(&login.provider).await?;
        let redirect = self.redirect_uri(&definition, body.paste).await?;
        let client = self.plan(&login, definition, redirect.registered.clone(), Flow::Browser).await?;
        let now = clock::now();
        let mode = ModePreference::Auto;
        let attempt = Attempt::new(redirect.uri.clone(), mode, None, now, lifetime);
        let parameters = attempt.authorize_parameters(&client.plan);
        let url = match self.0.deps.endpoint.authorize_url(&client, &parameters).await {
            Ok(url) => url,
            Err(error) => {
                return Err(self.not_started(login.profile, &client, error, LoginError::NotPushed).await);
            }
        };
        let login = LoginSnapshot {
            authorize_url: Some(url),
            provider: Some(login.provider),
            issuer: client.plan.authority.issuer.clone(),
            ..LoginSnapshot::new(login.profile, Flow::Browser, now, attempt.expires_at)
        };
        let options = (body.replace, body.paste);
        Ok(self.add_attempt(login, attempt.at(client), redirect, options, lifetime).await)
    }

    /// Saves and adds a browser login.
    async fn add_attempt(
        &self,
        login: LoginSnapshot,
        attempt: Attempt,
        redirect: RedirectUri,
        (replace, paste): (bool, bool),
        lifetime: Duration,
    ) -> LoginSnapshot {
        let deadline = Instant::now() + lifetime;
        let RedirectUri { uri, port, listener, .. } = redirect;
        let login = LoginSnapshot { redirect_uri: Some(uri), ..login };
        let stored = StoredLogin::to_secret_json(&login, replace, &attempt);
        let saved = self.0.deps.store.save(&Key::login(&login.id), "authd: pending sign-in", stored).await;
        if let Err(error) = saved {
            warn!(%error, "pending login not saved; it would not survive a restart");
        }
        let link = if listener.is_some() { Some(link(port)) } else { self.link(port) };
        let login = LoginSnapshot { open_url: link.filter(|_| !paste), ..login };
        self.add_browser(deadline, login.clone(), replace, attempt, listener);
        login
    }

    /// A new link to an authorize URL, if the callback server listens on this port of loopback.
    fn link(&self, port: u16) -> Option<String> {
        let is_loopback = |address: &SocketAddr| address.port() == port && address.ip().is_loopback();
        let listens = self.0.callback.borrow().addresses.iter().any(is_loopback);
        listens.then(|| link(port))
    }
}

/// A new link to an authorize URL.
fn link(port: u16) -> String {
    let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
    format!("http://localhost:{port}{LINK_PATH}{token}")
}
