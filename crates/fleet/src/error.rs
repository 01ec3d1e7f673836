//! The errors of PostgreSQL, as messages that say what failed, why, and what to do.

use std::time::Duration;

use authd_oauth::with_causes;
use authd_store::StoreError;
use tokio_postgres::{Error, error::SqlState};

use crate::config::{Settings, quote};

/// The error of a call, for the user. All of these are tried again: the server, its settings or the
/// grants can be mended while the daemon runs.
pub(crate) fn describe(settings: &Settings, error: &Error) -> StoreError {
    let server = settings.server();
    let Some(db) = error.as_db_error() else {
        let detail = with_causes(error);
        let hint = if detail.starts_with("error connecting to server") {
            "; check the network and the server, for example with pg_isready"
        } else if !settings.is_encrypted() {
            ""
        } else if detail.contains("does not support TLS") {
            "; set ssl = on in postgresql.conf, or store.postgres.tls = \"disable\" for a network that is safe"
        } else if detail.contains("TLS handshake") {
            "; check the server's certificate, and store.postgres.ca_file"
        } else {
            ""
        };
        return StoreError::unavailable(format!("{server}: {detail}{hint}"));
    };
    let message = db.message();
    let code = db.code();
    if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME {
        return missing_schema(settings);
    }
    let hint = if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        "; the server is a standby, or default_transaction_read_only is set: connect to the primary"
            .to_owned()
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        format!("; {}", grants_hint(settings))
    } else if *code == SqlState::INVALID_PASSWORD {
        "; correct the user or the password in the file of store.postgres.url_file".to_owned()
    } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION && !settings.is_encrypted() {
        "; if the server requires TLS, set store.postgres.tls = \"require\"".to_owned()
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        "; create the database with createdb, or correct the connection string".to_owned()
    } else if *code == SqlState::TOO_MANY_CONNECTIONS {
        "; a node has two connections: raise max_connections".to_owned()
    } else {
        String::new()
    };
    StoreError::unavailable(format!("{server}: {message}{hint}"))
}

/// The tables do not exist.
pub(crate) fn missing_schema(settings: &Settings) -> StoreError {
    StoreError::unavailable(format!(
        "{} has no tables of authd in the schema {}; create them with authctl store migrate --to postgres, \
         or correct store.postgres.schema",
        settings.server(),
        settings.schema.quoted(),
    ))
}

/// The server did not answer in time.
pub(crate) fn timed_out(settings: &Settings, deadline: Duration) -> StoreError {
    StoreError::unavailable(format!("{} did not answer within {deadline:?}", settings.server()))
}

/// The commands that give a role what a node needs.
pub(crate) fn grants_hint(settings: &Settings) -> String {
    let schema = settings.schema.quoted();
    let role = role(settings);
    format!(
        "as the owner of the tables: GRANT USAGE ON SCHEMA {schema} TO {role}; \
         GRANT SELECT ON {schema}.meta TO {role}; \
         GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.record TO {role}; \
         GRANT USAGE ON SEQUENCE {schema}.revision TO {role}"
    )
}

/// The role of the connection, as an SQL identifier.
pub(crate) fn role(settings: &Settings) -> String {
    settings.postgres.get_user().map_or_else(|| "CURRENT_USER".to_owned(), quote)
}
