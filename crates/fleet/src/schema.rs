//! The tables: their versions, and their checks.

use authd_store::StoreError;
use tokio_postgres::{Client, error::SqlState, types::Type};

use crate::{
    config::Settings,
    error::{describe, grants_hint, role},
};

/// The lock that makes nodes migrate one after the other. The number is the word `authd`.
const LOCK: i64 = 0x0061_7574_6864;

/// The steps from each version to the next. A step that was released is never changed.
const STEPS: &[&str] = &["
    CREATE TABLE meta (version int4 NOT NULL, recipient text NOT NULL);
    CREATE SEQUENCE revision;
    CREATE TABLE record (
        name text PRIMARY KEY,
        revision int8 NOT NULL,
        token int8 NOT NULL,
        default_rank int8 NOT NULL DEFAULT 0,
        sealed bytea NOT NULL,
        expires_at timestamptz,
        claim_node text,
        claim_run text,
        claim_since timestamptz,
        claim_until timestamptz,
        retry_at timestamptz,
        updated_at timestamptz NOT NULL,
        updated_by text NOT NULL
    );
"];

const PRIVILEGES: &str = "SELECT current_user::text, \
    has_table_privilege('record', 'SELECT') AND has_table_privilege('record', 'INSERT') \
    AND has_table_privilege('record', 'UPDATE') AND has_table_privilege('record', 'DELETE') \
    AND has_sequence_privilege('revision', 'USAGE'), \
    current_setting('transaction_read_only') = 'on'";

/// The version of the tables that this program uses.
fn version() -> i32 {
    i32::try_from(STEPS.len()).unwrap_or(i32::MAX)
}

/// Checks the version of the tables, and that they belong to this fleet.
pub(crate) fn check(settings: &Settings, found: i32, recipient: &str) -> Result<(), StoreError> {
    let (schema, version) = (settings.schema.quoted(), version());
    if found > version {
        return Err(StoreError::unavailable(format!(
            "the tables in the schema {schema} have version {found}, and this program knows version {version}; \
             update authd on this node"
        )));
    }
    if found < version {
        return Err(StoreError::unavailable(format!(
            "the tables in the schema {schema} have version {found}, and this program needs version {version}; \
             run authctl store migrate --to postgres"
        )));
    }
    check_key(settings, recipient)
}

fn check_key(settings: &Settings, recipient: &str) -> Result<(), StoreError> {
    let keys: Vec<String> = settings.key.public_keys().collect();
    if keys.iter().any(|key| key == recipient) {
        return Ok(());
    }
    Err(StoreError::unavailable(format!(
        "the schema {} belongs to the fleet with the public key {recipient}, and this node has the key {}; \
         install the fleet's key (store.postgres.key_file), or use another schema (store.postgres.schema)",
        settings.schema.quoted(),
        keys.join(", "),
    )))
}

/// Creates the tables or brings them to the current version, in one transaction.
pub(crate) async fn migrate(settings: &Settings, client: &Client) -> Result<(), StoreError> {
    let failed = |error: tokio_postgres::Error| describe(settings, &error);
    let schema = settings.schema.name();
    client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED").await.map_err(failed)?;
    client.query_typed("SELECT pg_advisory_xact_lock($1)", &[(&LOCK, Type::INT8)]).await.map_err(failed)?;
    let found = client
        .query_typed_one(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1), \
             EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'meta')",
            &[(&schema, Type::TEXT)],
        )
        .await
        .map_err(failed)?;
    let (has_schema, has_meta) =
        (found.try_get::<_, bool>(0).map_err(failed)?, found.try_get::<_, bool>(1).map_err(failed)?);
    if !has_schema {
        let create = format!("CREATE SCHEMA {}", settings.schema.quoted());
        client.batch_execute(&create).await.map_err(|error| may_not_create(settings, &error))?;
    }
    let mut from = 0;
    if has_meta {
        let meta =
            client.query_typed_one("SELECT version, recipient FROM meta", &[]).await.map_err(failed)?;
        from = meta.try_get::<_, i32>(0).map_err(failed)?;
        check_key(settings, &meta.try_get::<_, String>(1).map_err(failed)?)?;
        if from >= version() {
            client.batch_execute("ROLLBACK").await.map_err(failed)?;
            return check(settings, from, &meta.try_get::<_, String>(1).map_err(failed)?);
        }
    }
    for step in STEPS.iter().skip(usize::try_from(from).unwrap_or_default()) {
        client.batch_execute(step).await.map_err(|error| may_not_create(settings, &error))?;
    }
    let recipient = settings.key.public_keys().next().unwrap_or_default();
    let set = if has_meta {
        "UPDATE meta SET version = $1"
    } else {
        "INSERT INTO meta (version, recipient) VALUES ($1, $2)"
    };
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&version(), Type::INT4), (&recipient, Type::TEXT)];
    let used = if has_meta { &parameters[..1] } else { &parameters[..] };
    client.execute_typed(set, used).await.map_err(failed)?;
    client.batch_execute("COMMIT").await.map_err(failed)
}

/// The error of a statement that creates the schema or a table.
fn may_not_create(settings: &Settings, error: &tokio_postgres::Error) -> StoreError {
    if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return describe(settings, error);
    }
    let (schema, role) = (settings.schema.quoted(), role(settings));
    StoreError::unavailable(format!(
        "{}: the role {role} may not create the tables; as a superuser: CREATE SCHEMA {schema} AUTHORIZATION \
         {role}, or for an existing schema: ALTER SCHEMA {schema} OWNER TO {role}",
        settings.server()
    ))
}

/// Checks that this role may write.
pub(crate) async fn check_write_access(settings: &Settings, client: &Client) -> Result<(), StoreError> {
    let failed = |error: tokio_postgres::Error| describe(settings, &error);
    let found = client.query_typed_one(PRIVILEGES, &[]).await.map_err(failed)?;
    let role: String = found.try_get(0).map_err(failed)?;
    if !found.try_get::<_, bool>(1).map_err(failed)? {
        return Err(StoreError::unavailable(format!(
            "{}: the role {role} may not write the records; {}",
            settings.server(),
            grants_hint(settings)
        )));
    }
    if found.try_get::<_, bool>(2).map_err(failed)? {
        return Err(StoreError::unavailable(format!(
            "{} is read-only; the server is a standby, or default_transaction_read_only is set: connect to \
             the primary",
            settings.server()
        )));
    }
    Ok(())
}
