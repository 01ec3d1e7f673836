//! The audit log.

use std::{io, sync::Arc};

use authd_api::{AuditTarget, ErrorCode, Problem, ProfileName};
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::State,
    response::Response,
};
use futures_util::stream;
use http::{HeaderValue, header};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::watch;

#[cfg(test)]
use super::openapi::responses::{ConflictErrors, QueryErrors};
use crate::{
    audit::{AuditReader, Filter},
    http::{
        extract::QueryParams,
        peer::Peer,
        respond::ApiError,
        state::{AppState, SharedState},
    },
    platform::Permit,
};

/// The media type of one JSON value a line.
const JSON_LINES: HeaderValue = HeaderValue::from_static("application/jsonl");

#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Entries from this time on (RFC 3339); without it, all that are kept. Other forms of RFC 3339
    /// than the pattern are accepted, too.
    #[cfg_attr(test, param(value_type = Option<String>, example = "2026-11-23T14:00:00Z",
        pattern = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$"))]
    since: Option<Timestamp>,
    /// Entries about this profile. It need not exist any more.
    #[cfg_attr(test, param(example = "work"))]
    profile: Option<ProfileName>,
    /// Whether to send new entries until the client disconnects or the daemon stops.
    #[serde(default)]
    #[cfg_attr(test, param(default = false, example = false))]
    follow: bool,
}

/// The audit log
///
/// The entries of the kept files, the oldest first. Uses that were counted so far are written
/// first. With `[audit] to = "journal"` or `"off"` there are no files (`conflict`).
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::AUDIT, operation_id = "audit", tag = "daemon", params(AuditQuery),
    responses(
        (status = 200, description = "One entry a line; never a secret.", body = authd_api::AuditEntry,
            content_type = "application/jsonl",
            example = "{\"time\":\"2026-11-23T14:00:00Z\",\"request\":42,\"action\":\"headers\",\"count\":1,\
                \"profile\":\"work\",\"generation\":7,\"process\":{\"pid\":4711,\"uid\":1000}}\n"),
        QueryErrors, ConflictErrors,
    ),
))]
pub(super) async fn read(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    QueryParams(AuditQuery { since, profile, follow }): QueryParams<AuditQuery>,
) -> Result<Response, ApiError> {
    let conflict = |detail: &str| Problem::new(ErrorCode::Conflict, detail);
    match state.audit.status().to {
        AuditTarget::File => {}
        AuditTarget::Journal => {
            let problem = conflict("the audit log is in the journal");
            return Err(problem.hint("run: authctl audit, or: journalctl -t authd-audit -o cat").into());
        }
        AuditTarget::Off | AuditTarget::Unknown => {
            let problem = conflict("the audit log is off");
            return Err(problem.hint("set [audit] to = \"file\" in authd.toml, then reload authd").into());
        }
    }
    let permit = state.permit_stream(&peer)?;
    let written = state.audit.written();
    let reader = state.audit.read(Filter { since, profile }).await.map_err(|error| {
        conflict(&format!("the audit log cannot be read: {error}")).hint("run: authctl doctor")
    })?;
    let log_stream = LogStream { state, reader, written, follow, _permit: permit };
    let stream = stream::try_unfold(log_stream, |mut log_stream| async move {
        let chunk = log_stream.next().await?;
        Ok::<_, io::Error>(chunk.map(|chunk| (Bytes::from(chunk), log_stream)))
    });
    let mut response = Response::new(Body::from_stream(stream));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON_LINES);
    Ok(response)
}

struct LogStream {
    state: Arc<AppState>,
    reader: AuditReader,
    written: watch::Receiver<()>,
    follow: bool,
    _permit: Permit,
}

impl LogStream {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            // A write during the reading is noticed.
            self.written.mark_unchanged();
            let chunk = self.reader.next_chunk().await?;
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
            if !self.follow {
                return Ok(None);
            }
            tokio::select! {
                () = self.state.stopping.cancelled() => return Ok(None),
                changed = self.written.changed() => if changed.is_err() { return Ok(None) },
            }
        }
    }
}
