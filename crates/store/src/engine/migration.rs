//! Moving every record to another store. `store.json` tells at every moment which store holds the records,
//! and which one holds copies; nothing is deleted before that is durable.
//!
//! | step | `store.json` | after a crash |
//! |---|---|---|
//! | the target is empty | `kind: from` | |
//! | copy, reading back each copy | `kind: from, other: to` | the copies are deleted |
//! | delete from the old store | `kind: to, other: from` | the deletion is finished |
//! | done | `kind: to` | |

use secrecy::SecretString;
use tracing::{info, warn};

use super::Engine;
use crate::{Key, Kind, StoreError, backend::Backend, placement::Placement, private};

/// What a migration did.
#[derive(Debug)]
pub struct MigrationReport {
    /// How many records were moved.
    pub records: usize,
    /// Why the old store still holds its copies, if it does. [`crate::Store::recover`] tries again.
    pub left_behind: Option<StoreError>,
}

impl Engine {
    /// Moves every record to a store of another kind. After an error everything is where it was.
    pub(crate) fn migrate(&mut self, to: Kind) -> Result<MigrationReport, StoreError> {
        let from = self.backend()?.kind();
        if from == to {
            return Ok(MigrationReport { records: 0, left_behind: None });
        }
        if to == Kind::Memory || self.foreign {
            let detail = format!("the {to} store keeps nothing beyond this process");
            return Err(StoreError::Refused { detail });
        }
        self.clear_other()?;
        self.check_target(to)?;
        let records = self.load_all()?;
        self.placement()?.write(Placement::new(Some(from), Some(to)))?;
        // An interrupted probe leaves a record, so it comes after the intent, too.
        let probed = self.second(to).probe();
        let copied = probed.and_then(|()| {
            records.iter().try_for_each(|(key, record)| {
                let name = key.profile_name();
                let label =
                    name.map_or_else(|| format!("authd: {key}"), |name| format!("authd: profile {name}"));
                self.second(to).save_verified(key, &label, record)
            })
        });
        let moved = copied.and_then(|()| self.placement()?.write(Placement::new(Some(to), Some(from))));
        if let Err(error) = moved {
            if let Err(left) = self.clear_other() {
                warn!(error = %left, store = %to, "copies of an interrupted migration are left");
            }
            return Err(error);
        }
        std::mem::swap(&mut self.backend, &mut self.second);
        self.fallback = None;
        info!(%from, %to, records = records.len(), "moved every record to another store");
        if from == Kind::Memory {
            self.second = None;
        }
        let left_behind = self.clear_other().err();
        if let Some(error) = &left_behind {
            warn!(%error, store = %from, "the old store still holds its copies; they are deleted later");
        }
        Ok(MigrationReport { records: records.len(), left_behind })
    }

    /// Finishes what an earlier run, or an earlier call, left unfinished: a migration, a change of the key, and a
    /// probe. While a store cannot be reached, its part stays to be done.
    pub(crate) fn recover(&mut self) -> Result<(), StoreError> {
        private::clear_leftovers();
        let cleared = self.clear_other();
        let recovered = self.backend()?.recover();
        if self.probe_left {
            self.backend()?.delete(&Key::probe())?;
            self.probe_left = false;
        }
        cleared.and(recovered)
    }

    /// Deletes the copies that a migration left in the store that is not in use.
    fn clear_other(&mut self) -> Result<(), StoreError> {
        let in_use = self.backend()?.kind();
        if self.foreign {
            return Ok(());
        }
        let placement = self.placement()?.get();
        let Some(other) = placement.other.filter(|other| *other != in_use) else { return Ok(()) };
        // The file may hold the opposite after a write that failed: then the copies are the records.
        self.placement()?.write(placement)?;
        self.second(other).clear()?;
        self.second = None;
        self.placement()?.write(Placement { other: None, ..placement })
    }

    /// A store that can be listed and holds no records.
    fn check_target(&mut self, to: Kind) -> Result<(), StoreError> {
        let target = self.second(to);
        let keys = target.list()?.keys;
        if keys.is_empty() {
            return Ok(());
        }
        let place = target.description();
        Err(StoreError::Refused {
            detail: format!(
                "{place} already hold the records {}, perhaps of another AUTHD_STATE_DIR; delete them there, or \
                 use another store.service",
                names(&keys)
            ),
        })
    }

    /// Every record, or an error that names all damaged ones.
    fn load_all(&mut self) -> Result<Vec<(Key, SecretString)>, StoreError> {
        let (mut records, mut damaged, mut reason) = (Vec::new(), Vec::new(), String::new());
        for key in self.list()?.keys {
            match self.load(&key) {
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
        let detail = format!("{reason}; nothing was moved. Sign in again or delete it, then migrate");
        Err(StoreError::Damaged { key: names(&damaged), detail })
    }

    /// The backend of this kind that is not in use.
    fn second(&mut self, kind: Kind) -> &mut dyn Backend {
        let second = match self.second.take() {
            Some(second) if second.kind() == kind => second,
            Some(_) | None => self.start(kind),
        };
        &mut **self.second.insert(second)
    }
}

fn names(keys: &[Key]) -> String {
    keys.iter().map(Key::to_string).collect::<Vec<_>>().join(", ")
}
