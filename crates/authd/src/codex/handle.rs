//! What everybody else holds of the owner of Codex's logins, and how it can fail.

use std::{io, path::PathBuf};

use authd_api::{LoginFile, ProfileName};
use authd_oauth::CodexError;
use authd_store::StoreError;
use tokio::sync::{mpsc, oneshot};

use crate::{facts::Facts, keeper::KeeperError};

/// A handle on the owner.
#[derive(Clone, Debug)]
pub(crate) struct Codex(pub(super) mpsc::Sender<Command>);

/// Why Codex's login was neither taken nor given nor supplied.
#[derive(Debug)]
pub(crate) enum CodexFailure {
    /// No home is named, and this user has none.
    NoHome,
    /// The path is not one from the root.
    Relative(PathBuf),
    /// The file cannot be read or written.
    File(PathBuf, io::Error),
    /// The list of homes cannot be read or written.
    Homes(io::Error),
    /// What was begun with this home is not finished yet.
    Interrupted(PathBuf),
    /// The file is not a login that can be taken over.
    Login(PathBuf, CodexError),
    /// Nobody is signed in there.
    Nobody(PathBuf),
    /// The file is in the external form: somebody else owns its login.
    External(PathBuf),
    /// The same person is signed in here already, under this name.
    Already(ProfileName),
    /// The login in the file was tried, and did not work; it was left as it is.
    Unusable(PathBuf, Box<Facts>),
    /// This home is not supplied.
    NotSupplied(PathBuf),
    /// The login in this home was taken over: there is nothing to restore, but it can be given back from
    /// this profile.
    Taken(PathBuf, ProfileName),
    /// There is a login in this place already, which would be lost.
    Occupied(PathBuf),
    /// What was in this home is sealed in the store, and would never be restored.
    Unrestored(PathBuf),
    /// The profile has no workspace id, without which Codex does not work in this form.
    NoWorkspace(ProfileName),
    /// The profiles, as to this one.
    Keeper(ProfileName, KeeperError),
    /// The store.
    Store(StoreError),
    /// The daemon is stopping.
    Gone,
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, CodexFailure>>;

#[derive(Debug)]
pub(super) enum Command {
    Import(Option<PathBuf>, ProfileName, Answer<ProfileName>),
    Export(Option<PathBuf>, ProfileName, Answer<PathBuf>),
    Install(Option<PathBuf>, ProfileName, Answer<PathBuf>),
    Uninstall(Option<PathBuf>, Answer<LoginFile>),
}

impl Codex {
    /// Takes over the login in a file; answers under which name.
    pub(crate) async fn import(
        &self,
        path: Option<PathBuf>,
        name: ProfileName,
    ) -> Result<ProfileName, CodexFailure> {
        self.ask(|done| Command::Import(path, name, done)).await
    }

    /// Gives a profile's login to Codex, and forgets it here; answers where it is now.
    pub(crate) async fn export(
        &self,
        path: Option<PathBuf>,
        name: ProfileName,
    ) -> Result<PathBuf, CodexFailure> {
        self.ask(|done| Command::Export(path, name, done)).await
    }

    /// Keeps a home supplied with a profile's access tokens; answers in which file.
    pub(crate) async fn install(
        &self,
        home: Option<PathBuf>,
        name: ProfileName,
    ) -> Result<PathBuf, CodexFailure> {
        self.ask(|done| Command::Install(home, name, done)).await
    }

    /// Restores what was in a home; answers what came of that.
    pub(crate) async fn uninstall(&self, home: Option<PathBuf>) -> Result<LoginFile, CodexFailure> {
        self.ask(|done| Command::Uninstall(home, done)).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, CodexFailure> {
        let (done, answer) = oneshot::channel();
        self.0.send(command(done)).await.map_err(|_| CodexFailure::Gone)?;
        answer.await.map_err(|_| CodexFailure::Gone)?
    }
}
