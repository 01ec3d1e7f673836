//! The store: migration to another kind, and a new key.

use authd_api::{ErrorCode, MigrateBody, Migrated, Problem, StoreKind};
use axum::{extract::State, response::Response};
use http::StatusCode;

use crate::http::{
    convert,
    extract::Json,
    problem,
    respond::{ApiError, json},
    state::SharedState,
};

pub(super) async fn migrate(
    State(state): SharedState,
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
    let migrated = state.broker.registry.migrate(to).await;
    let migrated = migrated.map_err(|error| problem::migration(&error))?;
    let message = Migrated {
        records: migrated.records,
        left_behind: migrated.left_behind.map(|error| error.to_string()),
        store: convert::store(state.store.borrow().clone()),
    };
    Ok(json(StatusCode::OK, &message))
}

pub(super) async fn rekey(State(state): SharedState) -> Result<Response, ApiError> {
    state.broker.registry.rekey().await.map_err(|error| problem::migration(&error))?;
    Ok(json(StatusCode::OK, &convert::store(state.store.borrow().clone())))
}
