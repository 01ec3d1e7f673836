//! Finishes browser logins with the redirect that a browser or a user brings back.

use authd_api::Flow;
use authd_oauth::Callback;

use super::{error::LoginError, manager::Logins, pending::LinkTarget, snapshot::LoginSnapshot};

impl Logins {
    /// Finishes a login with the redirect URL that its user pasted.
    pub async fn finish_with_pasted(&self, id: &str, text: &str) -> Result<LoginSnapshot, LoginError> {
        if self.get(id)?.flow != Flow::Browser {
            return Err(LoginError::NotBrowser);
        }
        let callback = Callback::from_pasted(text).map_err(LoginError::InvalidRedirect)?;
        if self.id_of_state(&callback).as_deref() != Some(id) {
            return Err(LoginError::ForeignRedirect);
        }
        self.redeem_callback(id, callback);
        self.wait_until_final(id).await
    }

    /// Finishes the login whose `state` the query of a redirect carries (RFC 6749, section 10.12).
    /// Returns the login when it has ended, and whether it had ended before. `None` if no login has
    /// that state.
    pub async fn finish_with_query(&self, query: &str) -> Option<(LoginSnapshot, bool)> {
        let callback = Callback::parse(query).ok()?;
        let mut id = self.id_of_state(&callback);
        if id.is_none() {
            self.restored().await;
            id = self.id_of_state(&callback);
        }
        let id = id?;
        let had_ended = self.get(&id).is_ok_and(|login| login.state.is_final());
        self.redeem_callback(&id, callback);
        self.wait_until_final(&id).await.ok().map(|login| (login, had_ended))
    }

    /// Uses the link to an authorize URL with this token.
    pub fn follow_link(&self, token: &str) -> LinkTarget {
        self.logins().follow_link(token)
    }

    /// How many logins are pending.
    pub fn pending(&self) -> usize {
        self.logins().pending()
    }

    fn id_of_state(&self, callback: &Callback) -> Option<String> {
        self.logins().by_state.get(callback.state()).cloned()
    }
}
