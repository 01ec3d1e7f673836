//! The store: migration to another kind, and a new key.

use authd_api::{ErrorCode, MigrateBody, Migrated, Problem, StoreKind};
use authd_broker::MigrationTarget;
use axum::{extract::State, response::Response};
use http::StatusCode;

#[cfg(test)]
use super::openapi::responses::{BodyErrors, StoreErrors};
use crate::http::{
    convert,
    extract::Json,
    problem,
    respond::{ApiError, json},
    state::SharedState,
};

/// Move everything to another store
///
/// Nothing is deleted before its copy was read back. `postgres` moves the profiles into the
/// database of the fleet, and creates its tables. From there, `keychain` and `file` move the
/// profiles of the whole fleet to this machine: the other nodes lose them.
#[cfg_attr(test, utoipa::path(
    post, path = authd_api::route::STORE_MIGRATE, operation_id = "migrate_store", tag = "store",
    request_body = MigrateBody,
    responses((status = 200, description = "The result.", body = Migrated), BodyErrors, StoreErrors),
))]
pub(super) async fn migrate(
    State(state): SharedState,
    Json(MigrateBody { to }): Json<MigrateBody>,
) -> Result<Response, ApiError> {
    let to = match to {
        StoreKind::Keychain => MigrationTarget::Local(authd_store::Kind::Keychain),
        StoreKind::File => MigrationTarget::Local(authd_store::Kind::File),
        StoreKind::Postgres => MigrationTarget::Fleet,
        StoreKind::Memory | StoreKind::Unknown => {
            let problem = Problem::new(ErrorCode::BadRequest, "credentials cannot be moved there");
            return Err(problem.hint("\"to\" is keychain, file or postgres").into());
        }
    };
    let migrated = state.broker.registry.migrate(to).await;
    let migrated = migrated.map_err(|error| problem::migration(&error))?;
    let message = Migrated {
        records: migrated.records,
        left_behind: migrated.left_behind.map(|error| error.to_string()),
        store: convert::store(&state.stores),
    };
    Ok(json(StatusCode::OK, &message))
}

/// Encrypt everything with a new key
#[cfg_attr(test, utoipa::path(
    post, path = authd_api::route::STORE_REKEY, operation_id = "rekey_store", tag = "store",
    responses((status = 200, description = "The store.", body = authd_api::StoreStatus), StoreErrors),
))]
pub(super) async fn rekey(State(state): SharedState) -> Result<Response, ApiError> {
    state.broker.registry.rekey().await.map_err(|error| problem::migration(&error))?;
    Ok(json(StatusCode::OK, &convert::store(&state.stores)))
}
