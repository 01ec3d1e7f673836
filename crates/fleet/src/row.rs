//! The rows of the table `record`.

use std::time::{Duration, SystemTime};

use authd_oauth::claim::{Claim, Holder, Row};
use authd_store::{SealingKey, StoreError};
use jiff::Timestamp;
use secrecy::SecretString;
use tokio_postgres::types::FromSql;

use crate::seal;

/// The columns of a row, in the order of [`DatabaseRow::parse`].
pub(crate) const COLUMNS: &str = "name, revision, token, default_rank, sealed, expires_at, claim_node, \
                                  claim_run, claim_since, claim_until, retry_at";

/// A record as the database holds it.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// The record's text.
    pub text: SecretString,
    /// Changes with every write.
    pub revision: u64,
    /// The number of the refresh token.
    pub token: u64,
    /// The record with the highest rank is the default. 0: never made the default.
    pub default_rank: u64,
    /// How long the access token is still valid by the database's clock, if its expiry is known.
    pub valid_for: Option<Duration>,
}

/// A parsed row.
pub(crate) struct DatabaseRow {
    pub(crate) name: String,
    pub(crate) row: Row,
    default_rank: u64,
    sealed: Vec<u8>,
}

impl DatabaseRow {
    pub(crate) fn parse(row: &tokio_postgres::Row) -> Result<Self, StoreError> {
        let name: String = column(row, 0, "?")?;
        let number =
            |index| column::<i64>(row, index, &name).map(|number| u64::try_from(number).unwrap_or_default());
        let at = |index| column::<Option<SystemTime>>(row, index, &name)?.map(time).transpose();
        let node: Option<String> = column(row, 6, &name)?;
        let run: Option<String> = column(row, 7, &name)?;
        let claim = match (node, run, at(8)?, at(9)?) {
            (Some(node), Some(run), Some(since), Some(until)) => {
                Some(Claim { holder: Holder { node: node.into(), run: run.into() }, since, until })
            }
            _ => None,
        };
        Ok(Self {
            row: Row {
                revision: number(1)?,
                token: number(2)?,
                expires_at: at(5)?,
                claim,
                retry_at: at(10)?,
            },
            default_rank: number(3)?,
            sealed: column(row, 4, &name)?,
            name,
        })
    }

    /// The record, opened.
    pub(crate) fn open(&self, key: &SealingKey, now: Timestamp) -> Result<StoredRecord, StoreError> {
        Ok(StoredRecord {
            text: seal::open(key, &self.name, &self.sealed)?,
            revision: self.row.revision,
            token: self.row.token,
            default_rank: self.default_rank,
            valid_for: self.row.expires_at.map(|at| between(now, at)),
        })
    }
}

/// The parameters of a claim's columns, from `claim_node` on.
pub(crate) struct ClaimColumns {
    pub(crate) node: Option<String>,
    pub(crate) run: Option<String>,
    pub(crate) since: Option<SystemTime>,
    pub(crate) until: Option<SystemTime>,
    pub(crate) retry_at: Option<SystemTime>,
}

impl ClaimColumns {
    pub(crate) fn of(row: &Row) -> Self {
        let claim = row.claim.as_ref();
        Self {
            node: claim.map(|claim| claim.holder.node.to_string()),
            run: claim.map(|claim| claim.holder.run.to_string()),
            since: claim.map(|claim| system_time(claim.since)),
            until: claim.map(|claim| system_time(claim.until)),
            retry_at: row.retry_at.map(system_time),
        }
    }
}

/// The time from one moment to a later one; zero if it has passed.
pub(crate) fn between(now: Timestamp, at: Timestamp) -> Duration {
    at.duration_since(now).try_into().unwrap_or_default()
}

/// A time of the database.
pub(crate) fn time(time: SystemTime) -> Result<Timestamp, StoreError> {
    Timestamp::try_from(time).map_err(|error| StoreError::Unavailable {
        detail: format!("the database returned a time that cannot be used: {error}"),
    })
}

/// A time for the database. The system's times have a wider range.
pub(crate) fn system_time(time: Timestamp) -> SystemTime {
    SystemTime::try_from(time).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn column<'a, T: FromSql<'a>>(
    row: &'a tokio_postgres::Row,
    index: usize,
    name: &str,
) -> Result<T, StoreError> {
    row.try_get(index)
        .map_err(|error| StoreError::Damaged { key: name.to_owned(), detail: error.to_string() })
}
