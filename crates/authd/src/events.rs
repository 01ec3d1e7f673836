//! Who wants to know that something changed: clients on `GET /v1/events`, hooks and notifications. What
//! is sent around is only what changed; how it looks now, each reader asks for itself, so nobody is told
//! old news, and no secret travels.

use authd_api::ProfileName;
use tokio::sync::broadcast;

/// News that nobody has read yet; a reader that falls behind further is told that it did.
const BACKLOG: usize = 256;

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A profile, or how it is.
    Profile(ProfileName),
    /// A login.
    Login(String),
}

/// Where news is told and heard.
#[derive(Clone, Debug)]
pub(crate) struct Events(broadcast::Sender<News>);

impl Events {
    /// Nobody listens yet.
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }

    /// Tells whoever listens.
    pub(crate) fn tell(&self, news: News) {
        // Nobody may be listening.
        drop(self.0.send(news));
    }

    /// Listens from now on.
    pub(crate) fn listen(&self) -> broadcast::Receiver<News> {
        self.0.subscribe()
    }
}
