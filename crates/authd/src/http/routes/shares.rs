//! Shares.

use std::{convert::Infallible, sync::Arc, time::Duration};

use authd_api::{AuditAction, CreatedShare, ErrorCode, Problem, ShareBody, ShareDoor, Shares};
use authd_broker::{Freshness, Share, ShareKey, now};
use authd_oauth::Mode;
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};

#[cfg(test)]
use super::openapi::responses::{BodyErrors, ConflictErrors, ProfileErrors, ShareErrors, StoreErrors};
use crate::{
    audit::Usage,
    http::{
        convert,
        extract::{Json, PathParam},
        peer::Peer,
        problem,
        respond::{ApiError, json, no_store},
        state::{AppState, SharedState},
    },
};

/// All shares
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::SHARES, operation_id = "shares", tag = "shares",
    responses((status = 200, description = "All of them, the oldest first.", body = Shares), StoreErrors),
))]
pub(super) async fn list(State(state): SharedState) -> Result<Response, ApiError> {
    let shares = state.broker.shares.all().await.map_err(|error| problem::share(&error))?;
    let shares = shares.iter().map(|share| convert::share(share, &state.doors)).collect();
    Ok(json(StatusCode::OK, &Shares { shares }))
}

/// Share a profile
///
/// Opens a restricted door to one profile: a socket of its own, or a loopback port and a key. The
/// key is in this response and nowhere else.
#[cfg_attr(test, utoipa::path(
    post, path = authd_api::route::SHARES, operation_id = "create_share", tag = "shares",
    request_body = ShareBody,
    responses(
        (status = 201, description = "The share. Its door is open.", body = CreatedShare,
            headers(("location"), ("cache-control"))),
        BodyErrors, ProfileErrors, StoreErrors, ConflictErrors,
    ),
))]
pub(super) async fn create(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    Json(body): Json<ShareBody>,
) -> Result<Response, ApiError> {
    let profile = match &body.profile {
        Some(name) => state.resolve(name.as_str()).await?,
        None => state.resolve(authd_api::route::DEFAULT_PROFILE).await?,
    };
    let snapshot = state.loaded(&profile).await?;
    if snapshot.freshness(Duration::ZERO, now()) == Freshness::LoginRequired {
        return Err(problem::no_credential(&snapshot, now()).into());
    }
    if body.compat.is_some() && snapshot.mode() == Mode::Bearer {
        let detail = format!("profile \"{}\" is not of OpenAI, so that compat has no meaning", profile.name);
        return Err(Problem::new(ErrorCode::Conflict, detail)
            .hint("leave compat out")
            .about(&profile.name)
            .into());
    }
    let port = match body.door {
        ShareDoor::Loopback => Some(state.doors.loopback().await.map_err(|error| door_closed(&error))?),
        ShareDoor::Socket => None,
    };
    let shares = &state.broker.shares;
    let usage = Usage::new(AuditAction::Share).of(&profile.name);
    let create = shares.create(&body, profile.name, &snapshot.credential.identity, port);
    let with_id = |usage, (share, _): &(Share, _)| Usage { share: Some(share.id.clone()), ..usage };
    let created = state.recorded(&peer, usage, create, with_id).await;
    let (share, key) = created.map_err(|error| problem::share(&error))?;
    if !has_profile(&state, &share.id) {
        shares.end(&share.id).await.ok();
        let detail = "the profile was renamed or signed out while the share was made";
        return Err(Problem::new(ErrorCode::Conflict, detail).hint("try again").into());
    }
    if let Err(error) = state.doors.open(share.clone()).await {
        // A share without a door is useless. If it cannot be ended, it is in the list.
        shares.end(&share.id).await.ok();
        return Err(door_closed(&error).into());
    }
    let message = CreatedShare {
        share: convert::share(&share, &state.doors),
        key: key.as_ref().map(ShareKey::expose).map(str::to_owned),
    };
    let mut response = no_store(json(StatusCode::CREATED, &message));
    if let Ok(location) = HeaderValue::from_str(&authd_api::route::share(&share.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// End a share
///
/// Its connections are closed.
#[cfg_attr(test, utoipa::path(
    delete, path = authd_api::route::SHARE, operation_id = "end_share", tag = "shares",
    responses((status = 204, description = "Done."), ShareErrors, StoreErrors),
))]
pub(super) async fn end(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    PathParam(id): PathParam<String>,
) -> Result<StatusCode, ApiError> {
    let shares = &state.broker.shares;
    let profile = shares.get(&id).map(|share| share.terms.profile.clone());
    let usage = Usage { profile, share: Some((&*id).into()), ..Usage::new(AuditAction::Unshare) };
    let ended = state.recorded(&peer, usage, shares.end(&id), |usage, ()| usage).await;
    ended.map_err(|error| problem::share(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hold a share
///
/// For a share that was made with `held`. The response has no content and holds the share as long
/// as it lasts: until the client disconnects, the share ends, or the daemon stops. The share
/// outlives a restart of the daemon, so a client repeats the request until the response is
/// `share_unknown`.
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::SHARE_HOLD, operation_id = "hold_share", tag = "shares",
    responses((status = 200, description = "The share is held until the response ends."),
        ShareErrors, StoreErrors),
))]
pub(super) async fn hold(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    PathParam(id): PathParam<String>,
) -> Result<Response, ApiError> {
    let permit = state.permit_stream(&peer)?;
    let hold = state.broker.shares.hold(&id).await.map_err(|error| problem::share(&error))?;
    let content = stream::unfold((hold, state, permit), async |(hold, state, _permit)| {
        tokio::select! {
            () = hold.share_ended() => {}
            () = state.stopping.cancelled() => {}
        }
        None::<(Result<Bytes, Infallible>, _)>
    });
    Ok(Response::new(Body::from_stream(content)))
}

/// Whether a share has a profile. A sign-out ends the shares that it finds, and a rename changes
/// them: a share that was made at the same time can be missed.
fn has_profile(state: &AppState, id: &str) -> bool {
    let share = state.broker.shares.get(id);
    share.is_some_and(|share| state.broker.registry.snapshot().profiles.contains_key(&share.terms.profile))
}

fn door_closed(error: &std::io::Error) -> Problem {
    Problem::new(ErrorCode::Conflict, format!("the door of the share cannot be opened: {error}"))
}
