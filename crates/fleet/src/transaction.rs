//! The statements. A change is one transaction of two round trips: lock and read the row, and after
//! the decision write, notify and commit. The statements of a round trip are sent together. If one
//! of them fails, the server rolls back at the `COMMIT` behind it.

use std::time::SystemTime;

use authd_oauth::claim::Row;
use authd_store::StoreError;
use futures_util::future::{join, join3};
use jiff::Timestamp;
use tokio_postgres::{
    Client, Error,
    error::SqlState,
    types::{ToSql, Type},
};

use crate::{
    error::describe,
    inner::Inner,
    row::{COLUMNS, ClaimColumns, DatabaseRow, system_time, time},
};

type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
const CLOCK: &str = "SELECT clock_timestamp()";
// Statements after the one that locks: the time is that after the lock.
const CLOCK_AND_REVISION: &str = "SELECT clock_timestamp(), nextval('revision')";
const NOTIFY: &str = "SELECT pg_notify($1, $2)";
const CLAIM: &str = "UPDATE record SET claim_node = $2, claim_run = $3, claim_since = $4, claim_until = $5, \
                     retry_at = $6, updated_at = clock_timestamp(), updated_by = $7 WHERE name = $1";
const INSERT: &str = "INSERT INTO record (name, revision, token, sealed, expires_at, updated_at, updated_by) \
                      VALUES ($1, $2, $3, $4, $5, clock_timestamp(), $6) ON CONFLICT (name) DO NOTHING";
const UPDATE: &str = "UPDATE record SET revision = $2, token = $3, sealed = $4, expires_at = $5, \
                      updated_at = clock_timestamp(), updated_by = $6, claim_node = $7, claim_run = $8, \
                      claim_since = $9, claim_until = $10, retry_at = $11 WHERE name = $1";
const RENAME: &str = "UPDATE record SET name = $2, revision = $3, sealed = $4, \
                      updated_at = clock_timestamp(), updated_by = $5 WHERE name = $1";
const RANK: &str = "UPDATE record SET default_rank = $2, revision = $2, updated_at = clock_timestamp(), \
                    updated_by = $3 WHERE name = $1";

impl Inner {
    /// All rows, and then the clock.
    pub(crate) async fn read_all(
        &self,
        client: &Client,
    ) -> Result<(Vec<tokio_postgres::Row>, Timestamp), StoreError> {
        let all = format!("SELECT {COLUMNS} FROM record ORDER BY name");
        let (rows, now) = join(client.query_typed(&all, &[]), client.query_typed_one(CLOCK, &[])).await;
        Ok((self.ok(rows)?, self.clock(&self.ok(now)?)?))
    }

    /// One row, and then the clock.
    pub(crate) async fn read(
        &self,
        client: &Client,
        name: &str,
    ) -> Result<Option<(DatabaseRow, Timestamp)>, StoreError> {
        let one = format!("SELECT {COLUMNS} FROM record WHERE name = $1");
        let parameters: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
        let row = client.query_typed_opt(&one, &parameters);
        let (row, now) = join(row, client.query_typed_one(CLOCK, &[])).await;
        let (row, now) = (self.ok(row)?, self.clock(&self.ok(now)?)?);
        Ok(row.as_ref().map(DatabaseRow::parse).transpose()?.map(|row| (row, now)))
    }

    /// Begins a transaction. Returns the locked row, the time, and a new revision.
    pub(crate) async fn begin(
        &self,
        client: &Client,
        name: &str,
    ) -> Result<(Option<DatabaseRow>, Timestamp, u64), StoreError> {
        let one = format!("SELECT {COLUMNS} FROM record WHERE name = $1 FOR UPDATE");
        let parameters: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
        let (begun, row, clock) = join3(
            client.batch_execute(BEGIN),
            client.query_typed_opt(&one, &parameters),
            client.query_typed_one(CLOCK_AND_REVISION, &[]),
        )
        .await;
        self.ok(begun)?;
        let (row, clock) = (self.ok(row)?, self.ok(clock)?);
        let revision: i64 = self.ok(clock.try_get(1))?;
        let revision = u64::try_from(revision).map_err(|error| StoreError::unavailable(error.to_string()))?;
        Ok((row.as_ref().map(DatabaseRow::parse).transpose()?, self.clock(&clock)?, revision))
    }

    pub(crate) async fn roll_back(&self, client: &Client) -> Result<(), StoreError> {
        self.ok(client.batch_execute("ROLLBACK").await)
    }

    /// Stores the claim of a row, and commits.
    pub(crate) async fn store_claim(
        &self,
        client: &Client,
        name: &str,
        row: &Row,
        is_announced: bool,
    ) -> Result<(), StoreError> {
        let columns = ClaimColumns::of(row);
        let parameters: [Parameter<'_>; 7] = [
            (&name, Type::TEXT),
            (&columns.node, Type::TEXT),
            (&columns.run, Type::TEXT),
            (&columns.since, Type::TIMESTAMPTZ),
            (&columns.until, Type::TIMESTAMPTZ),
            (&columns.retry_at, Type::TIMESTAMPTZ),
            (&self.node(), Type::TEXT),
        ];
        let payload = announcement(row.revision, name);
        let announcements: &[&str] = if is_announced { &[&payload] } else { &[] };
        self.finish(client, CLAIM, &parameters, announcements).await.and_then(|stored| self.ok(stored))?;
        Ok(())
    }

    /// Stores a row and its sealed record, and commits. Returns `false` if the row is new and
    /// another node has just created one of this name.
    pub(crate) async fn store(
        &self,
        client: &Client,
        name: &str,
        row: &Row,
        sealed: &[u8],
        is_new: bool,
    ) -> Result<bool, StoreError> {
        let columns = ClaimColumns::of(row);
        let (revision, token) = (number(row.revision), number(row.token));
        let expires_at: Option<SystemTime> = row.expires_at.map(system_time);
        let parameters: [Parameter<'_>; 11] = [
            (&name, Type::TEXT),
            (&revision, Type::INT8),
            (&token, Type::INT8),
            (&sealed, Type::BYTEA),
            (&expires_at, Type::TIMESTAMPTZ),
            (&self.node(), Type::TEXT),
            (&columns.node, Type::TEXT),
            (&columns.run, Type::TEXT),
            (&columns.since, Type::TIMESTAMPTZ),
            (&columns.until, Type::TIMESTAMPTZ),
            (&columns.retry_at, Type::TIMESTAMPTZ),
        ];
        let (statement, used) = if is_new { (INSERT, &parameters[..6]) } else { (UPDATE, &parameters[..]) };
        let stored = self.finish(client, statement, used, &[&announcement(row.revision, name)]).await?;
        Ok(self.ok(stored)? == 1)
    }

    /// Stores a row under another name, and commits. Returns `false` if that name is taken.
    pub(crate) async fn store_name(
        &self,
        client: &Client,
        from: &str,
        to: &str,
        revision: u64,
        sealed: &[u8],
    ) -> Result<bool, StoreError> {
        let parameters: [Parameter<'_>; 5] = [
            (&from, Type::TEXT),
            (&to, Type::TEXT),
            (&number(revision), Type::INT8),
            (&sealed, Type::BYTEA),
            (&self.node(), Type::TEXT),
        ];
        let announcements = [deletion(from), announcement(revision, to)];
        let announcements = [&*announcements[0], &*announcements[1]];
        match self.finish(client, RENAME, &parameters, &announcements).await? {
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => Ok(false),
            stored => Ok(self.ok(stored)? == 1),
        }
    }

    /// Stores the rank of a record, which is its new revision: no two are equal. Returns `false` if
    /// there is no record.
    pub(crate) async fn store_rank(&self, client: &Client, name: &str) -> Result<bool, StoreError> {
        let (found, _, revision) = self.begin(client, name).await?;
        if found.is_none() {
            self.roll_back(client).await?;
            return Ok(false);
        }
        let parameters: [Parameter<'_>; 3] =
            [(&name, Type::TEXT), (&number(revision), Type::INT8), (&self.node(), Type::TEXT)];
        let stored = self.finish(client, RANK, &parameters, &[&announcement(revision, name)]).await?;
        Ok(self.ok(stored)? == 1)
    }

    /// Deletes a row, and commits.
    pub(crate) async fn remove(&self, client: &Client, name: &str) -> Result<(), StoreError> {
        let parameters: [Parameter<'_>; 1] = [(&name, Type::TEXT)];
        let delete = "DELETE FROM record WHERE name = $1";
        let removed = self.finish(client, delete, &parameters, &[&deletion(name)]).await?;
        self.ok(removed).map(drop)
    }

    /// Changes a row, announces it, and commits, in one round trip. Returns the number of rows, or
    /// the error of the change, which the server has rolled back.
    async fn finish(
        &self,
        client: &Client,
        statement: &str,
        parameters: &[Parameter<'_>],
        announcements: &[&str],
    ) -> Result<Result<u64, Error>, StoreError> {
        let channel = self.settings.schema.name();
        let announce = async {
            let all = announcements.iter().map(|payload| async move {
                let parameters: [Parameter<'_>; 2] = [(&channel, Type::TEXT), (payload, Type::TEXT)];
                client.execute_typed(NOTIFY, &parameters).await
            });
            futures_util::future::try_join_all(all).await
        };
        let (changed, announced, committed) =
            join3(client.execute_typed(statement, parameters), announce, client.batch_execute("COMMIT"))
                .await;
        if changed.is_ok() {
            self.ok(announced)?;
        }
        self.ok(committed)?;
        Ok(changed)
    }

    fn ok<T>(&self, result: Result<T, Error>) -> Result<T, StoreError> {
        result.map_err(|error| describe(&self.settings, &error))
    }

    fn node(&self) -> &str {
        &self.settings.node
    }

    fn clock(&self, row: &tokio_postgres::Row) -> Result<Timestamp, StoreError> {
        time(self.ok(row.try_get::<_, SystemTime>(0))?)
    }
}

/// The payload that announces a revision.
fn announcement(revision: u64, name: &str) -> String {
    format!("{revision} {name}")
}

/// The payload that announces the end of a name.
fn deletion(name: &str) -> String {
    format!("- {name}")
}

/// A number as the database stores it. It came from there, so that it fits.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
