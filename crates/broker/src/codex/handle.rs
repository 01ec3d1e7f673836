//! The handle of the Codex manager and its commands.

use std::path::PathBuf;

use authd_api::{LoginFile, ProfileName};
use tokio::sync::{mpsc, oneshot};

use super::{
    error::CodexHomeError,
    homes::ManagedHomes,
    status::{CodexHome, Observations},
};

/// A cheap handle of the task that owns the Codex homes.
#[derive(Clone, Debug)]
pub struct CodexManager {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) homes: ManagedHomes,
    pub(super) observations: Observations,
}

pub(super) type CodexReply<T> = oneshot::Sender<Result<T, CodexHomeError>>;

#[derive(Debug)]
pub(super) enum Command {
    Import(Option<PathBuf>, ProfileName, CodexReply<ProfileName>),
    Export(Option<PathBuf>, ProfileName, CodexReply<PathBuf>),
    Install(Option<PathBuf>, ProfileName, CodexReply<PathBuf>),
    Uninstall(Option<PathBuf>, CodexReply<LoginFile>),
}

impl CodexManager {
    /// Imports the login in a file. Returns the name of its profile.
    pub async fn import(
        &self,
        path: Option<PathBuf>,
        name: ProfileName,
    ) -> Result<ProfileName, CodexHomeError> {
        self.send(|done| Command::Import(path, name, done)).await
    }

    /// Exports a profile's login to Codex and deletes the profile. Returns the file.
    pub async fn export(&self, path: Option<PathBuf>, name: ProfileName) -> Result<PathBuf, CodexHomeError> {
        self.send(|done| Command::Export(path, name, done)).await
    }

    /// Writes a profile's access tokens into a home from now on. Returns the file.
    pub async fn install(&self, home: Option<PathBuf>, name: ProfileName) -> Result<PathBuf, CodexHomeError> {
        self.send(|done| Command::Install(home, name, done)).await
    }

    /// Restores the earlier login of a home.
    pub async fn uninstall(&self, home: Option<PathBuf>) -> Result<LoginFile, CodexHomeError> {
        self.send(|done| Command::Uninstall(home, done)).await
    }

    /// All managed homes, by path, with what authd last observed of them.
    pub async fn homes(&self) -> Result<Vec<CodexHome>, CodexHomeError> {
        let homes = self.homes.all().await.map_err(CodexHomeError::Homes)?;
        Ok(homes.into_iter().map(|(home, managed)| self.observations.describe(home, managed)).collect())
    }

    async fn send<T>(&self, command: impl FnOnce(CodexReply<T>) -> Command) -> Result<T, CodexHomeError> {
        let (done, reply) = oneshot::channel();
        self.commands.send(command(done)).await.map_err(|_| CodexHomeError::Stopping)?;
        reply.await.map_err(|_| CodexHomeError::Stopping)?
    }
}
