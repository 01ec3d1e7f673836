//! The routes on the socket, each handler a few lines: read a snapshot, or post a wish and wait. No
//! handler touches the store, which none is given; the provider's endpoint is there for the diagnosis alone,
//! to see that it answers.

mod front;
mod guard;
mod news;
mod sharing;
mod unread;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use authd_api::{
    ApiKeyBody, CallbackBody, ErrorCode, Login, LoginBody, MigrateBody, Migrated, Problem, ProfileName,
    ProfilePatch, Profiles, RefreshBody, Status, StoreKind, route,
};
use authd_oauth::{ApiKey, Grant, Rejected, new_grant_id};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::{any, get, post, put},
};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Deserialize;

use self::front::Found;
pub(crate) use self::{
    front::{Front, Limits},
    guard::Guarded,
};
use crate::{
    answer::{ApiError, Asked, Held, Json, Part, Pieces, json, named},
    callback::Arrivals,
    clock, diagnosis,
    keeper::{Directory, Names, Placement, SignIn},
    metrics,
    relay::Target,
    reply,
};

/// How long a long poll may last.
const LONGEST_WAIT: u64 = 60;

/// All routes.
pub(crate) fn routes(front: Front) -> Guarded {
    let front = Arc::new(front);
    let router = Router::new()
        .route(route::STATUS, get(status))
        .route(route::LOGINS, post(start_login))
        .route(route::LOGIN, get(login).delete(cancel_login))
        .route(route::LOGIN_CALLBACK, post(paste))
        .route(route::PROFILES, get(profiles))
        .route(route::PROFILE, get(profile).patch(patch_profile).delete(sign_out))
        .route(route::API_KEY, put(own_key))
        .route(route::HEADERS, get(headers))
        .route(route::REFRESH, post(refresh))
        .route(route::STORE_MIGRATE, post(migrate_store))
        .route(route::STORE_REKEY, post(rekey_store))
        .route(route::DIAGNOSIS, get(diagnosis))
        .route(route::EVENTS, get(news::events))
        .route(route::METRICS, get(metrics))
        .route(route::OPENAPI, get(contract))
        .route(route::IMPORT, post(sharing::import))
        .route(route::EXPORT, post(sharing::export))
        .route(route::CODEX, put(sharing::install).delete(sharing::uninstall))
        .route(route::RELAY, any(relay).connect(not_relayed).trace(not_relayed))
        .route(route::RELAY_BACKEND, any(relay_backend).connect(not_relayed).trace(not_relayed))
        .fallback(|| async { ApiError(Problem::new(ErrorCode::NotFound, "there is no such route")) })
        .method_not_allowed_fallback(|| async {
            ApiError(Problem::new(ErrorCode::MethodNotAllowed, "this route does not know that method"))
        })
        .with_state(front.clone());
    Guarded::new(router, front)
}

type Seen = State<Arc<Front>>;

async fn status(State(front): Seen) -> Response {
    let directory = front.keeper.directory();
    let message = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: front.started_at,
        callback: reply::callback(&front.callback.borrow()),
        store: reply::store(front.store.borrow().clone()),
        profiles: matches!(directory.names, Names::Known).then_some(directory.profiles.len()),
        pending_logins: front.logins.pending(),
        default_profile: directory.default.clone(),
        model: front.limits.borrow().model.clone(),
    };
    json(StatusCode::OK, &message)
}

async fn diagnosis(State(front): Seen) -> Response {
    json(StatusCode::OK, &diagnosis::diagnose(&front, &front.endpoint).await)
}

async fn metrics(State(front): Seen) -> Result<Response, ApiError> {
    let text = front.metrics.text(&front.keeper.directory(), front.logins.pending(), clock::now());
    let text = text.map_err(|error| Problem::new(ErrorCode::Internal, format!("no figures: {error}")))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// The contract as `crates/api` writes it; a test there keeps the file true.
async fn contract() -> Response {
    const DOCUMENT: &str = include_str!("../../../docs/openapi.json");
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}

async fn start_login(State(front): Seen, Json(body): Json<LoginBody>) -> Result<Response, ApiError> {
    front.can_sign_in(body.profile.as_ref()).await?;
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
    Part(id): Part<String>,
    Asked(WaitQuery { wait }): Asked<WaitQuery>,
) -> Result<Response, ApiError> {
    front.logins.known(&id).await?;
    let login = front.logins.wait(&id, Duration::from_secs(wait.min(LONGEST_WAIT))).await?;
    Ok(login_answer(&login))
}

async fn paste(
    State(front): Seen,
    Part(id): Part<String>,
    Json(CallbackBody { url }): Json<CallbackBody>,
) -> Result<Response, ApiError> {
    front.logins.known(&id).await?;
    Ok(login_answer(&front.logins.paste(&id, &url).await?))
}

async fn cancel_login(State(front): Seen, Part(id): Part<String>) -> Result<StatusCode, ApiError> {
    front.logins.known(&id).await?;
    front.logins.cancel(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn profiles(State(front): Seen) -> Result<Response, ApiError> {
    let directory = front.directory().await?;
    let Directory { default, profiles, .. } = &*directory;
    let now = clock::now();
    let profiles = profiles
        .iter()
        .map(|(name, handle)| reply::profile(name, &handle.view(), default.as_ref(), now))
        .collect();
    Ok(json(StatusCode::OK, &Profiles { default: default.clone(), profiles }))
}

async fn profile(State(front): Seen, Part(part): Part<String>) -> Result<Response, ApiError> {
    let Found { name, .. } = front.find(&part).await?;
    Ok(json(StatusCode::OK, &front.message(&name)?))
}

async fn patch_profile(
    State(front): Seen,
    Part(part): Part<String>,
    Json(patch): Json<ProfilePatch>,
) -> Result<Response, ApiError> {
    let Found { mut name, .. } = front.find(&part).await?;
    let failed = |name: ProfileName| move |error| ApiError(reply::keeper_failed(&error, &name));
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
    Part(part): Part<String>,
    Asked(SignOutQuery { revoke }): Asked<SignOutQuery>,
) -> Result<StatusCode, ApiError> {
    let Found { name, .. } = front.find(&part).await?;
    front.keeper.sign_out(name.clone(), revoke).await.map_err(|error| reply::keeper_failed(&error, &name))?;
    Ok(StatusCode::NO_CONTENT)
}

async fn own_key(
    State(front): Seen,
    Part(part): Part<String>,
    Json(ApiKeyBody { api_key }): Json<ApiKeyBody>,
) -> Result<Response, ApiError> {
    let wanted = match named(&part)? {
        Some(name) => name,
        None => front.directory().await?.default.clone().unwrap_or_else(ProfileName::first),
    };
    let key = api_key.trim().to_owned();
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        let detail = "an API key is one word of printable ASCII letters";
        return Err(Problem::new(ErrorCode::BadRequest, detail).about(&wanted).into());
    }
    let grant = Grant::own_key(ApiKey::new(key), "a key of your own", clock::now());
    let (placement, grant_id) = (Placement::Own, new_grant_id());
    let sign_in = SignIn { wanted: wanted.clone(), placement, grant, grant_id, intent: None };
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
    Part(part): Part<String>,
    Asked(HeadersQuery { min_ttl }): Asked<HeadersQuery>,
    Held(held): Held,
) -> Result<Response, ApiError> {
    ready_headers(&front, &part, min_ttl.map(Duration::from_secs), held.as_ref()).await
}

/// The headers of the profile that a path names, unless the client holds them already.
async fn ready_headers(
    front: &Front,
    part: &str,
    min_ttl: Option<Duration>,
    held: Option<&HeaderValue>,
) -> Result<Response, ApiError> {
    let found = front.find(part).await?;
    let facts = front.fresh(&found, min_ttl).await?;
    let etag = facts.ready.etag();
    let mut response = if held.is_some_and(|held| held == etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::new(Pieces::from(facts.answer())));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    response.headers_mut().insert(header::ETAG, etag);
    Ok(no_store(response))
}

async fn refresh(
    State(front): Seen,
    Part(part): Part<String>,
    Json(RefreshBody { rejected_generation, grant_id }): Json<RefreshBody>,
) -> Result<Response, ApiError> {
    let found = front.find(&part).await?;
    let grant_id = grant_id.map(String::into_boxed_str);
    let rejected = rejected_generation.map(|generation| Rejected { generation, grant_id });
    let (before, after) = front.renewed(&found, rejected.clone()).await?;
    match reply::refresh_failed(&before, &after, rejected.as_ref(), clock::now()) {
        Some(problem) => Err(problem.into()),
        None => Ok(json(StatusCode::OK, &front.message(&found.name)?)),
    }
}

async fn migrate_store(
    State(front): Seen,
    Json(MigrateBody { to }): Json<MigrateBody>,
) -> Result<Response, ApiError> {
    let to = match to {
        StoreKind::Keychain => authd_store::Kind::Keychain,
        StoreKind::File => authd_store::Kind::File,
        StoreKind::Memory | StoreKind::Unknown => {
            let problem = Problem::new(ErrorCode::BadRequest, "credentials cannot be moved there");
            return Err(problem.hint("\"to\" is keychain or file").into());
        }
    };
    let moved = front.keeper.migrate(to).await.map_err(|error| reply::moving_failed(&error))?;
    let message = Migrated {
        records: moved.records,
        left_behind: moved.left_behind.map(|error| error.to_string()),
        store: reply::store(front.store.borrow().clone()),
    };
    Ok(json(StatusCode::OK, &message))
}

async fn rekey_store(State(front): Seen) -> Result<Response, ApiError> {
    front.keeper.rekey().await.map_err(|error| reply::moving_failed(&error))?;
    Ok(json(StatusCode::OK, &reply::store(front.store.borrow().clone())))
}

/// CONNECT asks for a tunnel to another host, and TRACE for the request with its credential as the answer (RFC 9110,
/// sections 9.3.6 and 9.3.8).
async fn not_relayed(method: Method) -> Response {
    let detail = format!("the relay does not pass {method} on");
    let mut response = ApiError(Problem::new(ErrorCode::MethodNotAllowed, detail)).into_response();
    let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

async fn relay(state: Seen, path: Part<(String, String)>, request: Request) -> Result<Response, ApiError> {
    relay_to(state, path, Target::Model, request).await
}

async fn relay_backend(
    state: Seen,
    path: Part<(String, String)>,
    request: Request,
) -> Result<Response, ApiError> {
    relay_to(state, path, Target::Backend, request).await
}

async fn relay_to(
    State(front): Seen,
    Part((part, _)): Part<(String, String)>,
    target: Target,
    request: Request,
) -> Result<Response, ApiError> {
    let found = front.find(&part).await?;
    let facts = front.fresh(&found, None).await?;
    let sent = AtomicU64::new(facts.credential.generation);
    let renew = async |rejected| {
        let (_, after) = front.renewed(&found, Some(rejected)).await?;
        sent.store(after.credential.generation, Ordering::Relaxed);
        Ok(after)
    };
    let response = front.relay.pass(target, request, facts, renew).await?;
    let on_probation = found.handle.view().facts().is_some_and(|facts| facts.on_probation);
    if on_probation && (response.status().is_success() || response.status().is_informational()) {
        found.handle.accepted(sent.load(Ordering::Relaxed));
    }
    Ok(response)
}

fn login_answer(login: &Login) -> Response {
    no_store(json(StatusCode::OK, login))
}

/// Marks an answer that carries a secret, or a URL that acts for a person.
fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
