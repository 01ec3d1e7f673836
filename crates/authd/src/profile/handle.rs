//! What everything else holds of a profile: its view, and the ways to send its actor a command.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use authd_api::ProfileName;
use authd_oauth::{Annotation, Grant, Rejected};
use authd_store::StoreError;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};

use super::command::{Command, Exclusive, ExportError, ExportRequest, Mailbox, RenameError, SignOutError};
use crate::{
    clock,
    facts::{Facts, View},
};

/// Commands that can wait for one profile: as many as there can be connections. Room is taken as it is needed.
const COMMANDS: usize = 1 << 16;

/// A handle on one profile. Every request holds one for a moment, so a clone costs one count.
#[derive(Clone, Debug)]
pub(crate) struct ProfileHandle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    /// Locked for the time that it takes to copy or to replace a pointer.
    view: RwLock<View>,
    used_at: AtomicI64,
    reminder: Notify,
}

/// The actor has ended: the daemon is stopping, or the profile was removed meanwhile.
#[derive(Debug)]
pub(crate) struct ActorStopped;

impl ProfileHandle {
    /// A handle, and the mailbox for its actor.
    pub(crate) fn new(view: View) -> (Self, Mailbox) {
        let (commands, mailbox) = mpsc::channel(COMMANDS);
        let used_at = AtomicI64::new(clock::now().as_second());
        let shared = Shared { commands, view: RwLock::new(view), used_at, reminder: Notify::new() };
        (Self(Arc::new(shared)), mailbox)
    }

    /// What is known of the profile now.
    pub(crate) fn view(&self) -> View {
        self.0.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the view.
    pub(crate) fn show(&self, view: View) {
        *self.0.view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }

    /// Replaces the facts, made from those before; true, if that changed them.
    pub(super) fn publish(&self, facts: impl FnOnce(Option<&Arc<Facts>>) -> Facts) -> bool {
        let before = self.view();
        let facts = facts(before.facts());
        let changed = before.facts().is_none_or(|old| **old != facts);
        if changed {
            self.show(View::Known(Arc::new(facts)));
        }
        changed
    }

    /// Notes that a client uses the profile, without waking the actor.
    pub(crate) fn used(&self, now: Timestamp) {
        self.0.used_at.store(now.as_second(), Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> Timestamp {
        Timestamp::from_second(self.0.used_at.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Wakes the actor, because a refresh is due. Many reminders count as one.
    pub(crate) fn remind(&self) {
        self.0.reminder.notify_one();
    }

    pub(super) async fn reminded(&self) {
        self.0.reminder.notified().await;
    }

    /// Waits until a credential that lasts this long is there, or is known not to come.
    pub(crate) async fn want(&self, span: Duration) -> Result<(), ActorStopped> {
        self.send(|done| Command::Want(span, done)).await
    }

    /// Waits for a refresh; with a rejected credential, only if that one is still current.
    pub(crate) async fn refresh(&self, rejected: Option<Rejected>) -> Result<(), ActorStopped> {
        self.send(|done| Command::Refresh(rejected, done)).await
    }

    /// Hands over a new sign-in, and waits until it is saved or known not to be.
    pub(crate) async fn sign_in(&self, grant: Grant, grant_id: Arc<str>) -> Result<(), ActorStopped> {
        self.send(|done| Command::SignIn(Box::new(grant), grant_id, done)).await
    }

    /// Tells that the store has lost the record.
    pub(crate) fn save_again(&self) {
        // An actor that has ended has no record any more.
        drop(self.0.commands.try_send(Command::SaveAgain));
    }

    /// Tells that an upstream accepted the credential of this generation.
    pub(crate) fn accepted(&self, generation: u64) {
        // An actor that has ended does not renew anything any more.
        drop(self.0.commands.try_send(Command::Accepted(generation)));
    }

    /// Changes the record's mark or intent, which is saved by and by.
    pub(crate) fn note(&self, annotation: Annotation) {
        // An actor that has ended has no record any more.
        drop(self.0.commands.try_send(Command::Note(annotation)));
    }

    /// Saves the record with another mark or intent.
    pub(crate) async fn annotate(
        &self,
        annotation: Annotation,
    ) -> Result<Result<(), StoreError>, ActorStopped> {
        self.send(|done| Command::Exclusive(Exclusive::Annotate(annotation, done))).await
    }

    /// Has the record copied to another name, under which the actor goes on.
    pub(crate) async fn rename(&self, to: ProfileName) -> Result<Result<(), RenameError>, ActorStopped> {
        self.send(|done| Command::Exclusive(Exclusive::Rename(to, done))).await
    }

    /// Gives the grant away, and ends the actor.
    pub(crate) async fn export(
        &self,
        request: ExportRequest,
    ) -> Result<Result<(), ExportError>, ActorStopped> {
        self.send(|done| Command::Exclusive(Exclusive::Export(request, done))).await
    }

    /// Deletes the record, and ends the actor.
    pub(crate) async fn sign_out(&self, revoke: bool) -> Result<Result<(), SignOutError>, ActorStopped> {
        self.send(|done| Command::Exclusive(Exclusive::SignOut { revoke, done })).await
    }

    async fn send<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ActorStopped> {
        let (done, reply) = oneshot::channel();
        self.0.commands.send(command(done)).await.map_err(|_| ActorStopped)?;
        reply.await.map_err(|_| ActorStopped)
    }
}
