//! The owner of the shares. Their list is in a file of the state directory. A share exists once the
//! file contains it. A revoked share has ended at once, even if the file cannot be written; then
//! the task writes it again.

use std::{
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

use authd_api::{ProfileName, ShareBody, ShareDoor};
use authd_oauth::Identity;
use authd_store::StateDir;
use jiff::Timestamp;
use tokio::{
    sync::{Mutex, Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    error::ShareError,
    file::{self, ShareMap},
    hold::ShareHold,
    key::{self, ShareKey},
    live::{Share, account},
    terms::ShareTerms,
};
use crate::{
    blocking::finish,
    clock,
    events::{ChangeEvent, EventBus},
};

/// Most shares.
const MOST: usize = 1024;

/// Wait before the list is read or written again after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// The shares as of the last change.
pub type ShareSnapshot = Arc<ShareMap>;

/// A cheap handle of the shares.
#[derive(Clone)]
pub struct Shares(Arc<SharesInner>);

struct SharesInner {
    state_dir: StateDir,
    events: EventBus,
    list: Mutex<List>,
    /// Changes of profiles since the start that the list misses, because it was not read.
    missed: std::sync::Mutex<Vec<MissedChange>>,
    published: watch::Sender<Option<ShareSnapshot>>,
    /// Changes whenever the file differs from the list or does not any more.
    unsaved: watch::Sender<bool>,
    /// Notified when a share has one holder less.
    released: Arc<Notify>,
}

/// `None` until the file was read.
type List = Option<ShareSnapshot>;

/// A change to make once the list was read.
type MissedChange = Box<dyn FnOnce(&mut ShareMap) + Send>;

impl Shares {
    pub(crate) fn new(state_dir: StateDir, events: EventBus) -> Self {
        Self(Arc::new(SharesInner {
            state_dir,
            events,
            list: Mutex::default(),
            missed: std::sync::Mutex::default(),
            published: watch::Sender::default(),
            unsaved: watch::Sender::new(false),
            released: Arc::default(),
        }))
    }

    /// The shares as of the last change; `None` until the list was read.
    pub fn snapshot(&self) -> Option<ShareSnapshot> {
        self.0.published.borrow().clone()
    }

    /// The shares and their changes.
    pub fn watch(&self) -> watch::Receiver<Option<ShareSnapshot>> {
        self.0.published.subscribe()
    }

    /// All shares, the oldest first. One that has ended may still be in the list.
    pub async fn all(&self) -> Result<Vec<Share>, ShareError> {
        let mut list = self.0.list.lock().await;
        let shares = self.read(&mut list).await.map_err(ShareError::NotRead)?;
        let mut shares: Vec<_> =
            shares.values().filter(|share| !share.ended().is_cancelled()).cloned().collect();
        shares.sort_by_key(|share| share.terms.created_at);
        Ok(shares)
    }

    /// The share of an id.
    pub fn get(&self, id: &str) -> Option<Share> {
        self.0.published.borrow().as_ref()?.get(id).cloned()
    }

    /// The valid share of a key.
    pub fn find(&self, key: &str, now: Timestamp) -> Option<Share> {
        let share = self.get(key::id_in(key)?)?;
        let is_key = share.key_hash.as_ref().is_some_and(|hash| hash.is_of(key));
        (is_key && share.is_valid(now)).then_some(share)
    }

    /// Makes a share of a profile's current account. `port` is the port of the loopback listener. A
    /// loopback share has a key.
    pub async fn create(
        &self,
        body: &ShareBody,
        profile: ProfileName,
        identity: &Identity,
        port: Option<u16>,
    ) -> Result<(Share, Option<ShareKey>), ShareError> {
        let terms = ShareTerms::new(body, profile, account(identity), port, clock::now())?;
        let id: Arc<str> = key::new_id().into();
        let key = (terms.door == ShareDoor::Loopback).then(|| ShareKey::new(&id));
        let share = Share::new(id, terms, key.as_ref().map(ShareKey::hash));
        let shares = self.clone();
        finish(async move { shares.add(share).await }).await.map(|share| (share, key))
    }

    async fn add(&self, share: Share) -> Result<Share, ShareError> {
        let mut list = self.0.list.lock().await;
        let shares = self.read(&mut list).await.map_err(ShareError::NotRead)?;
        if shares.len() >= MOST {
            return Err(ShareError::TooMany(shares.len()));
        }
        let mut changed = shares.clone();
        changed.insert(share.id.clone(), share.clone());
        if let Err(error) = file::write(&self.0.state_dir, &changed).await {
            // The file may contain the share, whose key is lost. The task writes the list again.
            self.0.unsaved.send_replace(true);
            return Err(ShareError::NotWritten(error));
        }
        *list = Some(Arc::new(changed));
        self.publish(&list, [share.id.clone()]);
        info!(share = &*share.id, profile = %share.terms.profile, "share made");
        Ok(share)
    }

    /// Ends a share.
    pub async fn end(&self, id: &str) -> Result<(), ShareError> {
        // An earlier change may still be waiting for the disk.
        let is_ended = self.get(id).inspect(Share::end).is_some();
        let (shares, id) = (self.clone(), id.to_owned());
        finish(async move { shares.remove(&id, is_ended).await }).await
    }

    async fn remove(&self, id: &str, is_ended: bool) -> Result<(), ShareError> {
        let mut list = self.0.list.lock().await;
        let shares = self.read(&mut list).await.map_err(ShareError::NotRead)?;
        if !shares.contains_key(id) {
            // The task may have removed it meanwhile.
            return if is_ended { Ok(()) } else { Err(ShareError::Unknown(id.to_owned())) };
        }
        self.end_where(&mut list, |share| *share.id == *id).await.map_err(ShareError::EndNotWritten)
    }

    /// Holds a share until the returned value is dropped.
    pub async fn hold(&self, id: &str) -> Result<ShareHold, ShareError> {
        let mut list = self.0.list.lock().await;
        let shares = self.read(&mut list).await.map_err(ShareError::NotRead)?;
        let share = shares.get(id).ok_or_else(|| ShareError::Unknown(id.to_owned()))?;
        share.hold(self.0.released.clone()).ok_or_else(|| ShareError::NotHeld(id.to_owned()))
    }

    /// Lets the shares of a profile follow its new name.
    pub(crate) async fn rename_profile(&self, from: &ProfileName, to: &ProfileName) {
        let mut list = self.0.list.lock().await;
        let Some(shares) = &mut *list else {
            let (from, to) = (from.clone(), to.clone());
            return self.miss(move |shares| drop(rename(shares, &from, &to)));
        };
        let renamed = rename(Arc::make_mut(shares), from, to);
        self.save(&list, renamed).await.ok();
    }

    /// Ends the shares of a profile that was removed.
    pub(crate) async fn end_profile(&self, profile: &ProfileName) {
        let profile = profile.clone();
        self.end_all(move |share| share.terms.profile == profile).await;
    }

    /// Ends the shares of a profile's former account.
    pub(crate) async fn end_other_accounts(&self, profile: &ProfileName, identity: &Identity) {
        let (profile, account) = (profile.clone(), account(identity));
        self.end_all(move |share| share.terms.profile == profile && share.terms.account != account).await;
    }

    /// Ends every share that `ends` selects, at once even if the list waits for the disk.
    async fn end_all(&self, ends: impl Fn(&Share) -> bool + Send + 'static) {
        let snapshot = self.snapshot().unwrap_or_default();
        snapshot.values().filter(|share| ends(share)).for_each(Share::end);
        let mut list = self.0.list.lock().await;
        if list.is_none() {
            return self.miss(move |shares| shares.retain(|_, share| !ends(share)));
        }
        self.end_where(&mut list, ends).await.ok();
    }

    fn miss(&self, change: impl FnOnce(&mut ShareMap) + Send + 'static) {
        self.0.missed.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(change));
    }

    /// Ends the shares that `is_valid` rejects. Returns whether the list was read.
    pub(crate) async fn retain(&self, is_valid: impl Fn(&Share) -> bool) -> bool {
        let mut list = self.0.list.lock().await;
        let read = self.read(&mut list).await.is_ok();
        self.end_where(&mut list, |share| !is_valid(share)).await.ok();
        read
    }

    /// Ends every share that `ends` selects. They have ended even if the write fails; the task then
    /// writes the list again.
    async fn end_where(&self, list: &mut List, ends: impl Fn(&Share) -> bool) -> io::Result<()> {
        let Some(shares) = list else { return Ok(()) };
        let ended: Vec<_> = shares.values().filter(|share| ends(share)).cloned().collect();
        if ended.is_empty() {
            return Ok(());
        }
        let shares = Arc::make_mut(shares);
        for share in &ended {
            shares.remove(&share.id);
            share.end();
            info!(share = &*share.id, profile = %share.terms.profile, "share ended");
        }
        self.save(list, ended.into_iter().map(|share| share.id).collect()).await
    }

    /// Publishes the changed shares and writes the list, if any changed.
    async fn save(&self, list: &List, changed: Vec<Arc<str>>) -> io::Result<()> {
        let (Some(shares), false) = (list, changed.is_empty()) else { return Ok(()) };
        self.publish(list, changed);
        let written = file::write(&self.0.state_dir, shares).await;
        if let Err(error) = &written {
            warn!(%error, "list of shares not written; retrying");
        }
        self.0.unsaved.send_replace(written.is_err());
        written
    }

    fn publish(&self, list: &List, changed: impl IntoIterator<Item = Arc<str>>) {
        self.0.published.send_replace(list.clone());
        for id in changed {
            self.0.events.publish(ChangeEvent::Share(id));
        }
    }

    /// The shares; reads the list first if necessary.
    async fn read<'a>(&self, list: &'a mut List) -> io::Result<&'a ShareMap> {
        if list.is_none() {
            let mut shares = file::read(&self.0.state_dir).await?;
            let missed = std::mem::take(&mut *self.0.missed.lock().unwrap_or_else(PoisonError::into_inner));
            if !missed.is_empty() {
                for change in missed {
                    change(&mut shares);
                }
                self.0.unsaved.send_replace(true);
            }
            *list = Some(Arc::new(shares));
            self.publish(list, []);
        }
        Ok(list.get_or_insert_default())
    }

    /// Reads the list if it was not read, and writes it if a write has failed. Returns whether
    /// nothing is left to do.
    async fn settle(&self) -> bool {
        let mut list = self.0.list.lock().await;
        let shares = match self.read(&mut list).await {
            Ok(shares) => shares,
            Err(error) => {
                warn!(%error, "list of shares not read; no share is open; retrying");
                return false;
            }
        };
        if *self.0.unsaved.borrow() {
            let written = file::write(&self.0.state_dir, shares).await;
            self.0.unsaved.send_replace(written.is_err());
        }
        !*self.0.unsaved.borrow()
    }

    /// Ends the shares whose time has come, and those that nothing holds any more. Returns when the
    /// next one of each kind ends.
    async fn end_due(&self) -> (Option<Timestamp>, Option<Instant>) {
        let mut list = self.0.list.lock().await;
        let (now, instant) = (clock::now(), Instant::now());
        let is_released = |share: &Share| share.end_without_holder().is_some_and(|end| end <= instant);
        self.end_where(&mut list, |share| !share.is_valid(now) || is_released(share)).await.ok();
        let left = || list.iter().flat_map(|shares| shares.values());
        (left().map(|share| share.terms.expires_at).min(), left().filter_map(Share::end_without_holder).min())
    }
}

/// Gives the shares of a profile its new name, and returns their ids.
fn rename(shares: &mut ShareMap, from: &ProfileName, to: &ProfileName) -> Vec<Arc<str>> {
    let mut renamed = Vec::new();
    for share in shares.values_mut().filter(|share| share.terms.profile == *from) {
        *share = share.with_terms(ShareTerms { profile: to.clone(), ..(*share.terms).clone() });
        renamed.push(share.id.clone());
    }
    renamed
}

/// Ends shares at their time or without a holder, and keeps the list, until the daemon stops.
pub(crate) async fn run(shares: Shares, state_dir: StateDir, stopping: CancellationToken) {
    tokio::select! {
        () = keep_list(&shares, &state_dir, &stopping) => {}
        () = end_at_expiry(&shares) => {}
    }
    // The last chance to write a change that could not be written before.
    shares.settle().await;
}

/// Ends shares at their time, even while the list waits for the disk. Never returns.
async fn end_at_expiry(shares: &Shares) {
    let mut changes = shares.watch();
    loop {
        let now = clock::now();
        let snapshot = changes.borrow_and_update().clone();
        let (left, expired): (Vec<_>, Vec<_>) =
            snapshot.iter().flat_map(|shares| shares.values()).partition(|share| share.is_valid(now));
        expired.into_iter().for_each(Share::end);
        let next = left.into_iter().map(|share| share.terms.expires_at).min();
        tokio::select! {
            _ = clock::sleep_until(next) => {}
            Ok(()) = changes.changed() => {}
        }
    }
}

/// Reads the list, removes shares that have ended, and repeats failed writes, until the daemon
/// stops.
async fn keep_list(shares: &Shares, state_dir: &StateDir, stopping: &CancellationToken) {
    let (mut changes, mut recreated) = (shares.watch(), state_dir.recreated());
    let mut unsaved = shares.0.unsaved.subscribe();
    loop {
        let settled = shares.settle().await;
        changes.mark_unchanged();
        let (next_expiry, next_release) = shares.end_due().await;
        tokio::select! {
            () = stopping.cancelled() => break,
            _ = clock::sleep_until(next_expiry) => {}
            () = sleep_until(next_release) => {}
            () = shares.0.released.notified() => {}
            Ok(()) = changes.changed() => {}
            Ok(()) = unsaved.changed(), if settled => {}
            // The state directory was removed with the list.
            Ok(()) = recreated.changed() => drop(shares.0.unsaved.send_replace(true)),
            () = tokio::time::sleep(RETRY), if !settled => {}
        }
    }
}

/// Sleeps until this time; for ever without one.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
