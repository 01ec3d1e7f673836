//! What everybody else holds of a profile's task: its view, and the ways to ask for a change.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use authd_api::ProfileName;
use authd_oauth::{Failure, Grant};
use authd_store::StoreError;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::facts::View;

/// A handle on one profile's task. Every request holds one for a moment, so a copy of it costs one count.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Arc<Ends>);

/// Our ends of what leads to the task.
#[derive(Debug)]
struct Ends {
    commands: mpsc::Sender<Box<Command>>,
    view: watch::Receiver<View>,
    used_at: Arc<AtomicI64>,
}

/// What is wanted of a profile. The answers say only that it is settled: the view says how.
#[derive(Debug)]
pub(super) enum Command {
    /// The record is needed now.
    Read,
    /// A refresh is due.
    Nudge,
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

/// The task is gone: the daemon is stopping, or the profile was removed meanwhile.
#[derive(Debug)]
pub(crate) struct Gone;

impl Handle {
    pub(super) fn new(
        commands: mpsc::Sender<Box<Command>>,
        view: watch::Receiver<View>,
        used_at: Arc<AtomicI64>,
    ) -> Self {
        Self(Arc::new(Ends { commands, view, used_at }))
    }

    /// What is known of the profile now.
    pub(crate) fn view(&self) -> View {
        self.0.view.borrow().clone()
    }

    /// Whether the task has ended: what is asked of it now comes to nothing.
    pub(crate) fn is_over(&self) -> bool {
        self.0.commands.is_closed()
    }

    /// Notes that somebody uses the profile, without waking its task.
    pub(crate) fn used(&self, now: Timestamp) {
        self.0.used_at.store(now.as_second(), Ordering::Relaxed);
    }

    /// Tells the task that a refresh is due. If its mailbox is full, it is awake anyway.
    pub(crate) fn nudge(&self) {
        drop(self.0.commands.try_send(Box::new(Command::Nudge)));
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

    /// Gives the grant away, and ends the task.
    pub(crate) async fn give_away(&self, give: Give) -> Result<Result<(), GiveError>, Gone> {
        self.ask(|done| Command::GiveAway(give, done)).await
    }

    /// What is known of the profile, and when that changes.
    pub(crate) fn watch(&self) -> watch::Receiver<View> {
        self.0.view.clone()
    }

    /// Forgets the profile, and ends its task.
    pub(crate) async fn sign_out(&self, revoke: bool) -> Result<Result<(), SignOutError>, Gone> {
        self.ask(|done| Command::SignOut { revoke, done }).await
    }

    /// Waits until the record has been read, or the store has refused it.
    pub(crate) async fn read(&self) -> View {
        let mut view = self.0.view.clone();
        drop(self.0.commands.send(Box::new(Command::Read)).await);
        let read = view.wait_for(|view| !matches!(view, View::Unread)).await;
        read.map_or(View::Unread, |view| view.clone())
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Gone> {
        let (done, answer) = oneshot::channel();
        self.0.commands.send(Box::new(command(done))).await.map_err(|_| Gone)?;
        answer.await.map_err(|_| Gone)
    }
}
