//! Loads the profiles: lists the store, reads every record, and resolves what a crash interrupted
//! before a record is used.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use authd_api::ProfileName;
use authd_oauth::{Annotation, Intent, Record};
use authd_store::{ProfilePlace, StoreError};
use tracing::{info, warn};

use super::{
    actor::RegistryActor,
    pending_change::PendingChange,
    recovery::{IntentResolution, OtherRecord, duplicates, other_name, resolve_intent},
    snapshot::{Names, not_read},
};
use crate::{
    codex::{CodexNotice, is_owned_here},
    profile::{InitialState, ProfileHandle, delete, load, put},
    snapshot::ProfileView,
};

/// The record of a profile, or the view of a profile without a usable record.
type LoadResult = Result<Record, ProfileView>;

impl RegistryActor {
    /// Lists the stores and reads every record. If a store cannot be listed, no name is known, and
    /// the registry tries again.
    pub(super) async fn load_all(&mut self) {
        if let Err(error) = self.try_load_all().await {
            warn!(%error, "store not listed; no profile is known; retrying");
            Arc::make_mut(&mut self.snapshot).names = Names::Unavailable(Arc::new(error));
            return self.publish();
        }
        Arc::make_mut(&mut self.snapshot).names = Names::Known;
        self.publish();
        info!(profiles = self.snapshot.profiles.len(), "profiles loaded");
        for name in self.snapshot.profiles.keys() {
            self.announce(name);
        }
    }

    async fn try_load_all(&mut self) -> Result<(), StoreError> {
        let place = self.find_place().await?;
        Arc::make_mut(&mut self.snapshot).place = place;
        let fleet = self.fleet();
        if let Some(fleet) = &fleet {
            // A change after the list is not missed.
            self.changes.get_or_insert_with(|| fleet.changes());
            let records = fleet.list().await?;
            // So that another configuration does not hide its records.
            if place == ProfilePlace::Fleet {
                self.deps.store.set_profile_place(place).await?;
            }
            // While both stores hold a record, the fleet's counts.
            self.take_list(fleet, records);
        }
        if place == ProfilePlace::Fleet { Ok(()) } else { self.load_local().await }
    }

    /// Reads every record of this node's store.
    async fn load_local(&mut self) -> Result<(), StoreError> {
        let store = self.store();
        let listing = store.list().await?;
        for key in &listing.unknown {
            warn!(key, "unknown entry in the store left as it is");
        }
        let mut records: BTreeMap<ProfileName, LoadResult> = BTreeMap::new();
        for name in &listing.profiles {
            let Some(name) = parse_name(name) else { continue };
            match load(&store, &name).await {
                // It was deleted after the store was listed.
                Ok(None) => {}
                Ok(Some(record)) => drop(records.insert(name, Ok(record))),
                Err(view) => drop(records.insert(name, Err(view))),
            }
        }
        self.leave_out_moved(&mut records).await?;
        let legacy = store.legacy_index();
        for name in legacy.iter().flat_map(|legacy| &legacy.discarded).filter_map(|name| name.parse().ok()) {
            if records.remove(&name).is_some() {
                self.add_pending_change(PendingChange::Delete { name });
            }
        }
        for (kept, dropped) in duplicates(&records) {
            warn!(%kept, %dropped, "two records hold one grant; deleting the second");
            records.remove(&dropped);
            self.add_pending_change(PendingChange::Delete { name: dropped });
        }
        for name in records.keys().cloned().collect::<Vec<_>>() {
            // The resolution of another record may have removed it.
            match records.get(&name).cloned() {
                Some(Ok(record)) => {
                    let resolution = resolve_intent(&name, &record, |other| other_record(records.get(other)));
                    self.resolve(&name, record, resolution, Some(&mut records)).await;
                }
                Some(Err(view)) => self.show_unread(&name, view),
                None => {}
            }
        }
        if let Some(legacy) = legacy {
            let default = legacy.default.and_then(|name| name.parse::<ProfileName>().ok());
            if let Some(name) = default.as_ref().filter(|_| self.ranks.is_empty()) {
                self.ranks.insert(name.clone(), 1);
            }
            self.add_pending_change(PendingChange::LegacyIndex { default });
        }
        if self.snapshot.place == ProfilePlace::Local {
            self.clear_lower_ranks();
        }
        Ok(())
    }

    /// Leaves out the records that the fleet's store has, too. A record of another grant whose name
    /// the fleet has given away gets another name. One that cannot be read keeps its name, and the
    /// move of the fleet's record waits for it.
    async fn leave_out_moved(
        &self,
        records: &mut BTreeMap<ProfileName, LoadResult>,
    ) -> Result<(), StoreError> {
        let grant_of = |handle: &ProfileHandle| Some(handle.view().snapshot()?.credential.grant_id.clone());
        let moved: BTreeSet<_> = self.snapshot.profiles.values().filter_map(grant_of).collect();
        records.retain(|_, record| record.as_ref().map_or(true, |record| !moved.contains(&record.grant_id)));
        let taken: Vec<_> =
            records.keys().filter(|name| self.snapshot.profiles.contains_key(*name)).cloned().collect();
        for name in taken {
            let most = records.len() + self.snapshot.profiles.len() + 2;
            let other = (2..=most)
                .map(|n| name.alternative(n))
                .find(|other| !records.contains_key(other) && !self.snapshot.profiles.contains_key(other));
            let (Some(other), Some(Ok(record))) = (other, records.remove(&name)) else { continue };
            put(&self.deps.store, &other, &record).await?;
            delete(&self.deps.store, &name).await?;
            warn!(profile = %name, %other, "the fleet has another profile of this name");
            records.insert(other, Ok(record));
        }
        Ok(())
    }

    /// Reads the record of a profile, if it has not been read.
    pub(super) async fn retry_load(&mut self, name: &ProfileName) {
        if !self.unread.contains_key(name) {
            return;
        }
        if self.snapshot.place == ProfilePlace::Fleet {
            return self.read_shared(name).await;
        }
        match load(&self.store(), name).await {
            // The fleet may have it.
            Ok(None) if self.is_moving() => return self.read_shared(name).await,
            Ok(None) => self.remove(name),
            Err(view) => return self.show_unread(name, view),
            Ok(Some(record)) => {
                // The other record of a rename may wait for this one.
                let other = match record.intent.as_ref().and_then(other_name) {
                    Some(other) => self.current_other_record(&other).await,
                    None => OtherRecord::Absent,
                };
                let resolution = resolve_intent(name, &record, |_| other);
                self.resolve(name, record, resolution, None).await;
            }
        }
        self.publish();
        self.announce(name);
    }

    /// Starts the profile of a record, or finishes the move that its intent describes. `others` are
    /// the records that have no profile yet.
    async fn resolve(
        &mut self,
        name: &ProfileName,
        record: Record,
        resolution: IntentResolution,
        others: Option<&mut BTreeMap<ProfileName, LoadResult>>,
    ) {
        let mut clear_intent = false;
        let name = name.clone();
        match resolution {
            IntentResolution::Live => {}
            IntentResolution::ClearIntent => {
                info!(profile = %name, "interrupted move reverted or finished");
                clear_intent = true;
            }
            IntentResolution::FinishRename { to } => {
                info!(profile = %name, %to, "finishing an interrupted rename");
                self.remove(&name);
                return self.add_pending_change(PendingChange::Rename { from: name, to });
            }
            IntentResolution::FinishRenameFrom { from } => {
                info!(profile = %name, %from, "finishing an interrupted rename");
                self.remove(&from);
                others.map(|records| records.remove(&from));
                self.add_pending_change(PendingChange::Rename { from, to: name.clone() });
            }
            IntentResolution::Discard => {
                info!(profile = %name, "deleting the copy of an interrupted rename");
                self.remove(&name);
                return self.add_pending_change(PendingChange::Delete { name });
            }
            IntentResolution::DiscardCopy { copy } => {
                self.add_pending_change(PendingChange::DiscardCopy { name: name.clone(), copy });
            }
            IntentResolution::Hold => return self.show_unread(&name, not_read().into()),
            IntentResolution::CheckCodexHome => {
                match is_owned_here(&record, &self.homes, &self.deps.store).await {
                    Ok(true) => match &record.intent {
                        // The Codex manager finishes the import.
                        Some(intent @ Intent::ImportFrom { .. }) => {
                            self.notify_codex(CodexNotice::Import(name.clone(), intent.clone()));
                        }
                        _ => clear_intent = true,
                    },
                    Ok(false) => {
                        info!(profile = %name, "grant belongs to Codex; deleting our record");
                        self.remove(&name);
                        return self.add_pending_change(PendingChange::Delete { name });
                    }
                    Err(error) => return self.show_unread(&name, error.into()),
                }
            }
        }
        let rank = record.default_rank;
        let record = Box::new(record);
        let state = match self.target_fleet() {
            // Its move to the fleet was interrupted. It is not known whether it is there.
            Some(fleet) => InitialState::SharedSignIn(record, fleet, None),
            None => InitialState::Loaded(record),
        };
        self.start(&name, state);
        if clear_intent {
            self.annotate_later(&name, Annotation::Intent(None));
        }
        if rank > 0 && self.default_chosen {
            // A default that the user chose in this run outranks a record that is read later.
            self.annotate_later(&name, Annotation::DefaultRank(0));
        } else if rank > 0 {
            self.ranks.insert(name, rank);
        }
    }

    /// Shows a profile whose record is not usable now.
    pub(super) fn show_unread(&mut self, name: &ProfileName, view: ProfileView) {
        if let Some(handle) = self.snapshot.profiles.get(name) {
            return handle.set_view(view);
        }
        let (handle, mailbox) = ProfileHandle::new(view);
        self.handles().insert(name.clone(), handle);
        self.unread.insert(name.clone(), mailbox);
    }

    /// The current state of the record under another name.
    async fn current_other_record(&self, name: &ProfileName) -> OtherRecord {
        if self.unread.contains_key(name) {
            let loaded = load(&self.store(), name).await;
            return other_record(loaded.transpose().as_ref());
        }
        match self.view(name) {
            None => OtherRecord::Absent,
            Some(ProfileView::Loaded(snapshot)) => {
                let discards = self.pending_changes.iter().find_map(|change| match change {
                    PendingChange::DiscardCopy { name: of, copy } if of == name => Some(copy.clone()),
                    _ => None,
                });
                OtherRecord::Of { grant_id: snapshot.credential.grant_id.clone(), discards }
            }
            Some(view) => other_record(Some(&Err(view))),
        }
    }
}

/// The name of a record. One that no profile can have is logged.
pub(super) fn parse_name(name: &str) -> Option<ProfileName> {
    let parsed = name.parse().ok();
    if parsed.is_none() {
        warn!(name, "record with an invalid profile name left as it is");
    }
    parsed
}

fn other_record(loaded: Option<&LoadResult>) -> OtherRecord {
    match loaded {
        None => OtherRecord::Absent,
        Some(Err(view)) if view.is_damaged() => OtherRecord::Unusable,
        Some(Err(_)) => OtherRecord::Unread,
        Some(Ok(record)) => {
            let discards = match &record.intent {
                Some(Intent::DiscardCopy { name }) => name.parse().ok(),
                _ => None,
            };
            OtherRecord::Of { grant_id: record.grant_id.clone(), discards }
        }
    }
}
