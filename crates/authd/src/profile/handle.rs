//! What everybody else holds of a profile: its view, and the ways to ask for a change.

use std::{
    io,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use authd_api::ProfileName;
use authd_oauth::{Failure, Grant};
use authd_store::StoreError;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::rest::{Id, Message};
use crate::{
    clock,
    facts::{Facts, View},
};

/// A handle on one profile. Every request holds one for a moment, so a copy of it costs one count.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: Id,
    messages: mpsc::Sender<Message>,
    /// Locked for the time that it takes to copy or to replace a pointer.
    view: RwLock<View>,
    used_at: AtomicI64,
}

/// What is wanted of a profile. The answers say only that it is settled: the view says how.
#[derive(Debug)]
pub(super) enum Command {
    /// A refresh is due, or a record that could not be read is wanted. To be dropped rather than to pile up.
    Remind,
    /// The record is needed now.
    Read(oneshot::Sender<()>),
    /// A credential is wanted that lasts this long.
    Want(Duration, oneshot::Sender<()>),
    /// A refresh is wanted, unless that generation is gone already.
    Refresh(Option<u64>, oneshot::Sender<()>),
    /// Somebody signed in under this name.
    SignIn(Box<Grant>, oneshot::Sender<()>),
    /// The profile gets another name.
    Rename(ProfileName, oneshot::Sender<Result<(), StoreError>>),
    /// The grant is to be given away, and the profile forgotten.
    GiveAway(Give, oneshot::Sender<Result<(), GiveError>>),
    /// The profile is to be forgotten, and revoked before if so asked.
    SignOut { revoke: bool, done: oneshot::Sender<Result<(), SignOutError>> },
}

/// Why a profile could not be signed out. It is still there.
#[derive(Debug)]
pub(crate) enum SignOutError {
    /// The provider did not revoke it.
    Provider(Failure),
    /// The store did not forget it.
    Store(StoreError),
    /// Its record could not be read, and this is how it looks: nobody knows what to revoke.
    Unread(View),
}

/// Takes a grant to where it is to be from now on, durably.
pub(crate) struct Give(pub(crate) Giving);

/// What takes it there.
type Giving = Box<dyn FnOnce(&Grant) -> BoxFuture<'static, io::Result<Undo>> + Send>;

/// What takes it away from there again.
pub(crate) type Undo = BoxFuture<'static, io::Result<()>>;

impl std::fmt::Debug for Give {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Give")
    }
}

/// Why a profile was not given away. It is still there.
#[derive(Debug)]
pub(crate) enum GiveError {
    /// The other place did not take it.
    Elsewhere(io::Error),
    /// The store did not give it, or did not forget it.
    Store(StoreError),
}

/// Nobody answers: the daemon is stopping, or the profile was removed meanwhile.
#[derive(Debug)]
pub(crate) struct Gone;

impl Handle {
    pub(super) fn new(id: Id, messages: mpsc::Sender<Message>) -> Self {
        let used_at = AtomicI64::new(clock::now().as_second());
        Self(Arc::new(Shared { id, messages, view: RwLock::new(View::Unread), used_at }))
    }

    pub(super) fn id(&self) -> Id {
        self.0.id
    }

    /// What is known of the profile now.
    pub(crate) fn view(&self) -> View {
        self.0.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces what is known.
    pub(super) fn show(&self, view: View) {
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

    /// Notes that somebody uses the profile, without waking it.
    pub(crate) fn used(&self, now: Timestamp) {
        self.0.used_at.store(now.as_second(), Ordering::Relaxed);
    }

    pub(super) fn last_used(&self) -> Timestamp {
        Timestamp::from_second(self.0.used_at.load(Ordering::Relaxed)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// Tells that a refresh is due, or a record wanted that could not be read. If there is no room for that, the
    /// profile is awake anyway.
    pub(crate) fn remind(&self) {
        drop(self.0.messages.try_send(Message::For(self.0.id, Box::new(Command::Remind))));
    }

    /// Waits until a credential that lasts this long is there, or is known not to come.
    pub(crate) async fn want(&self, span: Duration) -> Result<(), Gone> {
        self.ask(|done| Command::Want(span, done)).await
    }

    /// Waits for a refresh; with a generation, only if that one is still current.
    pub(crate) async fn refresh(&self, rejected: Option<u64>) -> Result<(), Gone> {
        self.ask(|done| Command::Refresh(rejected, done)).await
    }

    /// Hands over a new sign-in, and waits until it is saved or known not to be.
    pub(crate) async fn sign_in(&self, grant: Grant) -> Result<(), Gone> {
        self.ask(|done| Command::SignIn(Box::new(grant), done)).await
    }

    /// Gives the profile another name.
    pub(crate) async fn rename(&self, name: ProfileName) -> Result<Result<(), StoreError>, Gone> {
        self.ask(|done| Command::Rename(name, done)).await
    }

    /// Gives the grant away, and ends the profile.
    pub(crate) async fn give_away(&self, give: Give) -> Result<Result<(), GiveError>, Gone> {
        self.ask(|done| Command::GiveAway(give, done)).await
    }

    /// Forgets the profile, and ends it.
    pub(crate) async fn sign_out(&self, revoke: bool) -> Result<Result<(), SignOutError>, Gone> {
        self.ask(|done| Command::SignOut { revoke, done }).await
    }

    /// Waits until the record has been read, or the store has refused it.
    pub(crate) async fn read(&self) -> View {
        if matches!(self.view(), View::Unread) {
            // Whoever is gone has left the view as it is.
            self.ask(Command::Read).await.ok();
        } else {
            self.remind();
        }
        self.view()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Gone> {
        let (done, answer) = oneshot::channel();
        let message = Message::For(self.0.id, Box::new(command(done)));
        self.0.messages.send(message).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}
