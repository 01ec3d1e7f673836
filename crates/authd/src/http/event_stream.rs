//! `GET /v1/events`: server-sent events, first the current state, then every change. An event is
//! rendered when the client reads it, so a stream holds only its position.

use std::{convert::Infallible, ops::Bound, path::Path, sync::Arc, vec::IntoIter};

use authd_api::{Login, ProfileName};
use authd_broker::{CallbackServerState, ChangeEvent, CodexHome, LoginOrder, LoginSnapshot, now};
use authd_oauth::QuotaReading;
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

use super::{
    convert,
    peer::Peer,
    respond::{ApiError, no_store},
    state::AppState,
};
use crate::{platform::Permit, store_monitor::StoreMonitor};

struct EventStream {
    state: Arc<AppState>,
    events: Receiver<ChangeEvent>,
    stores: StoreMonitor,
    callback: watch::Receiver<CallbackServerState>,
    /// The next part of the current state, until all of it was sent.
    next: Option<Next>,
    _permit: Permit,
}

/// The parts of the current state.
enum Next {
    Store,
    Callback,
    /// The first profile after this one, by name.
    Profile(Bound<ProfileName>),
    /// The first profile after this one whose quota is known, by name.
    Quota(Bound<ProfileName>),
    /// The first login that started after this one.
    Login(Option<LoginOrder>),
    /// The rest of the Codex homes.
    CodexHome(IntoIter<CodexHome>),
    /// The first share after this one, by id.
    Share(Bound<Arc<str>>),
}

/// Events: the current state, then every change
///
/// The stream starts with the current state, including recently ended logins. It then sends every
/// change until the client disconnects or the daemon stops. The events are `store`, `callback`,
/// `profile`, `quota`, `login`, `codex_home` and `share`, each with the message of that name as its
/// data (a login without its URLs and its code), `profile_gone` with `{"name"}`, `codex_home_gone`
/// with `{"home"}` and `share_gone` with `{"id"}`. `quota_low` has a quota with the windows that
/// have become low; it is sent once for each, and is no part of the current state.
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::EVENTS, operation_id = "events", tag = "daemon",
    responses((status = 200, description = "Server-sent events; never a secret.", headers(("cache-control")),
        content_type = "text/event-stream",
        example = "event: store\ndata: {\"kind\":\"keychain\",\"state\":\"ready\"}\n\n\
            event: profile_gone\ndata: {\"name\":\"work\"}\n\n")),
))]
pub(super) async fn events(
    State(state): State<Arc<AppState>>,
    Extension(peer): Extension<Arc<Peer>>,
) -> Result<Response, ApiError> {
    let permit = state.permit_stream(&peer)?;
    let events = state.broker.events.subscribe();
    let (mut stores, mut callback) = (state.stores.clone(), state.callback.clone());
    stores.mark_seen();
    callback.mark_unchanged();
    let event_stream =
        EventStream { state, events, stores, callback, next: Some(Next::Store), _permit: permit };
    let stream = stream::unfold(event_stream, async |mut event_stream| {
        let event = event_stream.next().await?;
        Some((Ok::<_, Infallible>(event), event_stream))
    });
    let mut response = no_store(Response::new(Body::from_stream(stream)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

impl EventStream {
    /// The next event; `None` when the daemon stops.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.state.stopping.is_cancelled() {
            if let Some(event) = self.next_of_current_state().await {
                return Some(event);
            }
            tokio::select! {
                () = self.state.stopping.cancelled() => return None,
                event = self.events.recv() => match event {
                    Ok(ChangeEvent::Profile(name)) => return Some(self.profile(&name)),
                    Ok(ChangeEvent::Login(id)) => if let Ok(login) = self.state.broker.logins.get(&id) {
                        return Some(event_of_login(login));
                    },
                    Ok(ChangeEvent::CodexHome(home)) => if let Some(event) = self.codex_home(&home).await {
                        return Some(event);
                    },
                    Ok(ChangeEvent::Share(id)) => return Some(self.share(&id)),
                    Ok(ChangeEvent::Quota(name)) => if let Some(event) = self.quota(&name) {
                        return Some(event);
                    },
                    Ok(ChangeEvent::QuotaLow(name, low)) => return Some(event_of_low_quota(&name, &low)),
                    // A client that fell behind gets the current state again.
                    Err(RecvError::Lagged(_)) => self.next = Some(Next::Store),
                    Err(RecvError::Closed) => return None,
                },
                Some(()) = self.stores.changed() => return Some(self.store()),
                Ok(()) = self.callback.changed() => return Some(self.callback()),
            }
        }
        None
    }

    /// The next event of the current state; `None` once all of it was sent.
    async fn next_of_current_state(&mut self) -> Option<Bytes> {
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
                    let registry = self.state.broker.registry.snapshot();
                    let mut names = registry.profiles.range((after, Bound::Unbounded)).map(|(name, _)| name);
                    if let Some(name) = names.next() {
                        self.next = Some(Next::Profile(Bound::Excluded(name.clone())));
                        return Some(self.profile(name));
                    }
                    self.next = Some(Next::Quota(Bound::Unbounded));
                }
                Next::Quota(after) => {
                    let registry = self.state.broker.registry.snapshot();
                    let mut names = registry.profiles.range((after, Bound::Unbounded)).map(|(name, _)| name);
                    if let Some((name, event)) = names.find_map(|name| Some((name, self.quota(name)?))) {
                        self.next = Some(Next::Quota(Bound::Excluded(name.clone())));
                        return Some(event);
                    }
                    self.next = Some(Next::Login(None));
                }
                Next::Login(after) => {
                    if let Some((order, login)) = self.state.broker.logins.next_after(after) {
                        self.next = Some(Next::Login(Some(order)));
                        return Some(event_of_login(login));
                    }
                    self.next = Some(Next::Share(Bound::Unbounded));
                }
                Next::Share(after) => {
                    let shares = self.state.broker.shares.snapshot().unwrap_or_default();
                    let next = shares.range((after, Bound::Unbounded)).map(|(id, _)| id.clone()).next();
                    if let Some(id) = next {
                        self.next = Some(Next::Share(Bound::Excluded(id.clone())));
                        return Some(self.share(&id));
                    }
                    // While the list cannot be read, a change of it is the first event.
                    let homes = self.state.broker.codex.homes().await.unwrap_or_default();
                    self.next = Some(Next::CodexHome(homes.into_iter()));
                }
                Next::CodexHome(mut homes) => {
                    let home = homes.next()?;
                    self.next = Some(Next::CodexHome(homes));
                    return Some(event("codex_home", &convert::codex_home(home)));
                }
            }
        }
    }

    fn store(&mut self) -> Bytes {
        self.stores.mark_seen();
        event("store", &convert::store(&self.stores))
    }

    fn callback(&mut self) -> Bytes {
        event("callback", &convert::callback(&self.callback.borrow_and_update()))
    }

    fn share(&self, id: &str) -> Bytes {
        match self.state.broker.shares.get(id) {
            Some(share) => event("share", &convert::share(&share, &self.state.doors)),
            None => event("share_gone", &serde_json::json!({"id": id})),
        }
    }

    /// `None` while the list of homes cannot be read.
    async fn codex_home(&self, home: &Path) -> Option<Bytes> {
        let homes = self.state.broker.codex.homes().await.ok()?;
        Some(match homes.into_iter().find(|known| known.home == home) {
            Some(home) => event("codex_home", &convert::codex_home(home)),
            None => event("codex_home_gone", &serde_json::json!({"home": home})),
        })
    }

    /// `None` while nothing is known.
    fn quota(&self, name: &ProfileName) -> Option<Bytes> {
        let quota = convert::known_quota(&self.state.broker.registry.snapshot(), name, now())?;
        let is_known = quota.as_of.is_some() || !quota.windows.is_empty();
        is_known.then(|| event("quota", &quota))
    }

    fn profile(&self, name: &ProfileName) -> Bytes {
        match convert::profile_of(&self.state.broker.registry.snapshot(), name, now()) {
            Some(profile) => event("profile", &profile),
            None => event("profile_gone", &serde_json::json!({"name": name})),
        }
    }
}

fn event_of_low_quota(name: &ProfileName, low: &QuotaReading) -> Bytes {
    event("quota_low", &convert::quota(name, Some(low), now()))
}

/// A login without its URLs and its code. They act for a user, and only the client that started the
/// login may have them.
fn event_of_login(login: LoginSnapshot) -> Bytes {
    let login = convert::login(login, now());
    event("login", &Login { authorize_url: None, open_url: None, user_code: None, ..login })
}

fn event(kind: &str, message: &impl Serialize) -> Bytes {
    let data = serde_json::to_string(message).expect("messages serialize");
    format!("event: {kind}\ndata: {data}\n\n").into()
}
