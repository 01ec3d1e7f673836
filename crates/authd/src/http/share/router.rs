//! The routes of a share. They are those of its profile, which has the name `-`. On loopback, every
//! other path is the relay's, so that the base URL of an OpenAI client needs no further path.

use std::sync::Arc;

use authd_api::{ErrorCode, Problem, ShareAccess, ShareCompat};
use authd_broker::{PathError, ProfileSnapshot, Share};
use authd_oauth::Mode;
use axum::{
    Extension, Router,
    extract::{Request, State},
    middleware,
    response::Response,
    routing::{any, get},
};
use http::Method;

use super::{access, compat};
use crate::{
    http::{
        extract::{IfNoneMatch, QueryParams},
        peer::{Door, Peer},
        problem,
        respond::ApiError,
        routes::{self, HeadersQuery},
        state::{AppState, ResolvedProfile, SharedState},
    },
    relay::{Target, is_oauth_metadata},
};

/// The path of the headers.
const HEADERS: &str = "/v1/profiles/-/headers";

/// The path of the relay, with and without a path below it.
const RELAY: &str = "/v1/profiles/-/relay";
const RELAY_SLASH: &str = "/v1/profiles/-/relay/";
const BELOW_RELAY: &str = "/v1/profiles/-/relay/{*path}";

/// The path of the relay at a loopback door, as OpenAI clients have it in their base URL.
const ROOT: &str = "/v1";

/// The router of every share.
pub(crate) fn share_router(state: Arc<AppState>) -> Router {
    Router::new()
        .route(HEADERS, get(headers))
        .route(RELAY, any(relay))
        .route(RELAY_SLASH, any(relay))
        .route(BELOW_RELAY, any(relay))
        .fallback(root)
        .method_not_allowed_fallback(|| async { ApiError(not_shared()) })
        .layer(middleware::from_fn_with_state(state.clone(), access::check))
        .with_state(state)
}

async fn headers(
    State(state): SharedState,
    Extension(share): Extension<Share>,
    Extension(peer): Extension<Arc<Peer>>,
    QueryParams(query): QueryParams<HeadersQuery>,
    IfNoneMatch(known_etag): IfNoneMatch,
) -> Result<Response, ApiError> {
    if share.terms.allow != ShareAccess::Headers {
        let problem = Problem::new(ErrorCode::Forbidden, "the share allows only the relay, not the headers");
        return Err(problem.hint("its owner can make one with: authctl share --headers").into());
    }
    let profile = resolve(&state, &share).await?;
    let snapshot = state.get_or_refresh(&profile, query.min_ttl()).await?;
    check_account(&share, &snapshot)?;
    Ok(routes::headers_response(&state, &peer, &profile, &snapshot, known_etag.as_ref()))
}

async fn relay(
    state: SharedState,
    Extension(share): Extension<Share>,
    request: Request,
) -> Result<Response, ApiError> {
    let path = below(request.uri().path(), RELAY).unwrap_or_default().to_owned();
    forward(state, &share, &path, request).await
}

/// A path that is no route: the relay's on loopback.
async fn root(
    state: SharedState,
    Extension(share): Extension<Share>,
    Extension(peer): Extension<Arc<Peer>>,
    request: Request,
) -> Result<Response, ApiError> {
    let path = request.uri().path();
    match below(path, ROOT) {
        Some(rest) if matches!(peer.door, Door::Loopback(_)) && !rest.starts_with("profiles/") => {
            let path = rest.to_owned();
            forward(state, &share, &path, request).await
        }
        _ if is_oauth_metadata(path) => Err(problem::no_oauth_metadata().into()),
        _ => Err(not_shared().into()),
    }
}

/// The path below a prefix; empty for the prefix itself, with or without a slash at its end.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

async fn forward(
    State(state): SharedState,
    share: &Share,
    path: &str,
    request: Request,
) -> Result<Response, ApiError> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(not_shared().into());
    }
    share.check_path(path).map_err(|error| path_refused(share, error))?;
    let profile = resolve(&state, share).await?;
    let is_allowed = |snapshot: &ProfileSnapshot| check_account(share, snapshot);
    let send = |request| routes::relay_to(&state, &profile, Target::Model, path, request, is_allowed);
    let adapts = share.terms.compat == Some(ShareCompat::Responses)
        && compat::applies(request.method(), path)
        && state.loaded(&profile).await?.mode() == Mode::ChatGpt;
    if !adapts {
        return Ok(send(request).await?);
    }
    let (request, plan) = compat::adapt_request(path, request).await?;
    Ok(plan.apply(send(request).await?).await?)
}

/// The profile of a share, once the names of the profiles are known.
async fn resolve(state: &AppState, share: &Share) -> Result<ResolvedProfile, Problem> {
    let name = share.terms.profile.clone();
    let handle = state.registry().await?.profiles.get(&name).cloned();
    // The holder must not learn the names of other profiles.
    let gone = || Problem::new(ErrorCode::ProfileUnknown, "the shared profile does not exist any more");
    let handle = handle.ok_or_else(gone)?;
    Ok(ResolvedProfile { name, handle })
}

/// Checks that the profile still has the account that was shared.
fn check_account(share: &Share, snapshot: &ProfileSnapshot) -> Result<(), Problem> {
    if share.is_of(&snapshot.credential.identity) {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::Forbidden, "another account is signed in to the shared profile now"))
}

fn path_refused(share: &Share, error: PathError) -> Problem {
    let problem = Problem::new(ErrorCode::Forbidden, error.to_string());
    match error {
        PathError::NotAllowed => problem.hint(format!("it allows: {}", share.terms.paths.join(", "))),
        PathError::Ambiguous => problem,
    }
}

fn not_shared() -> Problem {
    let detail = "a share has only the relay and, if it allows them, the headers of its profile, named \"-\"";
    Problem::new(ErrorCode::Forbidden, detail).hint("anything else needs the daemon's own socket")
}
