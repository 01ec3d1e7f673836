//! The redirect that finishes a login, brought back by a browser or pasted by a person.

use authd_api::{ErrorCode, Flow, Login, Problem};
use authd_oauth::Callback;

use super::Logins;
use crate::{
    callback::{Arrival, Arrivals, Link},
    reply,
};

impl Logins {
    /// Takes what a person pasted for this login.
    pub(crate) async fn paste(&self, id: &str, text: &str) -> Result<Login, Problem> {
        let login = self.get(id)?;
        if login.flow != Flow::Browser {
            return Err(Problem::new(ErrorCode::Conflict, "a device login takes no redirect URL"));
        }
        let callback = Callback::from_pasted(text).map_err(|error| {
            Problem::new(ErrorCode::BadRequest, format!("that is not a redirect URL: {error}"))
                .hint("paste the whole address that the browser ended on")
        })?;
        let owner = self.registry().by_state.get(callback.state()).cloned();
        if owner.as_deref() != Some(id) {
            let detail = "that redirect URL belongs to another login";
            return Err(Problem::new(ErrorCode::BadRequest, detail).hint("open the URL of this login again"));
        }
        self.take(id, callback);
        self.wait_until_final(id).await
    }
}

impl Arrivals for Logins {
    async fn arrive(&self, query: &str) -> Arrival {
        let Ok(callback) = Callback::parse(query) else { return Arrival::UnknownState };
        let owner = || self.registry().by_state.get(callback.state()).cloned();
        let mut id = owner();
        if id.is_none() {
            self.restored().await;
            id = owner();
        }
        let Some(id) = id else { return Arrival::UnknownState };
        let again = self.get(&id).is_ok_and(|login| login.state.is_final());
        self.take(&id, callback);
        match self.wait_until_final(&id).await {
            Ok(login) => reply::arrival(&login, again),
            Err(_) => Arrival::UnknownState,
        }
    }

    fn follow(&self, token: &str) -> Link {
        self.registry().follow(token)
    }

    fn pending(&self) -> usize {
        self.registry().pending()
    }
}
