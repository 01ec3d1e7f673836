//! The task that owns the list of profiles. The records in the store are the truth: the names are
//! those that the store lists, and the default is the profile whose record has the highest rank.
//! While the store cannot be listed, no name is known.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use authd_api::ProfileName;
use authd_fleet::{Change, Changes};
use authd_store::{State, Store, StoreError};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::Instant,
};
use tracing::error;

use super::{
    handle::{Command, ProfileRegistry, RegistryError},
    pending_change::PendingChange,
    recovery,
    snapshot::{Names, RegistrySnapshot, not_read},
};
use crate::{
    codex::{CodexNotice, ManagedHomes},
    deps::BrokerDeps,
    events::ChangeEvent,
    profile::{self, InitialState, Mailbox, ProfileHandle},
    share::{Share, Shares},
    store_watch::StoreWatch,
};

/// Wait before the first retry of failed work on the store, and the longest wait.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The registry's handle and its task, which ends when the daemon stops and every profile has
/// saved.
pub(crate) fn registry(
    deps: Arc<BrokerDeps>,
    homes: ManagedHomes,
    shares: Shares,
    notices: mpsc::UnboundedSender<CodexNotice>,
) -> (ProfileRegistry, impl Future<Output = ()> + Send) {
    let (commands, mailbox) = mpsc::channel(16);
    let (published, receiver) = watch::channel(Arc::default());
    let registry = RegistryActor {
        deps,
        homes,
        shares,
        notices,
        snapshot: Arc::default(),
        published,
        actors: JoinSet::new(),
        unread: BTreeMap::new(),
        ranks: BTreeMap::new(),
        default_chosen: false,
        shares_checked: false,
        pending_changes: Vec::new(),
        last_generation: 0,
        changes: None,
        is_fleet_unread: false,
    };
    (ProfileRegistry { commands, published: receiver }, registry.run(mailbox))
}

pub(super) struct RegistryActor {
    pub(super) deps: Arc<BrokerDeps>,
    pub(super) homes: ManagedHomes,
    pub(super) shares: Shares,
    notices: mpsc::UnboundedSender<CodexNotice>,
    /// The next snapshot to publish.
    pub(super) snapshot: Arc<RegistrySnapshot>,
    published: watch::Sender<Arc<RegistrySnapshot>>,
    actors: JoinSet<ProfileName>,
    /// The profiles whose record has not been read, each with the mailbox of its later actor.
    pub(super) unread: BTreeMap<ProfileName, Mailbox>,
    /// The default ranks of the records that have one.
    pub(super) ranks: BTreeMap<ProfileName, u64>,
    /// Whether the user chose the default in this run: then a record that is read later does not
    /// change it.
    pub(super) default_chosen: bool,
    /// Whether the shares that a crash has left without their account have been ended.
    shares_checked: bool,
    /// Changes that have started and must be finished, however often the store fails.
    pub(super) pending_changes: Vec<PendingChange>,
    /// The highest generation of a profile that was removed in this run. A new profile continues
    /// from it.
    pub(super) last_generation: u64,
    /// What other nodes change, once records are in the fleet's store.
    pub(super) changes: Option<Changes>,
    /// Whether the fleet may have changes that could not be read.
    pub(super) is_fleet_unread: bool,
}

impl RegistryActor {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Command>) {
        let closing = self.deps.closing.clone();
        let mut store = StoreWatch::Local(self.deps.store.watch());
        let mut fleet = self.deps.fleet.as_ref().map(StoreWatch::of_fleet);
        let mut recreated = self.homes.state_dir().recreated();
        let mut pause = RETRY.0;
        self.do_open_work().await;
        let mut retry_at = Instant::now() + pause;
        loop {
            let open = self.has_open_work();
            tokio::select! {
                () = closing.cancelled() => break,
                command = mailbox.recv() => match command {
                    Some(command) => self.handle_command(command).await,
                    None => break,
                },
                Some(ended) = self.actors.join_next() => self.check_exit(ended),
                // The state directory was removed with its records: save those in memory again.
                Ok(()) = recreated.changed() => {
                    self.snapshot.profiles.values().for_each(ProfileHandle::save_again);
                    self.homes.mark_unsaved();
                    self.notify_codex(CodexNotice::HomesChanged);
                }
                () = tokio::time::sleep_until(retry_at), if open => {
                    pause = (pause * 2).min(RETRY.1);
                    self.retry_open_work(&mut store, fleet.as_mut()).await;
                    retry_at = Instant::now() + pause;
                }
                Some(State::Ready) = next_state(&mut store, fleet.as_mut()), if open => {
                    pause = RETRY.0;
                    self.retry_open_work(&mut store, fleet.as_mut()).await;
                    retry_at = Instant::now() + pause;
                }
                change = next_change(&mut self.changes) => self.follow(change).await,
            }
            if !self.has_open_work() {
                pause = RETRY.0;
            } else if !open {
                // Other events do not postpone the retry.
                retry_at = Instant::now() + pause;
            }
        }
        while let Some(ended) = self.actors.join_next().await {
            self.check_exit(ended);
        }
    }

    /// Whether work waits for the store.
    fn has_open_work(&self) -> bool {
        !matches!(self.snapshot.names, Names::Known)
            || !self.unread.is_empty()
            || !self.pending_changes.is_empty()
            || self.is_fleet_unread
            || self.is_moving()
    }

    /// Does the open work. It changes the stores' state, which is no reason to repeat it.
    async fn retry_open_work(&mut self, store: &mut StoreWatch, fleet: Option<&mut StoreWatch>) {
        self.do_open_work().await;
        store.mark_unchanged();
        if let Some(fleet) = fleet {
            fleet.mark_unchanged();
        }
    }

    /// Does the work that waits for the store, as far as the store allows.
    async fn do_open_work(&mut self) {
        if matches!(self.snapshot.names, Names::Known) {
            for name in self.unread.keys().cloned().collect::<Vec<_>>() {
                self.retry_load(&name).await;
            }
            if self.is_fleet_unread {
                self.read_fleet().await;
            }
            if self.is_moving() {
                // A failure is logged, and this is tried again.
                self.continue_move().await.ok();
            }
        } else {
            self.load_all().await;
        }
        self.finish_changes().await;
        if !self.shares_checked
            && matches!(self.snapshot.names, Names::Known)
            && self.pending_changes.is_empty()
        {
            self.shares_checked = self.shares.retain(|share| self.is_shared_account(share)).await;
        }
    }

    /// Whether the profile of a share exists and, as far as its record was read, has the account
    /// that was shared.
    fn is_shared_account(&self, share: &Share) -> bool {
        let view = self.snapshot.profiles.get(&share.terms.profile).map(ProfileHandle::view);
        view.is_some_and(|view| {
            view.snapshot().is_none_or(|snapshot| share.is_of(&snapshot.credential.identity))
        })
    }

    async fn handle_command(&mut self, command: Command) {
        match command {
            Command::SignIn(sign_in, done) => drop(done.send(self.sign_in(*sign_in).await)),
            Command::Read(name, done) => {
                self.retry_load(&name).await;
                drop(done.send(Ok(())));
            }
            Command::Default(name, done) => drop(done.send(self.make_default(&name).await)),
            Command::Rename(from, to, done) => drop(done.send(self.rename(&from, to).await)),
            Command::SignOut { name, revoke, done } => drop(done.send(self.sign_out(&name, revoke).await)),
            Command::Export(name, request, done) => drop(done.send(self.export(&name, request).await)),
            Command::ClearIntent(name, done) => drop(done.send(self.clear_intent(&name).await)),
            Command::Migrate(to, done) => drop(done.send(self.migrate(to).await)),
            Command::Rekey(done) => {
                drop(done.send(self.deps.store.rekey().await.map_err(RegistryError::Store)));
            }
        }
    }

    /// Shuts the daemon down after a panic of a profile actor: its profile is lost until a restart.
    fn check_exit(&mut self, exit: Result<ProfileName, JoinError>) {
        if let Err(error) = exit {
            error!(%error, "profile actor exited unexpectedly; shutting down");
            self.deps.stopping.cancel();
        }
    }

    /// Starts the actor of a profile and adds it to the snapshot. The caller publishes the
    /// snapshot.
    pub(super) fn start(&mut self, name: &ProfileName, state: InitialState) {
        let (handle, mailbox) = match (self.snapshot.profiles.get(name), self.unread.remove(name)) {
            (Some(handle), Some(mailbox)) => (handle.clone(), mailbox),
            _ => ProfileHandle::new(not_read().into()),
        };
        let deps = self.deps.clone();
        profile::spawn(&mut self.actors, name.clone(), (handle.clone(), mailbox), state, deps);
        self.handles().insert(name.clone(), handle);
    }

    /// Removes a profile from the snapshot. The caller publishes the snapshot.
    pub(super) fn remove(&mut self, name: &ProfileName) {
        self.unread.remove(name);
        self.ranks.remove(name);
        if let Some(handle) = self.handles().remove(name) {
            let last = handle.view().snapshot().map_or(0, |snapshot| snapshot.credential.generation);
            self.last_generation = self.last_generation.max(last);
        }
    }

    pub(super) fn publish(&mut self) {
        let only_unread = self.unread.keys().next().filter(|_| self.snapshot.profiles.len() == 1);
        let default = recovery::default_profile(&self.ranks, only_unread);
        Arc::make_mut(&mut self.snapshot).default = default;
        self.published.send_replace(self.snapshot.clone());
    }

    pub(super) fn announce(&self, name: &ProfileName) {
        self.deps.events.publish(ChangeEvent::Profile(name.clone()));
    }

    pub(super) fn notify_codex(&self, notice: CodexNotice) {
        // The receiver is gone while the daemon stops.
        self.notices.send(notice).ok();
    }

    pub(super) fn handles(&mut self) -> &mut BTreeMap<ProfileName, ProfileHandle> {
        &mut Arc::make_mut(&mut self.snapshot).profiles
    }

    /// The handle of a profile whose record has been read, or is read now.
    pub(super) async fn loaded_handle(&mut self, name: &ProfileName) -> Result<ProfileHandle, RegistryError> {
        self.require_names().await?;
        self.retry_load(name).await;
        let handle = self.snapshot.profiles.get(name).cloned().ok_or(RegistryError::Unknown)?;
        let view = handle.view();
        if view.snapshot().is_none() { Err(RegistryError::Unread(view)) } else { Ok(handle) }
    }

    /// Fails if the names of the profiles are not known and cannot be read now.
    pub(super) async fn require_names(&mut self) -> Result<(), StoreError> {
        if !matches!(self.snapshot.names, Names::Known) {
            self.load_all().await;
        }
        match &self.snapshot.names {
            Names::Known => Ok(()),
            Names::Unavailable(error) => Err((**error).clone()),
            Names::Loading => Err(not_read()),
        }
    }

    pub(super) fn store(&self) -> Store {
        self.deps.store.clone()
    }
}

/// The next state of one of the stores.
async fn next_state(store: &mut StoreWatch, fleet: Option<&mut StoreWatch>) -> Option<State> {
    match fleet {
        Some(fleet) => tokio::select! {
            state = store.changed() => state,
            state = fleet.changed() => state,
        },
        None => store.changed().await,
    }
}

/// The next change; waits for ever without a fleet.
async fn next_change(changes: &mut Option<Changes>) -> Change {
    match changes {
        Some(changes) => changes.next().await.unwrap_or(Change::Everything),
        None => std::future::pending().await,
    }
}
