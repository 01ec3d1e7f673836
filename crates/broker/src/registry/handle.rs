//! The handle of the registry, its commands and its errors.

use std::{io, sync::Arc, time::Duration};

use authd_api::ProfileName;
use authd_oauth::{Grant, Intent};
use authd_store::{Kind, MigrationReport, RekeyReport, StoreError};
use tokio::sync::{mpsc, oneshot, watch};

use super::snapshot::{Names, RegistrySnapshot};
use crate::{
    profile::{ActorStopped, ExportRequest, SignOutError},
    snapshot::ProfileView,
};

/// A cheap handle of the registry.
#[derive(Clone, Debug)]
pub struct ProfileRegistry {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) published: watch::Receiver<Arc<RegistrySnapshot>>,
}

/// Why a command of the registry failed.
#[derive(Debug)]
pub enum RegistryError {
    /// There is no such profile.
    Unknown,
    /// Another user is signed in under that name.
    Taken,
    /// Another node of the fleet signed in under that name at the same time. The sign-in here was
    /// not stored.
    SignedInElsewhere,
    /// The profile's record has not been read, and the command needs it.
    Unread(ProfileView),
    /// The store failed.
    Store(StoreError),
    /// The sign-out failed.
    SignOut(SignOutError),
    /// The target of an export did not take the grant.
    ExportTarget(io::Error),
    /// The actor of the registry or of the profile ended before it answered: the daemon stops, or
    /// the profile was removed during the command. The caller cannot tell the two apart, and the
    /// remedy is the same: a repeated command gets the reason.
    Stopping,
}

impl From<ActorStopped> for RegistryError {
    fn from(ActorStopped: ActorStopped) -> Self {
        Self::Stopping
    }
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

pub(super) type RegistryReply<T> = oneshot::Sender<Result<T, RegistryError>>;

/// A finished sign-in that becomes a profile.
#[derive(Debug)]
pub struct SignIn {
    /// The requested name.
    pub requested: ProfileName,
    /// Which other names are allowed.
    pub name_policy: NamePolicy,
    /// The grant.
    pub grant: Grant,
    /// The random id of the grant.
    pub grant_id: Arc<str>,
    /// Where the grant comes from, while its source still holds the refresh token.
    pub intent: Option<Intent>,
}

/// Which names a sign-in may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamePolicy {
    /// The requested name, even if another user has it.
    Replace,
    /// The requested name if it is free or belongs to the same user, else the first of NAME-2,
    /// NAME-3, … of which the same is true.
    OwnOrOther,
    /// The requested name if it is free or belongs to the same user.
    Own,
    /// The requested name if it is free, else a free alternative.
    Free,
}

/// Where records can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationTarget {
    /// To this node's store, of this kind.
    Local(Kind),
    /// To the fleet's store.
    Fleet,
}

pub(super) enum Command {
    SignIn(Box<SignIn>, RegistryReply<ProfileName>),
    Read(ProfileName, RegistryReply<()>),
    Default(ProfileName, RegistryReply<()>),
    Rename(ProfileName, ProfileName, RegistryReply<()>),
    SignOut { name: ProfileName, revoke: bool, done: RegistryReply<()> },
    Export(ProfileName, ExportRequest, RegistryReply<()>),
    ClearIntent(ProfileName, RegistryReply<()>),
    Migrate(MigrationTarget, RegistryReply<MigrationReport>),
    Rekey(RegistryReply<RekeyReport>),
}

impl ProfileRegistry {
    /// The profiles as of the last change.
    pub fn snapshot(&self) -> Arc<RegistrySnapshot> {
        self.published.borrow().clone()
    }

    /// The profiles and their changes.
    pub fn watch(&self) -> watch::Receiver<Arc<RegistrySnapshot>> {
        self.published.clone()
    }

    /// The profiles once their names are known; waits for that at most `timeout`. The error is the
    /// reason why the store cannot be listed.
    pub async fn known(&self, timeout: Duration) -> Result<Arc<RegistrySnapshot>, StoreError> {
        let mut published = self.published.clone();
        let known = |snapshot: &Arc<RegistrySnapshot>| !matches!(snapshot.names, Names::Loading);
        let snapshot = match tokio::time::timeout(timeout, published.wait_for(known)).await {
            Ok(Ok(snapshot)) => snapshot.clone(),
            Ok(Err(_)) | Err(_) => self.snapshot(),
        };
        match &snapshot.names {
            Names::Known => Ok(snapshot),
            Names::Unavailable(error) => Err((**error).clone()),
            Names::Loading => Err(StoreError::unavailable("its records have not been read yet")),
        }
    }

    /// Waits until the names are known.
    pub(crate) async fn listed(&self) {
        let mut published = self.published.clone();
        drop(published.wait_for(|snapshot| matches!(snapshot.names, Names::Known)).await);
    }

    /// Adds a sign-in under its name or another one that `name_policy` allows. Returns the name
    /// once the record is saved or known not to be.
    pub async fn sign_in(&self, sign_in: SignIn) -> Result<ProfileName, RegistryError> {
        self.send(|done| Command::SignIn(Box::new(sign_in), done)).await
    }

    /// Tries again to read the record of a profile.
    pub async fn read(&self, name: ProfileName) -> Result<(), RegistryError> {
        self.send(|done| Command::Read(name, done)).await
    }

    /// Makes a profile the default.
    pub async fn make_default(&self, name: ProfileName) -> Result<(), RegistryError> {
        self.send(|done| Command::Default(name, done)).await
    }

    /// Renames a profile.
    pub async fn rename(&self, from: ProfileName, to: ProfileName) -> Result<(), RegistryError> {
        self.send(|done| Command::Rename(from, to, done)).await
    }

    /// Deletes a profile; with `revoke`, after the provider has revoked the grant.
    pub async fn sign_out(&self, name: ProfileName, revoke: bool) -> Result<(), RegistryError> {
        self.send(|done| Command::SignOut { name, revoke, done }).await
    }

    /// Exports a profile's grant, then deletes the profile.
    pub(crate) async fn export(
        &self,
        name: ProfileName,
        request: ExportRequest,
    ) -> Result<(), RegistryError> {
        self.send(|done| Command::Export(name, request, done)).await
    }

    /// Clears the intent of a profile's record, because the move is finished.
    pub(crate) async fn clear_intent(&self, name: ProfileName) -> Result<(), RegistryError> {
        self.send(|done| Command::ClearIntent(name, done)).await
    }

    /// Moves every record to another store.
    pub async fn migrate(&self, to: MigrationTarget) -> Result<MigrationReport, RegistryError> {
        self.send(|done| Command::Migrate(to, done)).await
    }

    /// Encrypts every record with a new key.
    pub async fn rekey(&self) -> Result<RekeyReport, RegistryError> {
        self.send(Command::Rekey).await
    }

    async fn send<T>(&self, command: impl FnOnce(RegistryReply<T>) -> Command) -> Result<T, RegistryError> {
        let (done, reply) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| RegistryError::Stopping)?;
        reply.await.map_err(|_| RegistryError::Stopping)?
    }
}
