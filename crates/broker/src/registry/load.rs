//! How the registry learns which profiles there are: it lists the store, reads every record, and settles what a crash
//! interrupted before anything uses them.

use std::{collections::BTreeMap, sync::Arc};

use authd_api::ProfileName;
use authd_oauth::{Annotation, Intent, Record};
use authd_store::StoreError;
use tracing::{info, warn};

use super::{
    actor::RegistryActor,
    pending_change::PendingChange,
    recovery::{IntentResolution, OtherRecord, duplicates, resolve_intent},
    snapshot::{Names, not_read},
};
use crate::{
    codex::{CodexNotice, is_owned_here},
    profile::{InitialState, ProfileHandle, load},
    snapshot::ProfileView,
};

/// What the store gave for a name.
type LoadResult = Result<Record, ProfileView>;

/// Where a grant belongs whose move was interrupted.
enum GrantOwner {
    /// It is ours; and whether nothing is left to do.
    Here { finished: bool },
    /// It is Codex's.
    Elsewhere,
}

impl RegistryActor {
    /// Lists the store and reads every record. If the store cannot be listed, no name is known, and this is tried again.
    pub(super) async fn list(&mut self) {
        let store = self.store();
        let listing = match store.list().await {
            Ok(listing) => listing,
            Err(error) => {
                warn!(%error, "the store cannot be listed; no profile is known until it can");
                Arc::make_mut(&mut self.snapshot).names = Names::Unavailable(Arc::new(error));
                return self.publish();
            }
        };
        for key in &listing.unknown {
            warn!(key, "the store holds something that is no record of authd's; it is left as it is");
        }
        let mut records: BTreeMap<ProfileName, LoadResult> = BTreeMap::new();
        for name in &listing.profiles {
            let Ok(name) = name.parse::<ProfileName>() else {
                warn!(name, "the store holds a record without a valid profile name; it is left as it is");
                continue;
            };
            match load(&store, &name).await {
                // It was deleted meanwhile.
                Ok(None) => {}
                Ok(Some(record)) => drop(records.insert(name, Ok(record))),
                Err(view) => drop(records.insert(name, Err(view))),
            }
        }
        let legacy = store.legacy_index();
        for name in legacy.iter().flat_map(|legacy| &legacy.discarded).filter_map(|name| name.parse().ok()) {
            if records.remove(&name).is_some() {
                self.add_pending_change(PendingChange::Delete { name });
            }
        }
        for (kept, dropped) in duplicates(&records) {
            warn!(%kept, %dropped, "two records hold one grant; the second is deleted");
            records.remove(&dropped);
            self.add_pending_change(PendingChange::Delete { name: dropped });
        }
        for name in records.keys().cloned().collect::<Vec<_>>() {
            // A resolution can take another record away.
            if let Some(loaded) = records.get(&name).cloned() {
                let resolution = loaded.map(|record| {
                    let resolution = resolve_intent(&name, &record, |other| copy(records.get(other)));
                    (record, resolution)
                });
                self.admit(&name, resolution, Some(&mut records)).await;
            }
        }
        if let Some(legacy) = legacy {
            let default = legacy.default.and_then(|name| name.parse().ok());
            if let Some(name) = default.as_ref().filter(|_| self.ranks.is_empty()) {
                self.ranks.insert(ProfileName::clone(name), 1);
            }
            self.add_pending_change(PendingChange::LegacyIndex { default });
        }
        self.unmark_all_but_the_highest();
        Arc::make_mut(&mut self.snapshot).names = Names::Known;
        self.publish();
        info!(profiles = self.snapshot.profiles.len(), "the store is listed");
        for name in self.snapshot.profiles.keys() {
            self.announce(name);
        }
    }

    /// Reads the record of a profile that has not been read.
    pub(super) async fn read_again(&mut self, name: &ProfileName) {
        if !self.unread.contains_key(name) {
            return;
        }
        match load(&self.store(), name).await {
            Ok(None) => self.remove(name),
            Err(view) => return self.show_unread(name, view),
            Ok(Some(record)) => {
                // The other half of a rename may be waiting for this one.
                let other = match record.intent.as_ref().and_then(other_name) {
                    Some(other) => self.copy_of(&other).await,
                    None => OtherRecord::Absent,
                };
                let resolution = resolve_intent(name, &record, |_| other);
                self.admit(name, Ok((record, resolution)), None).await;
            }
        }
        self.publish();
        self.announce(name);
    }

    /// Takes a profile in, or finishes what its record says has begun. `records` are those that are not taken in yet.
    async fn admit(
        &mut self,
        name: &ProfileName,
        loaded: Result<(Record, IntentResolution), ProfileView>,
        records: Option<&mut BTreeMap<ProfileName, LoadResult>>,
    ) {
        let (record, resolution) = match loaded {
            Ok(loaded) => loaded,
            Err(view) => return self.show_unread(name, view),
        };
        let mut clear_intent = false;
        let name = name.clone();
        match resolution {
            IntentResolution::Live => {}
            IntentResolution::ClearIntent => {
                info!(profile = %name, "an interrupted move is taken back, or was finished");
                clear_intent = true;
            }
            IntentResolution::FinishRename { to } => {
                info!(profile = %name, %to, "an interrupted rename is finished");
                self.remove(&name);
                return self.add_pending_change(PendingChange::Rename { from: name, to });
            }
            IntentResolution::FinishRenameFrom { from } => {
                info!(profile = %name, %from, "an interrupted rename is finished");
                self.remove(&from);
                records.map(|records| records.remove(&from));
                self.add_pending_change(PendingChange::Rename { from, to: name.clone() });
            }
            IntentResolution::Discard => {
                info!(profile = %name, "the copy of an interrupted rename is deleted");
                self.remove(&name);
                return self.add_pending_change(PendingChange::Delete { name });
            }
            IntentResolution::DiscardCopy { copy } => {
                self.add_pending_change(PendingChange::DiscardCopy { name: name.clone(), copy });
            }
            IntentResolution::Hold => {
                return self.show_unread(&name, ProfileView::StoreUnavailable(Arc::new(not_read())));
            }
            IntentResolution::LookElsewhere => match self.look_elsewhere(&name, &record).await {
                Ok(GrantOwner::Here { finished }) => clear_intent = finished,
                Ok(GrantOwner::Elsewhere) => {
                    info!(profile = %name, "the login belongs to Codex; the record here is deleted");
                    self.remove(&name);
                    return self.add_pending_change(PendingChange::Delete { name });
                }
                Err(view) => return self.show_unread(&name, view),
            },
        }
        let rank = record.default_rank;
        self.start(&name, InitialState::Loaded(Box::new(record)));
        if clear_intent {
            self.annotate_later(&name, Annotation::Intent(None));
        }
        if rank > 0 && self.default_chosen {
            // A default that was chosen in this run counts more than one that is read late.
            self.annotate_later(&name, Annotation::DefaultRank(0));
        } else if rank > 0 {
            self.ranks.insert(name, rank);
        }
    }

    /// An export or an import was interrupted: the other place says who owns the grant.
    async fn look_elsewhere(
        &mut self,
        name: &ProfileName,
        record: &Record,
    ) -> Result<GrantOwner, ProfileView> {
        let unread = |error: StoreError| ProfileView::StoreUnavailable(Arc::new(error));
        if !is_owned_here(record, &self.homes, &self.deps.store).await.map_err(unread)? {
            return Ok(GrantOwner::Elsewhere);
        }
        let Some(intent @ Intent::ImportFrom { .. }) = &record.intent else {
            return Ok(GrantOwner::Here { finished: true });
        };
        // Nothing listens any more while the daemon stops.
        self.notices.send(CodexNotice::Import(name.clone(), intent.clone())).ok();
        Ok(GrantOwner::Here { finished: false })
    }

    /// The profile is there, and its record is not: this is how it looks until that is read.
    fn show_unread(&mut self, name: &ProfileName, view: ProfileView) {
        if let Some(handle) = self.snapshot.profiles.get(name) {
            return handle.set_view(view);
        }
        let (handle, mailbox) = ProfileHandle::new(view);
        self.handles().insert(name.clone(), handle);
        self.unread.insert(name.clone(), mailbox);
    }

    /// What lies under a name now. A record that is not taken in is read.
    async fn copy_of(&self, name: &ProfileName) -> OtherRecord {
        if !self.unread.contains_key(name) {
            return self.live_copy(name);
        }
        match load(&self.store(), name).await {
            Ok(None) => OtherRecord::Absent,
            Ok(Some(record)) => copy(Some(&Ok(record))),
            Err(view) => without_record(&view),
        }
    }

    fn live_copy(&self, name: &ProfileName) -> OtherRecord {
        let discards = self.pending_changes.iter().find_map(|change| match change {
            PendingChange::DiscardCopy { name: of, copy } if of == name => Some(copy.clone()),
            _ => None,
        });
        match self.snapshot.profiles.get(name).map(ProfileHandle::view) {
            None => OtherRecord::Absent,
            Some(ProfileView::Loaded(snapshot)) => {
                OtherRecord::Of { grant_id: snapshot.credential.grant_id.clone(), discards }
            }
            Some(view @ (ProfileView::StoreUnavailable(_) | ProfileView::Unreadable(_))) => {
                without_record(&view)
            }
        }
    }
}

fn copy(loaded: Option<&LoadResult>) -> OtherRecord {
    match loaded {
        None => OtherRecord::Absent,
        Some(Err(view)) => without_record(view),
        Some(Ok(record)) => {
            let discards = match &record.intent {
                Some(Intent::DiscardCopy { name }) => name.parse().ok(),
                _ => None,
            };
            OtherRecord::Of { grant_id: record.grant_id.clone(), discards }
        }
    }
}

/// The other name that an intent speaks of.
fn other_name(intent: &Intent) -> Option<ProfileName> {
    match intent {
        Intent::RenameTo { name } | Intent::CopyOf { name } | Intent::DiscardCopy { name } => {
            name.parse().ok()
        }
        Intent::ExportTo { .. } | Intent::ImportFrom { .. } => None,
    }
}

/// What a name has whose record is not usable now.
fn without_record(view: &ProfileView) -> OtherRecord {
    if view.is_damaged() { OtherRecord::Unusable } else { OtherRecord::Unread }
}
