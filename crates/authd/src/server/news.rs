//! `GET /v1/events`: server-sent events, first of how everything is, then of every change. An event is rendered when the
//! client takes it: a stream holds only how far it has come.

use std::{convert::Infallible, ops::Bound, sync::Arc};

use authd_api::{CallbackStatus, ErrorCode, Login, Problem, ProfileName, StoreStatus};
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use futures_util::stream;
use http::{HeaderValue, header};
use serde::Serialize;
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    watch,
};

use super::{Front, Seen, no_store};
use crate::{
    answer::ApiError, callback::CallbackFacts, clock, events::News, limits::Permit, logins::Age, reply,
};

/// How many event streams one process may have open.
pub(super) const MOST_STREAMS: usize = 64;

/// One client's view of the changes.
struct EventStream {
    front: Arc<Front>,
    news: Receiver<News>,
    store: watch::Receiver<authd_store::Status>,
    callback: watch::Receiver<CallbackFacts>,
    /// What of how everything is has not been sent yet.
    next: Option<Next>,
    _permit: Arc<Permit>,
}

/// The next part of how everything is.
enum Next {
    Store,
    Callback,
    /// The first profile after this one, by name.
    Profile(Bound<ProfileName>),
    /// The first login after this one, by age.
    Login(Option<Age>),
}

pub(super) async fn events(
    State(front): Seen,
    Extension(permit): Extension<Arc<Permit>>,
) -> Result<Response, ApiError> {
    if !permit.take() {
        let problem =
            Problem::new(ErrorCode::TooManyRequests, "this program has too many event streams open");
        return Err(problem.hint("close some").retry_after(1).into());
    }
    let news = front.events.listen();
    let (mut store, mut callback) = (front.store.clone(), front.callback.clone());
    store.mark_unchanged();
    callback.mark_unchanged();
    let listener = EventStream { front, news, store, callback, next: Some(Next::Store), _permit: permit };
    let stream = stream::unfold(listener, async |mut listener| {
        let next = listener.next().await?;
        Some((Ok::<_, Infallible>(next), listener))
    });
    let mut response = no_store(Response::new(Body::from_stream(stream)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

impl EventStream {
    /// The next event; none when the daemon stops.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.front.stopping.is_cancelled() {
            if let Some(event) = self.next_of_everything() {
                return Some(event);
            }
            tokio::select! {
                () = self.front.stopping.cancelled() => return None,
                news = self.news.recv() => match news {
                    Ok(News::Profile(name)) => return Some(self.profile(&name)),
                    Ok(News::Login(id)) => if let Ok(login) = self.front.logins.get(&id) {
                        return Some(event_of_login(login));
                    },
                    // A reader that fell behind is told how everything is now.
                    Err(RecvError::Lagged(_)) => self.next = Some(Next::Store),
                    Err(RecvError::Closed) => return None,
                },
                Ok(()) = self.store.changed() => return Some(self.store()),
                Ok(()) = self.callback.changed() => return Some(self.callback()),
            }
        }
        None
    }

    /// The next event of how everything is; none once all of it was sent.
    fn next_of_everything(&mut self) -> Option<Bytes> {
        loop {
            match self.next.take()? {
                Next::Store => {
                    self.next = Some(Next::Callback);
                    return Some(self.store());
                }
                Next::Callback => {
                    self.next = Some(Next::Profile(Bound::Unbounded));
                    return Some(self.callback());
                }
                Next::Profile(after) => {
                    let directory = self.front.keeper.directory();
                    let mut names = directory.profiles.range((after, Bound::Unbounded)).map(|(name, _)| name);
                    if let Some(name) = names.next() {
                        self.next = Some(Next::Profile(Bound::Excluded(name.clone())));
                        return Some(self.profile(name));
                    }
                    self.next = Some(Next::Login(None));
                }
                Next::Login(after) => {
                    let (age, login) = self.front.logins.next_after(after)?;
                    self.next = Some(Next::Login(Some(age)));
                    return Some(event_of_login(login));
                }
            }
        }
    }

    fn store(&mut self) -> Bytes {
        let status: StoreStatus = reply::store(self.store.borrow_and_update().clone());
        event("store", &status)
    }

    fn callback(&mut self) -> Bytes {
        let status: CallbackStatus = reply::callback(&self.callback.borrow_and_update());
        event("callback", &status)
    }

    fn profile(&self, name: &ProfileName) -> Bytes {
        match reply::profile_of(&self.front.keeper.directory(), name, clock::now()) {
            Some(profile) => event("profile", &profile),
            None => event("profile_gone", &serde_json::json!({"name": name})),
        }
    }
}

/// Without the URLs and the code: they act for a person, and only the client that started the login may have them.
fn event_of_login(login: Login) -> Bytes {
    event("login", &Login { authorize_url: None, open_url: None, user_code: None, ..login })
}

fn event(kind: &str, message: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(message).expect("the contract's messages have a JSON form");
    format!("event: {kind}\ndata: {data}\n\n").into()
}
