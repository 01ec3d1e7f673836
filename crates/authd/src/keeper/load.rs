//! How the registry learns which profiles there are: it lists the store, reads every record, and settles what a crash
//! interrupted before anything uses them.

use std::{collections::BTreeMap, sync::Arc};

use authd_api::ProfileName;
use authd_oauth::{Annotation, Intent, Record};
use authd_store::StoreError;
use tracing::{info, warn};

use super::{
    Names, Registry,
    settle::{Copy, Settlement, duplicates, settle},
    unfinished::Unfinished,
};
use crate::{
    codex::{homes::CodexNotice, location},
    facts::View,
    profile::{InitialState, ProfileHandle, load},
};

/// What the store gave for a name.
type Loaded = Result<Record, View>;

/// Where a grant belongs whose move was interrupted.
enum Owner {
    /// It is ours; and whether nothing is left to do.
    Here { finished: bool },
    /// It is Codex's.
    Elsewhere,
}

impl Registry {
    /// Lists the store and reads every record. If the store cannot be listed, no name is known, and this is tried again.
    pub(super) async fn list(&mut self) {
        let store = self.store();
        let listing = match store.list().await {
            Ok(listing) => listing,
            Err(error) => {
                warn!(%error, "the store cannot be listed; no profile is known until it can");
                Arc::make_mut(&mut self.directory).names = Names::Unavailable(Arc::new(error));
                return self.publish();
            }
        };
        for key in &listing.unknown {
            warn!(key, "the store holds something that is no record of authd's; it is left as it is");
        }
        let mut records: BTreeMap<ProfileName, Loaded> = BTreeMap::new();
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
                self.add_unfinished(Unfinished::Delete { name });
            }
        }
        for (kept, dropped) in duplicates(&records) {
            warn!(%kept, %dropped, "two records hold one grant; the second is deleted");
            records.remove(&dropped);
            self.add_unfinished(Unfinished::Delete { name: dropped });
        }
        for name in records.keys().cloned().collect::<Vec<_>>() {
            // A settlement can take another record away.
            if let Some(loaded) = records.get(&name).cloned() {
                let settlement = loaded.map(|record| {
                    let settlement = settle(&name, &record, |other| copy(records.get(other)));
                    (record, settlement)
                });
                self.admit(&name, settlement, Some(&mut records)).await;
            }
        }
        if let Some(legacy) = legacy {
            let default = legacy.default.and_then(|name| name.parse().ok());
            if let Some(name) = default.as_ref().filter(|_| self.ranks.is_empty()) {
                self.ranks.insert(ProfileName::clone(name), 1);
            }
            self.add_unfinished(Unfinished::LegacyIndex { default });
        }
        self.unmark_all_but_the_highest();
        Arc::make_mut(&mut self.directory).names = Names::Known;
        self.publish();
        info!(profiles = self.directory.profiles.len(), "the store is listed");
        for name in self.directory.profiles.keys() {
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
                    None => Copy::Absent,
                };
                let settlement = settle(name, &record, |_| other);
                self.admit(name, Ok((record, settlement)), None).await;
            }
        }
        self.publish();
        self.announce(name);
    }

    /// Takes a profile in, or finishes what its record says has begun. `records` are those that are not taken in yet.
    async fn admit(
        &mut self,
        name: &ProfileName,
        loaded: Result<(Record, Settlement), View>,
        records: Option<&mut BTreeMap<ProfileName, Loaded>>,
    ) {
        let (record, settlement) = match loaded {
            Ok(loaded) => loaded,
            Err(view) => return self.show_unread(name, view),
        };
        let mut clear_intent = false;
        let name = name.clone();
        match settlement {
            Settlement::Live => {}
            Settlement::ClearIntent => {
                info!(profile = %name, "an interrupted move is taken back, or was finished");
                clear_intent = true;
            }
            Settlement::FinishRename { to } => {
                info!(profile = %name, %to, "an interrupted rename is finished");
                self.remove(&name);
                return self.add_unfinished(Unfinished::Rename { from: name, to });
            }
            Settlement::FinishRenameFrom { from } => {
                info!(profile = %name, %from, "an interrupted rename is finished");
                self.remove(&from);
                records.map(|records| records.remove(&from));
                self.add_unfinished(Unfinished::Rename { from, to: name.clone() });
            }
            Settlement::Discard => {
                info!(profile = %name, "the copy of an interrupted rename is deleted");
                self.remove(&name);
                return self.add_unfinished(Unfinished::Delete { name });
            }
            Settlement::DiscardCopy { copy } => {
                self.add_unfinished(Unfinished::DiscardCopy { name: name.clone(), copy });
            }
            Settlement::Hold => return self.show_unread(&name, View::Closed(Arc::new(super::not_read()))),
            Settlement::LookElsewhere => match self.look_elsewhere(&name, &record).await {
                Ok(Owner::Here { finished }) => clear_intent = finished,
                Ok(Owner::Elsewhere) => {
                    info!(profile = %name, "the login belongs to Codex; the record here is deleted");
                    self.remove(&name);
                    return self.add_unfinished(Unfinished::Delete { name });
                }
                Err(view) => return self.show_unread(&name, view),
            },
        }
        let rank = record.default_rank;
        self.start(&name, InitialState::Loaded(Box::new(record)));
        if clear_intent {
            self.note(&name, Annotation::Intent(None));
        }
        if rank > 0 && self.chosen {
            // A default that was chosen in this run counts more than one that is read late.
            self.note(&name, Annotation::DefaultRank(0));
        } else if rank > 0 {
            self.ranks.insert(name, rank);
        }
    }

    /// An export or an import was interrupted: the other place says who owns the grant.
    async fn look_elsewhere(&mut self, name: &ProfileName, record: &Record) -> Result<Owner, View> {
        let unread = |error: StoreError| View::Closed(Arc::new(error));
        if !location::is_owned_here(record, &self.homes, &self.deps.store).await.map_err(unread)? {
            return Ok(Owner::Elsewhere);
        }
        let Some(intent @ Intent::ImportFrom { .. }) = &record.intent else {
            return Ok(Owner::Here { finished: true });
        };
        // Nothing listens any more while the daemon stops.
        self.notices.send(CodexNotice::Import(name.clone(), intent.clone())).ok();
        Ok(Owner::Here { finished: false })
    }

    /// The profile is there, and its record is not: this is how it looks until that is read.
    fn show_unread(&mut self, name: &ProfileName, view: View) {
        if let Some(handle) = self.directory.profiles.get(name) {
            return handle.show(view);
        }
        let (handle, mailbox) = ProfileHandle::new(view);
        self.handles().insert(name.clone(), handle);
        self.unread.insert(name.clone(), mailbox);
    }

    /// What lies under a name now. A record that is not taken in is read.
    async fn copy_of(&self, name: &ProfileName) -> Copy {
        if !self.unread.contains_key(name) {
            return self.live_copy(name);
        }
        match load(&self.store(), name).await {
            Ok(None) => Copy::Absent,
            Ok(Some(record)) => copy(Some(&Ok(record))),
            Err(view) => without_record(&view),
        }
    }

    fn live_copy(&self, name: &ProfileName) -> Copy {
        let discards = self.unfinished.iter().find_map(|unfinished| match unfinished {
            Unfinished::DiscardCopy { name: of, copy } if of == name => Some(copy.clone()),
            _ => None,
        });
        match self.directory.profiles.get(name).map(ProfileHandle::view) {
            None => Copy::Absent,
            Some(View::Known(facts)) => Copy::Of { grant_id: facts.credential.grant_id.clone(), discards },
            Some(view @ (View::Closed(_) | View::Unreadable(_))) => without_record(&view),
        }
    }
}

fn copy(loaded: Option<&Loaded>) -> Copy {
    match loaded {
        None => Copy::Absent,
        Some(Err(view)) => without_record(view),
        Some(Ok(record)) => {
            let discards = match &record.intent {
                Some(Intent::DiscardCopy { name }) => name.parse().ok(),
                _ => None,
            };
            Copy::Of { grant_id: record.grant_id.clone(), discards }
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
fn without_record(view: &View) -> Copy {
    if view.is_damaged() { Copy::Unusable } else { Copy::Unread }
}
