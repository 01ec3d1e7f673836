//! The handle of a profile: reads its view and sends commands to its actor.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use authd_api::ProfileName;
use authd_fleet::Fleet;
use authd_oauth::{Annotation, Grant, Rejected, SharedRecord};
use authd_store::StoreError;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::command::{
    Command, ExclusiveCommand, ExportError, ExportRequest, Mailbox, RenameError, SignOutError,
};
use crate::{
    clock,
    quota::state::{QuotaCell, QuotaFailure, QuotaView},
    snapshot::{ProfileSnapshot, ProfileView},
};

/// Commands that can wait for one profile: as many as the socket can have connections. The channel
/// allocates as it fills.
const COMMANDS: usize = 1 << 16;

/// A cheap handle of one profile.
#[derive(Clone, Debug)]
pub struct ProfileHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    view: watch::Sender<ProfileView>,
    used_at: AtomicI64,
    /// The revision in the fleet's store that the profile is based on; 0: none.
    revision: AtomicU64,
    reminder: Notify,
    quota: QuotaCell,
}

/// The actor has ended: the daemon stops, or the profile was removed.
#[derive(Debug)]
pub struct ActorStopped;

impl From<ActorStopped> for StoreError {
    fn from(ActorStopped: ActorStopped) -> Self {
        StoreError::unavailable("the daemon is stopping")
    }
}

impl ProfileHandle {
    /// A handle, and the mailbox for its actor.
    pub(crate) fn new(view: ProfileView) -> (Self, Mailbox) {
        let (commands, mailbox) = mpsc::channel(COMMANDS);
        let used_at = AtomicI64::new(clock::now().as_second());
        let shared = Shared {
            commands,
            view: watch::Sender::new(view),
            used_at,
            revision: AtomicU64::new(0),
            reminder: Notify::new(),
            quota: QuotaCell::default(),
        };
        (Self(Arc::new(shared)), mailbox)
    }

    /// The current view of the profile.
    pub fn view(&self) -> ProfileView {
        self.0.view.borrow().clone()
    }

    pub(crate) fn set_view(&self, view: ProfileView) {
        self.0.view.send_replace(view);
    }

    /// Replaces the snapshot with one built from it. Returns whether it changed.
    pub(super) fn publish(
        &self,
        build: impl FnOnce(Option<&Arc<ProfileSnapshot>>) -> ProfileSnapshot,
    ) -> bool {
        let previous = self.view();
        let snapshot = build(previous.snapshot());
        let changed = previous.snapshot().is_none_or(|old| **old != snapshot);
        if changed {
            self.set_view(ProfileView::Loaded(Arc::new(snapshot)));
        }
        changed
    }

    /// Records that a client uses the profile, without waking the actor.
    pub fn record_use(&self, now: Timestamp) {
        self.0.used_at.store(now.as_second(), Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> Timestamp {
        Timestamp::from_second(self.0.used_at.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// What is known about the quota, without a request.
    pub fn known_quota(&self, max_age: Duration, now: Timestamp) -> QuotaView {
        match self.view().snapshot() {
            Some(snapshot) => self.0.quota.lock().view(snapshot, max_age, now),
            None => QuotaView { reading: None, stale: false, failure: Some(QuotaFailure::NotRequested) },
        }
    }

    /// What is known about the quota. It follows the handle, and so the profile.
    pub(crate) fn quota(&self) -> &QuotaCell {
        &self.0.quota
    }

    /// Wakes the actor because a refresh is due. Many reminders count as one.
    pub fn remind(&self) {
        self.0.reminder.notify_one();
    }

    pub(super) async fn reminded(&self) {
        self.0.reminder.notified().await;
    }

    /// Waits for a credential that lasts this long, or until none can be obtained.
    pub async fn request_credential(&self, span: Duration) -> Result<(), ActorStopped> {
        self.send(|done| Command::RequestCredential(span, done)).await
    }

    /// Waits for a refresh. With a rejected credential: only if that one is still current.
    pub async fn refresh(&self, rejected: Option<Rejected>) -> Result<(), ActorStopped> {
        self.send(|done| Command::Refresh(rejected, done)).await
    }

    /// Reports that a server asks for scopes that the grant lacks, and waits until that is saved or
    /// known not to be.
    pub async fn report_missing_scopes(
        &self,
        grant_id: Option<Box<str>>,
        scopes: Vec<String>,
    ) -> Result<(), ActorStopped> {
        self.send(|done| Command::AddMissingScopes(grant_id, scopes, done)).await
    }

    /// Replaces the grant, and waits until it is saved or known not to be.
    pub(crate) async fn sign_in(&self, grant: Grant, grant_id: Arc<str>) -> Result<(), ActorStopped> {
        self.send(|done| Command::SignIn(Box::new(grant), grant_id, done)).await
    }

    /// Saves the record again, because the store may have lost it.
    pub(crate) fn save_again(&self) {
        // A stopped actor has no record any more.
        drop(self.0.commands.try_send(Command::SaveAgain));
    }

    /// Reports that an upstream accepted the credential of this generation.
    pub fn report_accepted(&self, generation: u64) {
        // A stopped actor refreshes nothing any more.
        drop(self.0.commands.try_send(Command::Accepted(generation)));
    }

    /// Whether the profile has this or a later revision of the record in the fleet's store.
    pub(crate) fn has_revision(&self, revision: u64) -> bool {
        self.0.revision.load(Ordering::Relaxed) >= revision
    }

    /// Whether the record is in the fleet's store.
    pub(crate) fn is_stored_in_fleet(&self) -> bool {
        self.has_revision(1)
    }

    pub(super) fn set_revision(&self, revision: u64) {
        self.0.revision.store(revision, Ordering::Relaxed);
    }

    /// Reports a record that another node may have stored.
    pub(crate) fn report_stored(&self, stored: SharedRecord) {
        // A stopped actor has no record any more.
        drop(self.0.commands.try_send(Command::StoredElsewhere(Box::new(stored))));
    }

    /// Ends the actor if another node has deleted the record. Returns whether it ends.
    pub(crate) async fn end_if_deleted(&self) -> Result<Result<bool, StoreError>, ActorStopped> {
        self.send(|done| Command::Exclusive(ExclusiveCommand::EndIfDeleted(done))).await
    }

    /// Begins to move the record to the fleet's store, and waits until it is there or known not to
    /// be. With `keeps_rank`, it stays the default profile.
    pub(crate) async fn move_to_fleet(
        &self,
        fleet: Fleet,
        keeps_rank: bool,
    ) -> Result<Result<(), StoreError>, ActorStopped> {
        let begun = self
            .send(|done| Command::Exclusive(ExclusiveCommand::MoveToFleet { fleet, keeps_rank, done }))
            .await?;
        self.send(Command::AwaitSave).await?;
        Ok(begun)
    }

    /// Moves the record from the fleet's store to this node's store.
    pub(crate) async fn move_to_local(&self) -> Result<Result<(), StoreError>, ActorStopped> {
        self.send(|done| Command::Exclusive(ExclusiveCommand::MoveToLocal(done))).await
    }

    /// Changes the default rank or the intent of the record. It is saved later.
    pub(crate) fn annotate_later(&self, annotation: Annotation) {
        // A stopped actor has no record any more.
        drop(self.0.commands.try_send(Command::Annotate(annotation)));
    }

    /// Saves the record with another default rank or intent.
    pub(crate) async fn annotate(
        &self,
        annotation: Annotation,
    ) -> Result<Result<(), StoreError>, ActorStopped> {
        self.send(|done| Command::Exclusive(ExclusiveCommand::Annotate(annotation, done))).await
    }

    /// Copies the record to another name, under which the actor continues. The caller deletes the
    /// old record.
    pub(crate) async fn rename(&self, to: ProfileName) -> Result<Result<(), RenameError>, ActorStopped> {
        self.send(|done| Command::Exclusive(ExclusiveCommand::Rename(to, done))).await
    }

    /// Exports the grant, and ends the actor.
    pub(crate) async fn export(
        &self,
        request: ExportRequest,
    ) -> Result<Result<(), ExportError>, ActorStopped> {
        self.send(|done| Command::Exclusive(ExclusiveCommand::Export(request, done))).await
    }

    /// Deletes the record, and ends the actor.
    pub(crate) async fn sign_out(&self, revoke: bool) -> Result<Result<(), SignOutError>, ActorStopped> {
        self.send(|done| Command::Exclusive(ExclusiveCommand::SignOut { revoke, done })).await
    }

    async fn send<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ActorStopped> {
        let (done, reply) = oneshot::channel();
        self.0.commands.send(command(done)).await.map_err(|_| ActorStopped)?;
        reply.await.map_err(|_| ActorStopped)
    }
}
