//! Finishes browser logins with the redirect that a browser or a user brings back.

use authd_api::Flow;
use authd_oauth::{REDIRECT_PATH, Redirect};

use super::{
    error::LoginError, manager::Logins, pending::LinkTarget, redirect::path_of, snapshot::LoginSnapshot,
};

/// The path of the redirect URI of a definition that names none.
const DEFAULT_PATH: &str = "/callback";

impl Logins {
    /// Finishes a login with the redirect URL that its user pasted.
    pub async fn finish_with_pasted(&self, id: &str, text: &str) -> Result<LoginSnapshot, LoginError> {
        if self.get(id)?.flow != Flow::Browser {
            return Err(LoginError::NotBrowser);
        }
        let redirect = Redirect::from_pasted(text).map_err(LoginError::InvalidRedirect)?;
        if self.id_of_state(&redirect).as_deref() != Some(id) {
            return Err(LoginError::ForeignRedirect);
        }
        self.redeem_callback(id, redirect);
        self.wait_until_final(id).await
    }

    /// Finishes the login whose `state` the query of a redirect carries (RFC 6749, section 10.12).
    /// Returns the login when it has ended, and whether it had ended before. `None` if no login has
    /// that state and this path of its redirect URI.
    pub async fn finish_with_query(&self, path: &str, query: &str) -> Option<(LoginSnapshot, bool)> {
        let redirect = Redirect::parse(query).ok()?;
        let mut id = self.id_of_state(&redirect);
        if id.is_none() {
            self.restored().await;
            id = self.id_of_state(&redirect);
        }
        let id = id?;
        let login = self.get(&id).ok()?;
        if login.redirect_uri.as_deref().and_then(path_of).as_deref() != Some(path) {
            return None;
        }
        let had_ended = login.state.is_final();
        self.redeem_callback(&id, redirect);
        self.wait_until_final(&id).await.ok().map(|login| (login, had_ended))
    }

    /// Whether a path is one that browsers return to: the usual ones, and those of the pending
    /// logins.
    pub fn is_redirect_path(&self, path: &str) -> bool {
        let is_own = |login: &LoginSnapshot| {
            login.redirect_uri.as_deref().and_then(path_of).is_some_and(|own| own == path)
        };
        [REDIRECT_PATH, DEFAULT_PATH].contains(&path) || self.list().iter().any(is_own)
    }

    /// Uses the link to an authorize URL with this token.
    pub fn follow_link(&self, token: &str) -> LinkTarget {
        self.logins().follow_link(token)
    }

    /// How many logins are pending.
    pub fn pending(&self) -> usize {
        self.logins().pending()
    }

    fn id_of_state(&self, redirect: &Redirect) -> Option<String> {
        self.logins().by_state.get(redirect.callback.state()).cloned()
    }
}
