//! Credentials: ready headers and refreshes.

use std::{sync::Arc, time::Duration};

use authd_api::{AuditAction, RefreshBody};
use authd_broker::{ProfileSnapshot, now};
use authd_oauth::Rejected;
use axum::{
    Extension,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

#[cfg(test)]
use super::openapi::{
    ETAG,
    responses::{BodyErrors, ChangedProfile, CredentialErrors, ProfileErrors, StoreErrors},
};
use crate::{
    audit::Usage,
    http::{
        extract::{IfNoneMatch, Json, PathParam, QueryParams},
        peer::Peer,
        problem,
        respond::{ApiError, JSON, SegmentedBody, json, no_store},
        state::{AppState, ResolvedProfile, SharedState},
    },
};

#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct HeadersQuery {
    /// Seconds for which the headers must stay valid. The daemon refreshes first if necessary; if
    /// that fails, the response is the problem. A value above the provider's token lifetime is
    /// capped, so that not every request refreshes. If absent, `[refresh] min_ttl` applies, and a
    /// token that cannot be refreshed is served until it expires.
    #[cfg_attr(test, param(example = 300))]
    min_ttl: Option<u64>,
}

impl HeadersQuery {
    pub(in crate::http) fn min_ttl(&self) -> Option<Duration> {
        self.min_ttl.map(Duration::from_secs)
    }
}

/// Ready headers
///
/// From memory, after a refresh if one is needed.
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::HEADERS, operation_id = "headers", tag = "credentials",
    params(HeadersQuery, ("If-None-Match" = Option<String>, Header, example = json!(ETAG),
        description = "The `ETag` of the client's headers: 304 if they have not changed.")),
    responses(
        (status = 200, description = "The headers. A client that gets 401 with them requests a refresh.",
            body = authd_api::Headers, headers(("cache-control"), ("etag"))),
        (status = 304, description = "The headers have not changed.", headers(("cache-control"), ("etag"))),
        ProfileErrors, CredentialErrors, StoreErrors,
    ),
))]
pub(super) async fn headers(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    PathParam(param): PathParam<String>,
    QueryParams(query): QueryParams<HeadersQuery>,
    IfNoneMatch(known_etag): IfNoneMatch,
) -> Result<Response, ApiError> {
    let profile = state.resolve(&param).await?;
    let snapshot = state.get_or_refresh(&profile, query.min_ttl()).await?;
    Ok(headers_response(&state, &peer, &profile, &snapshot, known_etag.as_ref()))
}

/// The headers message, or 304 if the client has it. A message is recorded in the audit log.
pub(in crate::http) fn headers_response(
    state: &AppState,
    peer: &Peer,
    profile: &ResolvedProfile,
    snapshot: &ProfileSnapshot,
    known_etag: Option<&HeaderValue>,
) -> Response {
    let etag = snapshot.headers.etag();
    let mut response = if known_etag.is_some_and(|known| known == etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let generation = Some(snapshot.credential.generation);
        state.record(peer, || Usage { generation, ..Usage::new(AuditAction::Headers).of(&profile.name) });
        let mut response = Response::new(Body::new(SegmentedBody::from(snapshot.headers_json())));
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        response
    };
    response.headers_mut().insert(header::ETAG, etag);
    no_store(response)
}

/// Refresh now
///
/// A client that got 401 names the generation it used, and the grant. If there is a newer
/// generation already, nothing is refreshed. A client that got 403 `insufficient_scope` names the
/// scopes instead. Then nothing is refreshed, and the profile requires a sign-in, unless the last
/// sign-in requested these scopes already (`conflict`).
#[cfg_attr(test, utoipa::path(
    post, path = authd_api::route::REFRESH, operation_id = "refresh", tag = "credentials",
    request_body = RefreshBody,
    responses(ChangedProfile, BodyErrors, ProfileErrors, CredentialErrors, StoreErrors),
))]
pub(super) async fn refresh(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    PathParam(param): PathParam<String>,
    Json(RefreshBody { rejected_generation, grant_id, missing_scopes }): Json<RefreshBody>,
) -> Result<Response, ApiError> {
    let profile = state.resolve(&param).await?;
    state.record(&peer, || Usage::new(AuditAction::Refresh).of(&profile.name));
    let grant_id = grant_id.map(String::into_boxed_str);
    if !missing_scopes.is_empty() {
        if let Some(problem) = problem::invalid_scopes(&missing_scopes) {
            return Err(problem.about(&profile.name).into());
        }
        let after = state.report_missing_scopes(&profile, grant_id.clone(), missing_scopes.clone()).await?;
        // A report about an earlier grant is answered by the sign-in that replaced it.
        let is_replaced = grant_id.is_some_and(|id| *id != *after.credential.grant_id);
        return match problem::missing_scopes(&after, &missing_scopes).filter(|_| !is_replaced) {
            Some(problem) => Err(problem.into()),
            None => Ok(json(StatusCode::OK, &state.profile_message(&profile.name)?)),
        };
    }
    let rejected = rejected_generation.map(|generation| Rejected { generation, grant_id });
    let (before, after) = state.refresh(&profile, rejected.clone()).await?;
    match problem::refresh(&before, &after, rejected.as_ref(), now()) {
        Some(problem) => Err(problem.into()),
        None => Ok(json(StatusCode::OK, &state.profile_message(&profile.name)?)),
    }
}
