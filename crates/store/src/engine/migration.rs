//! Moves all records to another store. At every moment `store.json` names the store that holds the
//! records and the store that holds copies. Nothing is deleted before that file is durable.
//!
//! | step | `store.json` | after a crash |
//! |---|---|---|
//! | check that the target is empty | `kind: from` | nothing to do |
//! | copy, and read back each copy | `kind: from, other: to` | recovery deletes the copies |
//! | delete from the old store | `kind: to, other: from` | recovery finishes the deletion |
//! | done | `kind: to` | nothing to do |

use secrecy::SecretString;
use tracing::{info, warn};

use super::Engine;
use crate::{
    Key, Kind, StoreError,
    backend::Backend,
    key::{CLIENT, PROFILE},
    placement::Placement,
    private,
};

/// The result of a migration.
#[derive(Debug)]
pub struct MigrationReport {
    /// How many records were moved.
    pub records: usize,
    /// Why the old store still holds its copies, if it does. `Store::recover` deletes them later.
    pub left_behind: Option<StoreError>,
}

impl Engine {
    /// Moves all records to a store of another kind. After an error nothing has moved.
    pub(crate) fn migrate(&mut self, to: Kind) -> Result<MigrationReport, StoreError> {
        let from = self.backend()?.kind();
        if from == to {
            return Ok(MigrationReport { records: 0, left_behind: None });
        }
        if to == Kind::Memory || self.foreign {
            return Err(StoreError::refused(format!("the {to} store keeps nothing beyond this process")));
        }
        self.clear_other()?;
        self.check_target(to)?;
        let records = self.load_all()?;
        let placement = self.placement()?;
        placement.write(placement.get().with_stores(from, to))?;
        if let Err(error) = self.copy_all(&records, from, to) {
            if let Err(error) = self.clear_other() {
                warn!(%error, store = %to, "failed migration left copies");
            }
            return Err(error);
        }
        std::mem::swap(&mut self.backend, &mut self.other_backend);
        self.fallback = None;
        info!(%from, %to, records = records.len(), "store migrated");
        if from == Kind::Memory {
            self.other_backend = None;
        }
        let left_behind = self.clear_other().err();
        if let Some(error) = &left_behind {
            warn!(%error, store = %from, "old store still holds its copies; deleting them later");
        }
        Ok(MigrationReport { records: records.len(), left_behind })
    }

    /// Copies all records to the target, and then makes it the store in use.
    fn copy_all(&mut self, records: &[(Key, SecretString)], from: Kind, to: Kind) -> Result<(), StoreError> {
        // An interrupted probe leaves a record, so `store.json` must name the target before.
        self.other_backend(to).probe()?;
        for (key, record) in records {
            let label = match key.kind {
                PROFILE => format!("authd: profile {}", key.name),
                CLIENT => format!("authd: registered client {}", key.name),
                _ => format!("authd: {key}"),
            };
            self.other_backend(to).save_verified(key, &label, record)?;
        }
        let placement = self.placement()?;
        placement.write(placement.get().with_stores(to, from))
    }

    /// Finishes what an earlier run or call left unfinished: a migration, a rekey and a probe. If a
    /// store cannot be reached, its part stays unfinished.
    pub(crate) fn recover(&mut self) -> Result<(), StoreError> {
        private::clear_leftovers();
        let cleared = self.clear_other();
        let recovered = self.backend()?.recover();
        if self.has_probe_record {
            self.backend()?.delete(&Key::probe())?;
            self.has_probe_record = false;
        }
        cleared.and(recovered)
    }

    /// Deletes the copies that a migration left in the store that is not in use.
    fn clear_other(&mut self) -> Result<(), StoreError> {
        let in_use = self.backend()?.kind();
        if self.foreign {
            return Ok(());
        }
        let placement = self.placement()?.get().clone();
        let Some(other) = placement.other.filter(|other| *other != in_use) else { return Ok(()) };
        // After a failed write the file may name the two stores the other way round. Then the
        // copies count as the records, so write the file before deleting.
        self.placement()?.write(placement.clone())?;
        self.other_backend(other).clear()?;
        self.other_backend = None;
        self.placement()?.write(Placement { other: None, ..placement })
    }

    /// Fails unless the target can be listed and holds no records.
    fn check_target(&mut self, to: Kind) -> Result<(), StoreError> {
        let target = self.other_backend(to);
        let keys = target.list()?.keys;
        if keys.is_empty() {
            return Ok(());
        }
        Err(StoreError::refused(format!(
            "{} already contain the records {}, perhaps of another AUTHD_STATE_DIR; delete them there, or \
             use another store.service",
            target.description(),
            join(&keys)
        )))
    }

    /// Loads every record, or fails with the keys of all damaged records.
    fn load_all(&mut self) -> Result<Vec<(Key, SecretString)>, StoreError> {
        let (mut records, mut damaged, mut reason) = (Vec::new(), Vec::new(), String::new());
        for key in self.backend()?.list()?.keys {
            match self.backend()?.load(&key) {
                Ok(record) => records.extend(record.map(|record| (key, record))),
                Err(StoreError::Damaged { detail, .. }) => {
                    damaged.push(key);
                    reason = detail;
                }
                Err(error) => return Err(error),
            }
        }
        if damaged.is_empty() {
            return Ok(records);
        }
        let detail = format!("{reason}; nothing was moved. Sign in again or delete the record, then migrate");
        Err(StoreError::Damaged { key: join(&damaged), detail })
    }

    /// The backend of this kind that is not in use.
    fn other_backend(&mut self, kind: Kind) -> &mut dyn Backend {
        let backend = self.other_backend.take().filter(|backend| backend.kind() == kind);
        let backend = backend.unwrap_or_else(|| self.open(kind));
        &mut **self.other_backend.insert(backend)
    }
}

fn join(keys: &[Key]) -> String {
    keys.iter().map(Key::to_string).collect::<Vec<_>>().join(", ")
}
