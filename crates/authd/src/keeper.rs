//! The registry: which profiles there are, and which is the default. One task changes it; everything else reads a
//! snapshot. The records in the store are the truth: the names are those that the store lists, and the default is marked
//! in a record. While the store cannot be listed, no name is known.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use authd_api::ProfileName;
use authd_store::{Kind, MigrationReport, RekeyReport, State, Store, StoreError};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};
use tracing::error;

use crate::{
    codex::homes::{CodexNotice, ManagedHomes},
    events::News,
    facts::View,
    profile::{
        self, ActorStopped, ExportRequest, InitialState, Mailbox, ProfileDeps, ProfileHandle, SignOutError,
    },
};

mod changes;
mod load;
mod settle;
mod sign_in;
mod unfinished;

pub(crate) use self::sign_in::{Placement, SignIn};
use self::unfinished::Unfinished;

/// How long to wait before work on the store that failed is tried again, first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// The profiles, as of the last change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    /// Whether the names are known.
    pub(crate) names: Names,
    /// The profile that is used when none is named.
    pub(crate) default: Option<ProfileName>,
    /// All of them; empty until the names are known.
    pub(crate) profiles: BTreeMap<ProfileName, ProfileHandle>,
}

/// Whether the names of the profiles are known.
#[derive(Clone, Debug, Default)]
pub(crate) enum Names {
    /// The store is being listed, and its records read.
    #[default]
    Loading,
    /// The store could not be listed; it is tried again.
    Unavailable(Arc<StoreError>),
    /// The store was listed, and each record was tried once.
    Known,
}

/// A handle on the registry.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    commands: mpsc::Sender<Command>,
    directory: watch::Receiver<Arc<Directory>>,
}

/// Why the registry did not do what it was asked.
#[derive(Debug)]
pub(crate) enum KeeperError {
    /// There is no such profile.
    Unknown,
    /// The name belongs to another login.
    Taken,
    /// The profile's record has not been read, so that nothing is done that depends on it.
    Unread(View),
    /// The store did not do its part.
    Store(StoreError),
    /// The sign-out failed.
    SignOut(SignOutError),
    /// The place that it was to be given to did not take it.
    Elsewhere(io::Error),
    /// The daemon is stopping, or the profile was removed meanwhile.
    Gone,
}

impl From<ActorStopped> for KeeperError {
    fn from(ActorStopped: ActorStopped) -> Self {
        Self::Gone
    }
}

impl From<StoreError> for KeeperError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

type Reply<T> = oneshot::Sender<Result<T, KeeperError>>;

enum Command {
    SignIn(Box<SignIn>, Reply<ProfileName>),
    Read(ProfileName, Reply<()>),
    Default(ProfileName, Reply<()>),
    Rename(ProfileName, ProfileName, Reply<()>),
    SignOut { name: ProfileName, revoke: bool, done: Reply<()> },
    Export(ProfileName, ExportRequest, Reply<()>),
    ClearIntent(ProfileName, Reply<()>),
    Migrate(Kind, Reply<MigrationReport>),
    Rekey(Reply<RekeyReport>),
}

impl Keeper {
    /// The profiles as they are now.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.borrow().clone()
    }

    /// The profiles, once their names are known. While the store cannot be listed, the store's reason.
    pub(crate) async fn known(&self, patience: Duration) -> Result<Arc<Directory>, StoreError> {
        let mut directory = self.directory.clone();
        let known = |directory: &Arc<Directory>| !matches!(directory.names, Names::Loading);
        let directory = match tokio::time::timeout(patience, directory.wait_for(known)).await {
            Ok(Ok(directory)) => directory.clone(),
            Ok(Err(_)) | Err(_) => self.directory(),
        };
        match &directory.names {
            Names::Known => Ok(directory),
            Names::Unavailable(error) => Err((**error).clone()),
            Names::Loading => {
                Err(StoreError::Unavailable { detail: "its records have not been read yet".to_owned() })
            }
        }
    }

    /// Waits until the names are known, for as long as that takes.
    pub(crate) async fn listed(&self) {
        let mut directory = self.directory.clone();
        drop(directory.wait_for(|directory| matches!(directory.names, Names::Known)).await);
    }

    /// Puts a sign-in under its name, or under the next free one; answers where, once it is saved.
    pub(crate) async fn sign_in(&self, sign_in: SignIn) -> Result<ProfileName, KeeperError> {
        self.send(|done| Command::SignIn(Box::new(sign_in), done)).await
    }

    /// Tries to read the record of a profile that has not been read.
    pub(crate) async fn read(&self, name: ProfileName) -> Result<(), KeeperError> {
        self.send(|done| Command::Read(name, done)).await
    }

    /// Makes a profile the default one.
    pub(crate) async fn make_default(&self, name: ProfileName) -> Result<(), KeeperError> {
        self.send(|done| Command::Default(name, done)).await
    }

    /// Gives a profile another name.
    pub(crate) async fn rename(&self, from: ProfileName, to: ProfileName) -> Result<(), KeeperError> {
        self.send(|done| Command::Rename(from, to, done)).await
    }

    /// Deletes a profile; with `revoke` at the provider first.
    pub(crate) async fn sign_out(&self, name: ProfileName, revoke: bool) -> Result<(), KeeperError> {
        self.send(|done| Command::SignOut { name, revoke, done }).await
    }

    /// Gives a profile's grant away, and deletes it here.
    pub(crate) async fn export(&self, name: ProfileName, request: ExportRequest) -> Result<(), KeeperError> {
        self.send(|done| Command::Export(name, request, done)).await
    }

    /// The move that a profile's record speaks of is finished.
    pub(crate) async fn clear_intent(&self, name: ProfileName) -> Result<(), KeeperError> {
        self.send(|done| Command::ClearIntent(name, done)).await
    }

    /// Moves every record to another store.
    pub(crate) async fn migrate(&self, to: Kind) -> Result<MigrationReport, KeeperError> {
        self.send(|done| Command::Migrate(to, done)).await
    }

    /// Seals every record with a new key.
    pub(crate) async fn rekey(&self) -> Result<RekeyReport, KeeperError> {
        self.send(Command::Rekey).await
    }

    async fn send<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, KeeperError> {
        let (done, reply) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| KeeperError::Gone)?;
        reply.await.map_err(|_| KeeperError::Gone)?
    }
}

/// The registry's handle and its task's future, which ends when the daemon stops and every profile has settled.
pub(crate) fn keeper(
    deps: ProfileDeps,
    homes: ManagedHomes,
    notices: mpsc::UnboundedSender<CodexNotice>,
) -> (Keeper, impl Future<Output = ()> + Send) {
    let (commands, mailbox) = mpsc::channel(16);
    let (published, directory) = watch::channel(Arc::default());
    let registry = Registry {
        deps: Arc::new(deps),
        homes,
        notices,
        directory: Arc::default(),
        published,
        actors: JoinSet::new(),
        unread: BTreeMap::new(),
        ranks: BTreeMap::new(),
        chosen: false,
        unfinished: Vec::new(),
        last_generation: 0,
    };
    (Keeper { commands, directory }, registry.run(mailbox))
}

struct Registry {
    deps: Arc<ProfileDeps>,
    homes: ManagedHomes,
    /// Where the owner of the Codex homes hears what concerns it.
    notices: mpsc::UnboundedSender<CodexNotice>,
    /// The same as is published, but for a moment.
    directory: Arc<Directory>,
    published: watch::Sender<Arc<Directory>>,
    actors: JoinSet<ProfileName>,
    /// The profiles whose record has not been read, and the mailbox of the actor that each will get.
    unread: BTreeMap<ProfileName, Mailbox>,
    /// The default marks of the records that have one.
    ranks: BTreeMap<ProfileName, u64>,
    /// Whether the default was chosen in this run: then a record that is read later does not change it.
    chosen: bool,
    /// What has begun and has to be finished, however often the store fails.
    unfinished: Vec<Unfinished>,
    /// The highest generation of the profiles that were removed in this run. A new one goes on from there.
    last_generation: u64,
}

impl Registry {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Command>) {
        let closing = self.deps.closing.clone();
        let mut store = self.deps.store.watch();
        let mut recreated = self.homes.state_dir().recreated();
        let mut pause = RETRY.0;
        self.work_off().await;
        loop {
            let open = self.has_open_work();
            let retry_at = Instant::now() + pause;
            tokio::select! {
                () = closing.cancelled() => break,
                command = mailbox.recv() => match command {
                    Some(command) => self.handle_command(command).await,
                    None => break,
                },
                Some(ended) = self.actors.join_next() => self.ended(ended),
                // The records were removed with the state directory; those in memory are all there is.
                Ok(()) = recreated.changed() => {
                    self.directory.profiles.values().for_each(ProfileHandle::save_again);
                    self.homes.unsettle();
                    // Nothing listens any more while the daemon stops.
                    self.notices.send(CodexNotice::HomesChanged).ok();
                }
                () = tokio::time::sleep_until(retry_at), if open => {
                    pause = (pause * 2).min(RETRY.1);
                    self.work_off().await;
                    // What that did to the store's state is no news.
                    store.mark_unchanged();
                }
                Ok(()) = store.changed(), if open => {
                    if store.borrow_and_update().state == State::Ready {
                        pause = RETRY.0;
                        self.work_off().await;
                        store.mark_unchanged();
                    }
                }
            }
            if !self.has_open_work() {
                pause = RETRY.0;
            }
        }
        while let Some(ended) = self.actors.join_next().await {
            self.ended(ended);
        }
    }

    /// Whether something waits for the store.
    fn has_open_work(&self) -> bool {
        !matches!(self.directory.names, Names::Known)
            || !self.unread.is_empty()
            || !self.unfinished.is_empty()
    }

    /// Does what waits for the store, as far as the store lets it.
    async fn work_off(&mut self) {
        if matches!(self.directory.names, Names::Known) {
            for name in self.unread.keys().cloned().collect::<Vec<_>>() {
                self.read_again(&name).await;
            }
        } else {
            self.list().await;
        }
        self.finish_all().await;
    }

    async fn handle_command(&mut self, command: Command) {
        match command {
            Command::SignIn(sign_in, done) => drop(done.send(self.sign_in(*sign_in).await)),
            Command::Read(name, done) => {
                self.read_again(&name).await;
                drop(done.send(Ok(())));
            }
            Command::Default(name, done) => drop(done.send(self.make_default(&name).await)),
            Command::Rename(from, to, done) => drop(done.send(self.rename(&from, to).await)),
            Command::SignOut { name, revoke, done } => drop(done.send(self.sign_out(&name, revoke).await)),
            Command::Export(name, request, done) => drop(done.send(self.export(&name, request).await)),
            Command::ClearIntent(name, done) => drop(done.send(self.clear_intent(&name).await)),
            Command::Migrate(to, done) => {
                drop(done.send(self.deps.store.migrate(to).await.map_err(KeeperError::Store)));
            }
            Command::Rekey(done) => {
                drop(done.send(self.deps.store.rekey().await.map_err(KeeperError::Store)));
            }
        }
    }

    /// A profile whose actor panicked cannot be used any more, so the daemon stops, in good order for all others, to be
    /// started again.
    fn ended(&mut self, ended: Result<ProfileName, tokio::task::JoinError>) {
        if let Err(failure) = ended {
            error!(%failure, "a profile's actor ended unexpectedly; shutting down");
            self.deps.stopping.cancel();
        }
    }

    /// Starts an actor for a profile. It is in the directory when this returns, and published by the caller.
    fn start(&mut self, name: &ProfileName, state: InitialState) {
        let (handle, mailbox) = match (self.directory.profiles.get(name), self.unread.remove(name)) {
            (Some(handle), Some(mailbox)) => (handle.clone(), mailbox),
            _ => ProfileHandle::new(View::Closed(Arc::new(not_read()))),
        };
        let (name, deps) = (name.clone(), self.deps.clone());
        profile::spawn(&mut self.actors, name.clone(), handle.clone(), mailbox, state, deps);
        self.handles().insert(name, handle);
    }

    /// Takes a profile out of the directory.
    fn remove(&mut self, name: &ProfileName) {
        self.unread.remove(name);
        self.ranks.remove(name);
        if let Some(handle) = self.handles().remove(name) {
            let last = handle.view().facts().map_or(0, |facts| facts.credential.generation);
            self.last_generation = self.last_generation.max(last);
        }
    }

    /// Publishes the directory.
    fn publish(&mut self) {
        let default = settle::default_profile(self.directory.profiles.keys(), &self.ranks);
        Arc::make_mut(&mut self.directory).default = default;
        self.published.send_replace(self.directory.clone());
    }

    fn announce(&self, name: &ProfileName) {
        self.deps.events.tell(News::Profile(name.clone()));
    }

    fn handles(&mut self) -> &mut BTreeMap<ProfileName, ProfileHandle> {
        &mut Arc::make_mut(&mut self.directory).profiles
    }

    fn handle(&self, name: &ProfileName) -> Result<ProfileHandle, KeeperError> {
        self.directory.profiles.get(name).cloned().ok_or(KeeperError::Unknown)
    }

    fn store(&self) -> Store {
        self.deps.store.clone()
    }
}

fn not_read() -> StoreError {
    StoreError::Unavailable { detail: "its record has not been read yet".to_owned() }
}
