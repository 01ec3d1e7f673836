//! The routes on the socket, each handler a few lines: read a snapshot, or post a wish and wait. No
//! handler touches the provider or the store; the types it is given do not allow it.

use std::{sync::Arc, time::Duration};

use authd_api::{
    ApiKeyBody, CallbackBody, ErrorCode, Login, LoginBody, Problem, Profile, ProfileName, ProfilePatch,
    Profiles, RefreshBody, Status, StoreKind, StoreState, StoreStatus, route,
};
use authd_oauth::{ApiKey, Grant, Holding, Identity};
use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post, put},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::watch;
use tracing::Instrument;

use crate::{
    answer::{Asked, Json, Refusal, json, named, stamp},
    callback::{Arrivals, CallbackFacts},
    clock,
    facts::{Facts, Freshness, View},
    keeper::{Directory, Keeper, SignIn},
    logins::Logins,
    profile::Handle,
    relay::{Relay, Target},
    reply,
};

/// How long a long poll may last.
const LONGEST_WAIT: u64 = 60;

/// What the handlers see of the daemon.
#[derive(Clone)]
pub(crate) struct Front {
    /// The profiles.
    pub(crate) keeper: Keeper,
    /// The logins.
    pub(crate) logins: Logins,
    /// The way upstream.
    pub(crate) relay: Relay,
    /// The callback server's state.
    pub(crate) callback: watch::Receiver<CallbackFacts>,
    /// The store's state.
    pub(crate) store: watch::Receiver<authd_store::Status>,
    /// What a reload can change.
    pub(crate) limits: watch::Receiver<Limits>,
    /// When the daemon started.
    pub(crate) started_at: Timestamp,
}

/// How patient the handlers are, and what they tell clients to prefer.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How much longer a credential must last when nobody says.
    pub(crate) min_ttl: Duration,
    /// How long a request waits for a renewal that is under way.
    pub(crate) patience: Duration,
    /// The model for questions that name none.
    pub(crate) model: Option<String>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// The user who runs the daemon.
    Own,
    /// Somebody else, or nobody knows who.
    Foreign,
    /// The user, with more connections than any honest program holds.
    Crowding,
}

/// A profile that a path names.
struct Found {
    name: ProfileName,
    handle: Handle,
}

/// All routes.
pub(crate) fn router(front: Front) -> Router {
    Router::new()
        .route(route::STATUS, get(status))
        .route(route::LOGINS, post(start_login))
        .route(route::LOGIN, get(login).delete(cancel_login))
        .route(route::LOGIN_CALLBACK, post(paste))
        .route(route::PROFILES, get(profiles))
        .route(route::PROFILE, get(profile).patch(patch_profile).delete(sign_out))
        .route(route::API_KEY, put(own_key))
        .route(route::HEADERS, get(headers))
        .route(route::REFRESH, post(refresh))
        .route(route::RELAY, any(relay))
        .route(route::RELAY_BACKEND, any(relay_backend))
        .fallback(|| async { Refusal(Problem::new(ErrorCode::NotFound, "there is no such route")) })
        .method_not_allowed_fallback(|| async {
            Refusal(Problem::new(ErrorCode::MethodNotAllowed, "this route does not know that method"))
        })
        .layer(middleware::from_fn(guard))
        .with_state(Arc::new(front))
}

type Seen = State<Arc<Front>>;

/// Before everything: who asks, and as what. A browser can be tricked into sending a request here by a
/// web page; it cannot be made to leave out `Origin`, or to send our `Host`.
async fn guard(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let span =
        tracing::debug_span!("request", %method, path = %path.split("/relay").next().unwrap_or_default());
    let mut response = match refused(&request) {
        Some(problem) => Refusal(problem).into_response(),
        None => next.run(request).instrument(span).await,
    };
    stamp(&mut response);
    response
}

fn refused(request: &Request) -> Option<Problem> {
    let forbidden = |detail: &str| Some(Problem::new(ErrorCode::Forbidden, detail));
    match request.extensions().get::<Peer>() {
        Some(Peer::Own) => {}
        Some(Peer::Crowding) => {
            let problem = Problem::new(ErrorCode::TooManyRequests, "this program holds too many connections");
            return Some(problem.hint("close some").retry_after(1));
        }
        Some(Peer::Foreign) | None => return forbidden("this socket serves only the user who runs authd"),
    }
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || headers.contains_key(header::REFERER) {
        return forbidden("this socket does not serve web pages");
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).map(|host| host.trim_end_matches(":80"));
    match (host, hosts.next()) {
        (Some("authd" | "localhost"), None) => None,
        _ => forbidden("the request's Host must be authd or localhost"),
    }
}

async fn status(State(front): Seen) -> Response {
    let directory = front.keeper.directory();
    let store = front.store.borrow().clone();
    let message = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: front.started_at,
        callback: reply::callback(&front.callback.borrow()),
        store: StoreStatus {
            kind: store.kind.map(|kind| match kind {
                authd_store::Kind::Keychain => StoreKind::Keychain,
                authd_store::Kind::File => StoreKind::File,
                authd_store::Kind::Memory => StoreKind::Memory,
            }),
            state: match store.state {
                authd_store::State::Ready => StoreState::Ready,
                authd_store::State::Locked => StoreState::Locked,
                authd_store::State::Unavailable => StoreState::Unavailable,
            },
            detail: Some(store.detail).filter(|detail| !detail.is_empty()),
        },
        profiles: directory.profiles.len(),
        pending_logins: front.logins.pending(),
        default_profile: directory.default.clone(),
        model: front.limits.borrow().model.clone(),
    };
    json(StatusCode::OK, &message)
}

async fn start_login(State(front): Seen, Json(body): Json<LoginBody>) -> Result<Response, Refusal> {
    let login = front.logins.start(body).await?;
    let mut response = no_store(json(StatusCode::CREATED, &login));
    if let Ok(location) = HeaderValue::from_str(&route::login(&login.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WaitQuery {
    #[serde(default)]
    wait: u64,
}

async fn login(
    State(front): Seen,
    Path(id): Path<String>,
    Asked(WaitQuery { wait }): Asked<WaitQuery>,
) -> Result<Response, Refusal> {
    let login = front.logins.wait(&id, Duration::from_secs(wait.min(LONGEST_WAIT))).await?;
    Ok(login_answer(&login))
}

async fn paste(
    State(front): Seen,
    Path(id): Path<String>,
    Json(CallbackBody { url }): Json<CallbackBody>,
) -> Result<Response, Refusal> {
    Ok(login_answer(&front.logins.paste(&id, &url).await?))
}

async fn cancel_login(State(front): Seen, Path(id): Path<String>) -> Result<StatusCode, Refusal> {
    front.logins.cancel(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn profiles(State(front): Seen) -> Response {
    let Directory { default, profiles } = &*front.keeper.directory();
    let now = clock::now();
    let profiles = profiles
        .iter()
        .map(|(name, handle)| reply::profile(name, &handle.view(), default.as_ref(), now))
        .collect();
    json(StatusCode::OK, &Profiles { default: default.clone(), profiles })
}

async fn profile(State(front): Seen, Path(part): Path<String>) -> Result<Response, Refusal> {
    let Found { name, .. } = front.find(&part)?;
    Ok(json(StatusCode::OK, &front.message(&name)?))
}

async fn patch_profile(
    State(front): Seen,
    Path(part): Path<String>,
    Json(patch): Json<ProfilePatch>,
) -> Result<Response, Refusal> {
    let Found { mut name, .. } = front.find(&part)?;
    let failed = |name: ProfileName| move |error| Refusal(reply::keeper_failed(&error, &name));
    match patch {
        ProfilePatch { default: None, name: None } => {
            return Err(Problem::new(
                ErrorCode::BadRequest,
                "nothing to change: give \"default\" or \"name\"",
            )
            .into());
        }
        ProfilePatch { default: Some(false), .. } => {
            let detail = "a profile stops being the default one when another becomes it";
            return Err(Problem::new(ErrorCode::BadRequest, detail)
                .hint("set \"default\" on that one")
                .into());
        }
        ProfilePatch { default, name: wanted } => {
            if let Some(wanted) = wanted {
                front.keeper.rename(name, wanted.clone()).await.map_err(failed(wanted.clone()))?;
                name = wanted;
            }
            if default == Some(true) {
                front.keeper.make_default(name.clone()).await.map_err(failed(name.clone()))?;
            }
        }
    }
    Ok(json(StatusCode::OK, &front.message(&name)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignOutQuery {
    #[serde(default)]
    revoke: bool,
}

async fn sign_out(
    State(front): Seen,
    Path(part): Path<String>,
    Asked(SignOutQuery { revoke }): Asked<SignOutQuery>,
) -> Result<StatusCode, Refusal> {
    let Found { name, .. } = front.find(&part)?;
    front.keeper.sign_out(name.clone(), revoke).await.map_err(|error| reply::keeper_failed(&error, &name))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn own_key(
    State(front): Seen,
    Path(part): Path<String>,
    Json(ApiKeyBody { api_key }): Json<ApiKeyBody>,
) -> Result<Response, Refusal> {
    let wanted = match named(&part)? {
        Some(name) => name,
        None => front.keeper.directory().default.clone().unwrap_or_else(ProfileName::first),
    };
    let key = api_key.trim().to_owned();
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        let detail = "an API key is one word of printable ASCII letters";
        return Err(Problem::new(ErrorCode::BadRequest, detail).about(&wanted).into());
    }
    let grant = Grant {
        identity: Identity::default(),
        holding: Holding::ApiKey(ApiKey::new(key), None),
        mode_reason: "a key of your own".to_owned(),
        issued_at: clock::now(),
    };
    let sign_in = SignIn { wanted: wanted.clone(), replace: false, elsewhere: false, grant };
    let name = front.keeper.sign_in(sign_in).await.map_err(|error| reply::keeper_failed(&error, &wanted))?;
    Ok(json(StatusCode::OK, &front.message(&name)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadersQuery {
    min_ttl: Option<u64>,
}

async fn headers(
    State(front): Seen,
    Path(part): Path<String>,
    Asked(HeadersQuery { min_ttl }): Asked<HeadersQuery>,
    asked: HeaderMap,
) -> Result<Response, Refusal> {
    let found = front.find(&part)?;
    let facts = front.fresh(&found, min_ttl.map(Duration::from_secs)).await?;
    let ready = &facts.ready;
    let unchanged = asked.get(header::IF_NONE_MATCH).is_some_and(|etag| *etag == ready.etag);
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(ready.body.clone()));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    response.headers_mut().insert(header::ETAG, ready.etag.clone());
    Ok(no_store(response))
}

async fn refresh(
    State(front): Seen,
    Path(part): Path<String>,
    Json(RefreshBody { rejected_generation }): Json<RefreshBody>,
) -> Result<Response, Refusal> {
    let found = front.find(&part)?;
    let facts = front.renewed(&found, rejected_generation).await?;
    match reply::refresh_failed(&facts, rejected_generation, clock::now()) {
        Some(problem) => Err(problem.into()),
        None => Ok(json(StatusCode::OK, &front.message(&found.name)?)),
    }
}

async fn relay(state: Seen, path: Path<(String, String)>, request: Request) -> Result<Response, Refusal> {
    relay_to(state, path, Target::Model, request).await
}

async fn relay_backend(
    state: Seen,
    path: Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    relay_to(state, path, Target::Backend, request).await
}

async fn relay_to(
    State(front): Seen,
    Path((part, _)): Path<(String, String)>,
    target: Target,
    request: Request,
) -> Result<Response, Refusal> {
    let found = front.find(&part)?;
    let facts = front.fresh(&found, None).await?;
    let renew = async |generation| front.renewed(&found, Some(generation)).await;
    Ok(front.relay.pass(target, request, facts, renew).await?)
}

impl Front {
    /// The profile that a path names.
    fn find(&self, part: &str) -> Result<Found, Problem> {
        let directory = self.keeper.directory();
        let name = match named(part)? {
            Some(name) => name,
            None => directory.default.clone().ok_or_else(|| reply::no_default(directory.profiles.len()))?,
        };
        let handle = directory.profiles.get(&name).cloned().ok_or_else(|| reply::profile_unknown(&name))?;
        Ok(Found { name, handle })
    }

    /// The facts of a profile whose credential lasts long enough, or why there is none.
    async fn fresh(&self, found: &Found, span: Option<Duration>) -> Result<Arc<Facts>, Problem> {
        let Limits { min_ttl, patience, .. } = *self.limits.borrow();
        let span = span.unwrap_or(min_ttl);
        let now = clock::now();
        let facts = self.known(found).await?;
        match facts.freshness(span, now) {
            Freshness::Fresh => {
                found.handle.used(now);
                return Ok(facts);
            }
            Freshness::Due => {
                found.handle.used(now);
                found.handle.nudge();
                return Ok(facts);
            }
            Freshness::LoginRequired => return Err(reply::no_credential(&facts, now)),
            Freshness::Expired => {}
        }
        if let Ok(gone) = tokio::time::timeout(patience, found.handle.want(span)).await {
            gone?;
        }
        let (facts, now) = (self.known(found).await?, clock::now());
        match facts.freshness(Duration::ZERO, now) {
            Freshness::Fresh | Freshness::Due => Ok(facts),
            Freshness::Expired | Freshness::LoginRequired => Err(reply::no_credential(&facts, now)),
        }
    }

    /// The facts after a refresh, however it ended.
    async fn renewed(&self, found: &Found, rejected: Option<u64>) -> Result<Arc<Facts>, Problem> {
        let patience = self.limits.borrow().patience;
        self.known(found).await?;
        let Ok(done) = tokio::time::timeout(patience, found.handle.refresh(rejected)).await else {
            let detail = "the refresh is not done yet; it goes on without you";
            return Err(Problem::new(ErrorCode::Timeout, detail).hint("run: authctl status"));
        };
        done?;
        self.known(found).await
    }

    /// The facts of a profile, read from the store first if need be.
    async fn known(&self, Found { name, handle }: &Found) -> Result<Arc<Facts>, Problem> {
        let mut view = handle.view();
        if matches!(view, View::Unread | View::Closed(_)) {
            let patience = self.limits.borrow().patience;
            view = tokio::time::timeout(patience, handle.read()).await.unwrap_or(view);
        }
        match view {
            View::Known(facts) => Ok(facts),
            other => Err(reply::unusable(name, &other)),
        }
    }

    fn message(&self, name: &ProfileName) -> Result<Profile, Problem> {
        reply::profile_of(&self.keeper.directory(), name, clock::now())
            .ok_or_else(|| reply::profile_unknown(name))
    }
}

fn login_answer(login: &Login) -> Response {
    no_store(json(StatusCode::OK, login))
}

/// Marks an answer that carries a secret, or a URL that acts for a person.
fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
