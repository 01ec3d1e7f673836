//! The owner of the directory: which profiles there are, which one is the default, and the index on
//! disk that remembers it. One task changes it; everybody else reads a snapshot.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

use authd_api::ProfileName;
use authd_oauth::{Grant, Identity};
use authd_store::{Index, Kind, Moved, Status as StoreStatus, StoreError, Whose};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info};

pub(crate) use self::upkeep::find_index;
use crate::{
    events::News,
    profile::{Beginning, Give, GiveError, Gone, Handle, Profiles, SignOutError, Tools, profiles},
};

mod upkeep;

/// The profiles, as of the last change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    /// The one used when none is named.
    pub(crate) default: Option<ProfileName>,
    /// All of them.
    pub(crate) profiles: BTreeMap<ProfileName, Handle>,
}

/// A handle on the owner of the directory.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    commands: mpsc::Sender<Command>,
    directory: watch::Receiver<Arc<Directory>>,
}

/// Why the directory was not changed.
#[derive(Debug)]
pub(crate) enum KeeperError {
    /// There is no such profile.
    Unknown,
    /// The name belongs to somebody else.
    Taken,
    /// The store did not do its part.
    Store(StoreError),
    /// The sign-out failed.
    SignOut(SignOutError),
    /// The place that it was to be given to did not take it.
    Elsewhere(io::Error),
    /// The daemon is stopping.
    Gone,
}

impl From<Gone> for KeeperError {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

/// A finished sign-in, on its way to a profile.
#[derive(Debug)]
pub(crate) struct SignIn {
    /// The name it was started for.
    pub(crate) wanted: ProfileName,
    /// Whether somebody else under that name may be replaced.
    pub(crate) replace: bool,
    /// Whether another name will do, if somebody else has that one.
    pub(crate) elsewhere: bool,
    /// What was granted.
    pub(crate) grant: Grant,
}

enum Command {
    SignIn(Box<SignIn>, oneshot::Sender<Result<ProfileName, KeeperError>>),
    Default(ProfileName, oneshot::Sender<Result<(), KeeperError>>),
    Rename(ProfileName, ProfileName, oneshot::Sender<Result<(), KeeperError>>),
    SignOut { name: ProfileName, revoke: bool, done: oneshot::Sender<Result<(), KeeperError>> },
    GiveAway(ProfileName, Give, oneshot::Sender<Result<(), KeeperError>>),
    Migrate(Kind, oneshot::Sender<Result<Moved, KeeperError>>),
    Rekey(oneshot::Sender<Result<(), KeeperError>>),
}

impl Keeper {
    /// The profiles as they are now.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.borrow().clone()
    }

    /// Puts a sign-in under its name, or under the next free one; answers where, once it is saved.
    pub(crate) async fn sign_in(&self, sign_in: SignIn) -> Result<ProfileName, KeeperError> {
        self.ask(|done| Command::SignIn(Box::new(sign_in), done)).await
    }

    /// Makes a profile the default one.
    pub(crate) async fn make_default(&self, name: ProfileName) -> Result<(), KeeperError> {
        self.ask(|done| Command::Default(name, done)).await
    }

    /// Gives a profile another name.
    pub(crate) async fn rename(&self, from: ProfileName, to: ProfileName) -> Result<(), KeeperError> {
        self.ask(|done| Command::Rename(from, to, done)).await
    }

    /// Forgets a profile; with `revoke` at the provider first.
    pub(crate) async fn sign_out(&self, name: ProfileName, revoke: bool) -> Result<(), KeeperError> {
        self.ask(|done| Command::SignOut { name, revoke, done }).await
    }

    /// Gives a profile's grant away, and forgets it here.
    pub(crate) async fn give_away(&self, name: ProfileName, give: Give) -> Result<(), KeeperError> {
        self.ask(|done| Command::GiveAway(name, give, done)).await
    }

    /// Moves every record to another store.
    pub(crate) async fn migrate(&self, to: Kind) -> Result<Moved, KeeperError> {
        self.ask(|done| Command::Migrate(to, done)).await
    }

    /// Seals every record with a new key.
    pub(crate) async fn rekey(&self) -> Result<(), KeeperError> {
        self.ask(Command::Rekey).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, KeeperError>>) -> Command,
    ) -> Result<T, KeeperError> {
        let (done, answer) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| KeeperError::Gone)?;
        answer.await.map_err(|_| KeeperError::Gone)?
    }
}

/// The owner's handle and its task's future, which ends when the daemon stops, nobody signs in any more,
/// and every profile has settled.
pub(crate) fn keeper(
    state_dir: PathBuf,
    index: Index,
    tools: Tools,
) -> (Keeper, impl Future<Output = ()> + Send) {
    let (commands, mailbox) = mpsc::channel(16);
    let tools = Arc::new(tools);
    let stored = index.profiles.keys().filter_map(|name| name.parse().ok()).collect();
    let (maker, profiles, living) = profiles(stored, tools.clone());
    let (published, seen) = watch::channel(Arc::default());
    let directory = Arc::new(Directory { default: None, profiles });
    let mut owner = Owner { state_dir, index, tools, directory, maker, published };
    owner.publish();
    let keeping = async { ((), ()) = tokio::join!(living, owner.run(mailbox)) };
    (Keeper { commands, directory: seen }, keeping)
}

struct Owner {
    state_dir: PathBuf,
    index: Index,
    tools: Arc<Tools>,
    /// The same as is published, but for a moment.
    directory: Arc<Directory>,
    maker: Profiles,
    published: watch::Sender<Arc<Directory>>,
}

impl Owner {
    async fn run(mut self, mut mailbox: mpsc::Receiver<Command>) {
        self.clear_left_behind().await;
        let closing = self.tools.closing.clone();
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                command = mailbox.recv() => match command {
                    Some(command) => self.obey(command).await,
                    None => break,
                },
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::SignIn(sign_in, done) => drop(done.send(self.sign_in(*sign_in).await)),
            Command::Default(name, done) => drop(done.send(self.make_default(&name))),
            Command::Rename(from, to, done) => drop(done.send(self.rename(&from, to).await)),
            Command::SignOut { name, revoke, done } => drop(done.send(self.sign_out(&name, revoke).await)),
            Command::GiveAway(name, give, done) => drop(done.send(self.give_away(&name, give).await)),
            Command::Migrate(to, done) => drop(done.send(self.migrate(to).await.map_err(KeeperError::Store))),
            Command::Rekey(done) => {
                drop(done.send(self.tools.store.rekey().await.map_err(KeeperError::Store)));
            }
        }
    }

    async fn sign_in(&mut self, sign_in: SignIn) -> Result<ProfileName, KeeperError> {
        let name = self.place(&sign_in).ok_or(KeeperError::Taken)?;
        let whose = whose(&sign_in.grant.identity);
        if let Some(handle) = self.directory.profiles.get(&name) {
            handle.sign_in(sign_in.grant).await?;
        } else {
            let (done, saved) = oneshot::channel();
            let (grant, generation) = (Box::new(sign_in.grant), self.index.generations + 1);
            let beginning = Beginning::SignedIn { grant, generation, done };
            let handle = self.maker.begin(name.clone(), beginning).await;
            self.handles().insert(name.clone(), handle);
            saved.await.map_err(|_| KeeperError::Gone)?;
        }
        self.index.profiles.insert(name.to_string(), Some(whose));
        self.index.default.get_or_insert_with(|| name.to_string());
        self.write();
        self.tools.events.tell(News::Profile(name.clone()));
        Ok(name)
    }

    /// Where a sign-in goes: to its own name if that is free, theirs already, or to be replaced; else
    /// to the first alternative of which the same is true.
    fn place(&self, sign_in: &SignIn) -> Option<ProfileName> {
        let wanted = &sign_in.wanted;
        let theirs = Some(whose(&sign_in.grant.identity));
        let fits = |name: &ProfileName| {
            let known = self.index.profiles.get(name.as_str());
            known.is_none_or(|known| known.or_else(|| self.said_by(name)) == theirs)
        };
        if sign_in.replace || fits(wanted) {
            return Some(wanted.clone());
        }
        let alternatives = (2..=self.index.profiles.len() + 2).map(|n| wanted.alternative(n));
        alternatives.filter(|_| sign_in.elsewhere).find(fits)
    }

    /// Whose a profile is by its own record, where the index was rebuilt and does not know.
    fn said_by(&self, name: &ProfileName) -> Option<Whose> {
        let view = self.directory.profiles.get(name)?.view();
        view.facts().map(|facts| whose(&facts.credential.identity))
    }

    fn make_default(&mut self, name: &ProfileName) -> Result<(), KeeperError> {
        if !self.directory.profiles.contains_key(name) {
            return Err(KeeperError::Unknown);
        }
        self.index.default = Some(name.to_string());
        self.write();
        Ok(())
    }

    async fn rename(&mut self, from: &ProfileName, to: ProfileName) -> Result<(), KeeperError> {
        let handle = self.directory.profiles.get(from).cloned().ok_or(KeeperError::Unknown)?;
        if *from == to {
            return Ok(());
        }
        if self.directory.profiles.contains_key(&to) {
            return Err(KeeperError::Taken);
        }
        if let Err(error) = handle.rename(to.clone()).await? {
            // What the store has not saved in time it may save yet.
            self.discard(to.as_str()).await;
            return Err(KeeperError::Store(error));
        }
        if let Some(handle) = self.handles().remove(from) {
            self.handles().insert(to.clone(), handle);
        }
        if let Some(whose) = self.index.profiles.remove(from.as_str()) {
            self.index.profiles.insert(to.to_string(), whose);
        }
        if self.index.default.as_deref() == Some(from.as_str()) {
            self.index.default = Some(to.to_string());
        }
        // It is renamed, whether the old record can be deleted or not.
        self.discard(from.as_str()).await;
        // Only now would a look at the directory show it.
        self.tools.events.tell(News::Profile(from.clone()));
        self.tools.events.tell(News::Profile(to));
        Ok(())
    }

    async fn sign_out(&mut self, name: &ProfileName, revoke: bool) -> Result<(), KeeperError> {
        let handle = self.directory.profiles.get(name).ok_or(KeeperError::Unknown)?;
        handle.sign_out(revoke).await?.map_err(KeeperError::SignOut)?;
        self.forget(name);
        Ok(())
    }

    async fn give_away(&mut self, name: &ProfileName, give: Give) -> Result<(), KeeperError> {
        let handle = self.directory.profiles.get(name).ok_or(KeeperError::Unknown)?;
        handle.give_away(give).await?.map_err(|error| match error {
            GiveError::Elsewhere(error) => KeeperError::Elsewhere(error),
            GiveError::Store(error) => KeeperError::Store(error),
        })?;
        self.forget(name);
        Ok(())
    }

    /// Lets go of a profile's task; whoever has that name next goes on from its last generation.
    fn retire(&mut self, name: &ProfileName) {
        if let Some(handle) = self.handles().remove(name) {
            let last = handle.view().facts().map_or(0, |facts| facts.credential.generation);
            self.index.generations = self.index.generations.max(last);
        }
    }

    fn forget(&mut self, name: &ProfileName) {
        self.retire(name);
        self.index.profiles.remove(name.as_str());
        if self.index.default.as_deref() == Some(name.as_str()) {
            // With one profile left there is no doubt which is meant; with several, a person chooses.
            self.index.default =
                self.index.profiles.keys().next().filter(|_| self.index.profiles.len() == 1).cloned();
        }
        self.write();
        self.tools.events.tell(News::Profile(name.clone()));
    }

    /// Publishes the directory and remembers it on disk. The index holds no secret and can be rebuilt:
    /// failing to write it is not a reason to refuse a sign-in.
    fn write(&mut self) {
        self.publish();
        let StoreStatus { kind, .. } = self.tools.store.status();
        if self.index.store.is_none() && kind.is_some() {
            info!(kind = kind.map(tracing::field::debug), "the store is chosen, and remembered");
            self.index.store = kind;
        }
        if let Err(error) = self.index.save(&self.state_dir) {
            error!(%error, "the index cannot be written; it will be rebuilt from the store");
        }
    }

    fn publish(&mut self) {
        let default = self.index.default.as_deref().and_then(|name| name.parse().ok());
        Arc::make_mut(&mut self.directory).default = default;
        self.published.send_replace(self.directory.clone());
    }

    fn handles(&mut self) -> &mut BTreeMap<ProfileName, Handle> {
        &mut Arc::make_mut(&mut self.directory).profiles
    }
}

/// An identity is (user, workspace), never the e-mail. A key of the user's own has neither, and is the same as
/// another such key.
fn whose(identity: &Identity) -> Whose {
    identity.mark().into()
}
