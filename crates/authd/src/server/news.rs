//! `GET /v1/events`: server-sent events, first of how everything is, then of every change.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use authd_api::{CallbackStatus, Login, ProfileName, StoreStatus};
use axum::{
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
use crate::{callback::CallbackFacts, clock, events::News, reply};

/// One client's view of the changes.
struct Listener {
    front: Arc<Front>,
    news: Receiver<News>,
    store: watch::Receiver<authd_store::Status>,
    callback: watch::Receiver<CallbackFacts>,
    ready: VecDeque<Bytes>,
}

pub(super) async fn events(State(front): Seen) -> Response {
    let news = front.events.listen();
    let (mut store, mut callback) = (front.store.clone(), front.callback.clone());
    store.mark_unchanged();
    callback.mark_unchanged();
    let mut listener = Listener { front, news, store, callback, ready: VecDeque::new() };
    listener.tell_everything();
    let stream = stream::unfold(listener, async |mut listener| {
        let next = listener.next().await?;
        Some((Ok::<_, Infallible>(next), listener))
    });
    let mut response = no_store(Response::new(Body::from_stream(stream)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

impl Listener {
    /// The next event; none when the daemon stops.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            tokio::select! {
                () = self.front.stopping.cancelled() => return None,
                news = self.news.recv() => match news {
                    Ok(News::Profile(name)) => self.tell_profile(&name),
                    Ok(News::Login(id)) => self.tell_login(&id),
                    // A reader that fell behind is told how everything is now.
                    Err(RecvError::Lagged(_)) => self.tell_everything(),
                    Err(RecvError::Closed) => return None,
                },
                Ok(()) = self.store.changed() => self.tell_store(),
                Ok(()) = self.callback.changed() => self.tell_callback(),
            }
        }
    }

    fn tell_everything(&mut self) {
        self.tell_store();
        self.tell_callback();
        let names: Vec<ProfileName> = self.front.keeper.directory().profiles.keys().cloned().collect();
        for name in names {
            self.tell_profile(&name);
        }
        for id in self.front.logins.ids() {
            self.tell_login(&id);
        }
    }

    fn tell_store(&mut self) {
        let status: StoreStatus = reply::store(self.store.borrow_and_update().clone());
        self.push("store", &status);
    }

    fn tell_callback(&mut self) {
        let status: CallbackStatus = reply::callback(&self.callback.borrow_and_update());
        self.push("callback", &status);
    }

    fn tell_profile(&mut self, name: &ProfileName) {
        match reply::profile_of(&self.front.keeper.directory(), name, clock::now()) {
            Some(profile) => self.push("profile", &profile),
            None => self.push("profile_gone", &serde_json::json!({"name": name})),
        }
    }

    /// Without the URL and the code: they act for a person, and are for whoever started the login.
    fn tell_login(&mut self, id: &str) {
        if let Ok(login) = self.front.logins.get(id) {
            self.push("login", &Login { authorize_url: None, user_code: None, ..login });
        }
    }

    fn push(&mut self, kind: &str, message: &impl Serialize) {
        let data = serde_json::to_string(message).expect("the contract's messages have a JSON form");
        self.ready.push_back(format!("event: {kind}\ndata: {data}\n\n").into());
    }
}
