//! The calls that read and write records. Each change is one transaction of two round trips: lock
//! and read the row; decide by the pure rules; write, notify and commit.

use std::{sync::Arc, time::Duration};

use authd_oauth::{
    claim::{self, ClaimDecision, ClaimRequest, Conflict, Write},
    schedule::later,
};
use authd_store::StoreError;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    connection::Tables,
    fleet::Fleet,
    inner::Inner,
    row::{DatabaseRow, StoredRecord, between},
    seal,
};

/// The answer to a claim.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// The token may be sent now.
    Granted {
        /// When the token was claimed before without a known result: its answer may be lost.
        lost_since: Option<Timestamp>,
    },
    /// Not before this time has passed.
    Wait {
        /// The time on the database's clock.
        wait: Duration,
        /// The node that holds the claim, if any.
        holder: Option<Arc<str>>,
    },
    /// There is a newer token; `None`: the record was deleted.
    Superseded(Option<StoredRecord>),
}

/// The result of a write.
#[derive(Clone, Debug)]
pub enum Written {
    /// The record is stored.
    Done {
        /// The new revision.
        revision: u64,
        /// The number of the refresh token.
        token: u64,
    },
    /// The write was based on an outdated state. This is the present one; `None`: no record.
    Conflict(Option<StoredRecord>),
}

/// The result of a rename.
#[derive(Clone, Debug)]
pub enum Renamed {
    /// The record has the new name.
    Done {
        /// The new revision.
        revision: u64,
    },
    /// Another record has that name.
    Taken,
    /// The rename was based on an outdated state. This is the present one.
    Conflict(Option<StoredRecord>),
}

/// The result of taking a record out of the store.
#[derive(Clone, Debug)]
pub enum TakenOut {
    /// The record is deleted.
    Done,
    /// Nothing is deleted: another process may have sent the token at this time, and its answer may
    /// be lost. Note that in the copy, and repeat the call with it.
    Lost {
        /// The time of the claim.
        since: Timestamp,
    },
    /// Not before this time has passed.
    Wait {
        /// The time on the database's clock.
        wait: Duration,
        /// The node that holds the claim, if any.
        holder: Option<Arc<str>>,
    },
    /// The record has changed; `None`: it was deleted.
    Superseded(Option<StoredRecord>),
}

impl Fleet {
    /// All records, by name. One that cannot be opened does not hide the others.
    pub async fn list(&self) -> Result<Vec<(String, Result<StoredRecord, StoreError>)>, StoreError> {
        let inner = &*self.0;
        let (rows, now) = inner
            .call(async {
                let session = inner.session(Tables::Ready).await?;
                let found = inner.read_all(session.client()).await?;
                session.keep();
                Ok(found)
            })
            .await?;
        let shared = self.0.clone();
        let open = move || rows.iter().map(|row| open_listed(&shared, row, now)).collect();
        tokio::task::spawn_blocking(open).await.map_err(|error| StoreError::unavailable(error.to_string()))
    }

    /// One record; `None` if there is none of this name.
    pub async fn load(&self, name: &str) -> Result<Option<StoredRecord>, StoreError> {
        let inner = &*self.0;
        inner
            .call(async {
                let session = inner.session(Tables::Ready).await?;
                let found = inner.read(session.client(), name).await?;
                session.keep();
                Ok(found)
            })
            .await
            .and_then(|found| inner.open(found))
    }

    /// Requests the permission to send the refresh token of this revision. `rejected`: an upstream
    /// rejected the access token. Measure the time since this call for
    /// [`may_send`](authd_oauth::claim::may_send).
    pub async fn claim(&self, name: &str, revision: u64, rejected: bool) -> Result<Claimed, StoreError> {
        let inner = &*self.0;
        let request = ClaimRequest { holder: inner.holder.clone(), revision, rejected };
        let (found, claimed) = inner
            .call(async {
                let session = inner.session(Tables::Ready).await?;
                let client = session.client();
                let (found, now, _) = inner.begin(client, name).await?;
                let decision = found
                    .as_ref()
                    .map(|found| claim::claim(&found.row, &request, inner.settings.lease(), now));
                let claimed = match decision {
                    Some(ClaimDecision::Granted { row, lost_since }) => {
                        inner.store_claim(client, name, &row, false).await?;
                        Some(Claimed::Granted { lost_since })
                    }
                    Some(ClaimDecision::Wait { until, holder }) => {
                        inner.roll_back(client).await?;
                        Some(Claimed::Wait { wait: between(now, until), holder })
                    }
                    Some(ClaimDecision::Superseded) | None => {
                        inner.roll_back(client).await?;
                        None
                    }
                };
                session.keep();
                Ok((found.map(|found| (found, now)), claimed))
            })
            .await?;
        inner.status.count(|counters| match &claimed {
            Some(Claimed::Granted { lost_since }) => {
                counters.claims_granted += 1;
                counters.takeovers += u64::from(lost_since.is_some());
            }
            Some(Claimed::Wait { .. }) => counters.claims_waited += 1,
            Some(Claimed::Superseded(_)) | None => {}
        });
        match claimed {
            Some(claimed) => Ok(claimed),
            None => Ok(Claimed::Superseded(inner.open(found)?)),
        }
    }

    /// Ends this process's claim: its token was certainly not spent. With `retry_after`, no claim
    /// is granted before that time has passed. Does nothing if another process holds the claim.
    /// After an error the claim ends with its lease.
    pub async fn release(&self, name: &str, retry_after: Option<Duration>) -> Result<(), StoreError> {
        let inner = &*self.0;
        inner
            .call(async {
                let session = inner.session(Tables::Ready).await?;
                let client = session.client();
                let (found, now, _) = inner.begin(client, name).await?;
                let retry_at = retry_after.map(|after| later(now, after));
                let released =
                    found.as_ref().map(|found| claim::release(&found.row, &inner.holder, retry_at));
                match (found, released) {
                    (Some(found), Some(released)) if found.row != released => {
                        inner.store_claim(client, name, &released, true).await?;
                    }
                    _ => inner.roll_back(client).await?,
                }
                session.keep();
                Ok(())
            })
            .await
    }

    /// Writes a record. A repeated write whose answer was lost is recognised by its text.
    /// `valid_for` is the remaining lifetime of the access token in the record.
    pub async fn write(
        &self,
        name: &str,
        write: Write,
        text: SecretString,
        valid_for: Option<Duration>,
    ) -> Result<Written, StoreError> {
        let inner = &*self.0;
        let sealed = seal::seal(&inner.settings.key, name, &text)?;
        let (written, found) = inner
            .call(async {
                let session = inner.session(Tables::Ready).await?;
                let client = session.client();
                let (mut found, now, revision) = inner.begin(client, name).await?;
                let expires_at = valid_for.map(|valid_for| later(now, valid_for));
                let row = found.as_ref().map(|found| &found.row);
                let decision = claim::write(row, write, &inner.holder, revision, expires_at);
                let is_new = found.is_none();
                let mut written = None;
                match decision {
                    Ok(row) if inner.store(client, name, &row, &sealed, is_new).await? => written = Some(row),
                    // Another node has just created the record.
                    Ok(_) => found = inner.read(client, name).await?.map(|(found, _)| found),
                    Err(Conflict) => inner.roll_back(client).await?,
                }
                session.keep();
                Ok((written, found.map(|found| (found, now))))
            })
            .await?;
        if let Some(row) = written {
            return Ok(Written::Done { revision: row.revision, token: row.token });
        }
        let found = inner.open(found)?;
        match found {
            Some(found) if is_same(&found.text, &text) => {
                Ok(Written::Done { revision: found.revision, token: found.token })
            }
            found => {
                inner.status.count(|counters| counters.conflicts += 1);
                Ok(Written::Conflict(found))
            }
        }
    }

    /// Gives the record the highest rank. Returns `false` if there is none of this name.
    pub async fn make_default(&self, name: &str) -> Result<bool, StoreError> {
        let inner = &*self.0;
        inner
            .call(async {
                let session = inner.session(Tables::Ready).await?;
                let client = session.client();
                let ranked = inner.store_rank(client, name).await?;
                session.keep();
                Ok(ranked)
            })
            .await
    }

    /// Renames a record of this revision, with its claim. `text` is the record under its new name.
    pub async fn rename(
        &self,
        from: &str,
        to: &str,
        text: SecretString,
        revision: u64,
    ) -> Result<Renamed, StoreError> {
        let inner = &*self.0;
        let sealed = seal::seal(&inner.settings.key, to, &text)?;
        let (renamed, found, target) = inner
            .call(async {
                let session = inner.session(Tables::Ready).await?;
                let client = session.client();
                let (found, now, new) = inner.begin(client, from).await?;
                let mut renamed = None;
                let mut target = None;
                if found.as_ref().is_some_and(|found| found.row.revision == revision) {
                    let done = inner.store_name(client, from, to, new, &sealed).await?;
                    renamed = Some(if done { Renamed::Done { revision: new } } else { Renamed::Taken });
                } else {
                    inner.roll_back(client).await?;
                    target = inner.read(client, to).await?;
                }
                session.keep();
                Ok((renamed, found.map(|found| (found, now)), target))
            })
            .await?;
        if let Some(renamed) = renamed {
            return Ok(renamed);
        }
        let found = inner.open(found)?;
        if found.is_none()
            && let Some(target) = inner.open(target)?
            && is_same(&target.text, &text)
        {
            return Ok(Renamed::Done { revision: target.revision });
        }
        inner.status.count(|counters| counters.conflicts += 1);
        Ok(Renamed::Conflict(found))
    }

    /// Deletes a record of this revision, which this process has copied to a store of its own. The
    /// copy has the refresh token from then on, so a process that may not send the token may not
    /// take it out. No claim is stored: a process that dies after the copy blocks no other one.
    /// `lost_since` is what the copy says of a lost answer.
    pub async fn take_out(
        &self,
        name: &str,
        revision: u64,
        lost_since: Option<Timestamp>,
    ) -> Result<TakenOut, StoreError> {
        let inner = &*self.0;
        let request = ClaimRequest { holder: inner.holder.clone(), revision, rejected: false };
        let (found, taken) = inner
            .call(async {
                let session = inner.session(Tables::Ready).await?;
                let client = session.client();
                let (found, now, _) = inner.begin(client, name).await?;
                let decision = found
                    .as_ref()
                    .map(|found| claim::claim(&found.row, &request, inner.settings.lease(), now));
                let taken = match decision {
                    Some(ClaimDecision::Granted { lost_since: Some(since), .. }) if lost_since.is_none() => {
                        Some(TakenOut::Lost { since })
                    }
                    Some(ClaimDecision::Granted { .. }) => Some(TakenOut::Done),
                    Some(ClaimDecision::Wait { until, holder }) => {
                        Some(TakenOut::Wait { wait: between(now, until), holder })
                    }
                    Some(ClaimDecision::Superseded) | None => None,
                };
                match taken {
                    Some(TakenOut::Done) => inner.remove(client, name).await?,
                    _ => inner.roll_back(client).await?,
                }
                session.keep();
                Ok((found.map(|found| (found, now)), taken))
            })
            .await?;
        match taken {
            Some(taken) => Ok(taken),
            None => Ok(TakenOut::Superseded(inner.open(found)?)),
        }
    }

    /// Deletes a record, whatever its state. Without a record it does nothing.
    pub async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let inner = &*self.0;
        inner
            .call(async {
                let session = inner.session(Tables::Ready).await?;
                let client = session.client();
                inner.begin(client, name).await?;
                inner.remove(client, name).await?;
                session.keep();
                Ok(())
            })
            .await
    }
}

impl Inner {
    fn open(&self, found: Option<(DatabaseRow, Timestamp)>) -> Result<Option<StoredRecord>, StoreError> {
        found.map(|(row, now)| row.open(&self.settings.key, now)).transpose()
    }
}

/// Opens a row of the list.
fn open_listed(
    inner: &Inner,
    row: &tokio_postgres::Row,
    now: Timestamp,
) -> (String, Result<StoredRecord, StoreError>) {
    match DatabaseRow::parse(row) {
        Ok(found) => {
            let record = found.open(&inner.settings.key, now);
            (found.name, record)
        }
        Err(error) => (row.try_get(0).unwrap_or_default(), Err(error)),
    }
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
