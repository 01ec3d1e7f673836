//! Giving a login to Codex.

use std::{io, path::PathBuf};

use authd_api::ProfileName;
use authd_oauth::{Grant, codex};
use secrecy::SecretString;
use tracing::{info, warn};

use super::{
    actor::CodexActor,
    error::CodexHomeError,
    location::{FoundLogin, LoginLocation, same},
    sync,
};
use crate::profile::{ExportRequest, ExportWrite, Rollback, WriteError};

/// Why a login is not given away. It is still whole in whatever else it is needed for.
const NO_ID_TOKEN: &str =
    "the store has lost its id token, which Codex needs; `authctl refresh` brings a new one";

impl CodexActor {
    pub(super) async fn export(
        &mut self,
        path: Option<PathBuf>,
        name: ProfileName,
    ) -> Result<PathBuf, CodexHomeError> {
        let FoundLogin { location, text, .. } = self.look(path, |path| path).await?;
        let (home, path) = (location.home().to_path_buf(), location.path().to_path_buf());
        let managed = self.homes.all().await.map_err(CodexHomeError::Homes)?.get(&home).cloned();
        match &managed {
            Some(managed) if managed.restorable => return Err(CodexHomeError::Unrestored(home)),
            Some(_) if sync::is_ours(text.as_ref()) => {}
            None if sync::is_replaceable(text.as_ref()) => {}
            Some(_) | None => return Err(CodexHomeError::Occupied(path)),
        }
        self.stop_sync(&home);
        let item = location.is_item();
        // The fifth place where a secret leaves: to a program that takes it over.
        let prepare = Box::new(move |grant: &Grant| {
            let login = codex::login(grant).ok_or_else(|| io::Error::other(NO_ID_TOKEN))?;
            Ok(Box::pin(hand_over(location, text, login)) as ExportWrite)
        });
        let request = ExportRequest { home: home.clone(), path: path.clone(), item, prepare };
        if let Err(error) = self.registry.export(name.clone(), request).await {
            if let Some(managed) = managed {
                self.sync(&home, &managed);
            }
            return Err(CodexHomeError::Registry(name, error));
        }
        if let Err(failure) = self.change_homes(|homes| drop(homes.remove(&home))).await {
            warn!(?failure, "the home stays in the list until the next start");
        }
        info!(profile = %name, "the login was given to Codex, and deleted here");
        Ok(path)
    }
}

/// Writes a login where `before` was, unless it was changed meanwhile; and takes it back from there if need be.
async fn hand_over(
    location: LoginLocation,
    before: Option<SecretString>,
    login: SecretString,
) -> Result<Rollback, WriteError> {
    match location.read().await {
        Ok(there) if same(there.as_ref(), before.as_ref()) => {}
        Ok(_) => return Err(WriteError::NotWritten(changed())),
        Err(failure) => return Err(WriteError::NotWritten(io::Error::other(format!("{failure:?}")))),
    }
    let written = location.write(login.clone()).await;
    let rollback = take_back(location, before, login);
    let Err(error) = written else { return Ok(Box::pin(rollback)) };
    // What could not be made durable may be there all the same.
    match rollback.await {
        Ok(()) => Err(WriteError::NotWritten(error)),
        Err(stays) => {
            warn!(%stays, "it is not known whether the login was written");
            Err(WriteError::InDoubt(error))
        }
    }
}

/// Puts back what was there before the login. An error: the login may be there still.
async fn take_back(
    location: LoginLocation,
    before: Option<SecretString>,
    login: SecretString,
) -> io::Result<()> {
    let unread = |failure: CodexHomeError| io::Error::other(format!("{failure:?}"));
    let there = location.read().await.map_err(unread)?;
    if same(there.as_ref(), Some(&login)) {
        location.put_back(before).await
    } else if same(there.as_ref(), before.as_ref()) {
        Ok(())
    } else {
        Err(changed())
    }
}

fn changed() -> io::Error {
    io::Error::other("another program changed it just now")
}
