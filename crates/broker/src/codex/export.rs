//! Exports a login to Codex.

use std::{io, path::PathBuf};

use authd_api::ProfileName;
use authd_oauth::{Grant, Mode, codex};
use secrecy::SecretString;
use tracing::{info, warn};

use super::{
    actor::CodexActor,
    error::CodexHomeError,
    location::{FoundLogin, is_same_text},
    lock::LockedLogin,
    sync,
};
use crate::profile::{ExportRequest, ExportWrite, Rollback, WriteError};

const NO_ID_TOKEN: &str = "the stored record has no id token, which Codex needs; to get one: authctl refresh";

impl CodexActor {
    pub(super) async fn export(
        &mut self,
        path: Option<PathBuf>,
        name: ProfileName,
    ) -> Result<PathBuf, CodexHomeError> {
        let view = self.profile(&name).map(|handle| handle.view());
        if view.is_some_and(|view| view.snapshot().is_some_and(|found| found.mode() == Mode::Bearer)) {
            return Err(CodexHomeError::OtherProvider(name));
        }
        let FoundLogin { location, .. } = self.read_login(path, |path| path).await?;
        let locked = LockedLogin::take(location.clone()).await?;
        let text = locked.read().await?;
        let (home, path) = (location.home().to_path_buf(), location.path().to_path_buf());
        let managed = self.managed_home(&home).await?;
        match &managed {
            Some(managed) if managed.restorable => return Err(CodexHomeError::Unrestored(home)),
            Some(managed) if sync::is_own_login(text.as_ref(), managed) => {}
            None if sync::is_replaceable(text.as_ref()) => {}
            Some(_) | None => return Err(CodexHomeError::Occupied(path)),
        }
        self.stop_sync(&home);
        let item = location.is_item();
        // The secret leaves authd here: Codex owns the grant from then on.
        let prepare = Box::new(move |grant: &Grant| {
            let login = codex::login(grant).ok_or_else(|| io::Error::other(NO_ID_TOKEN))?;
            Ok(Box::pin(write_login(locked, text, login)) as ExportWrite)
        });
        let request = ExportRequest { home: home.clone(), path: path.clone(), item, prepare };
        if let Err(error) = self.registry.export(name.clone(), request).await {
            if let Some(managed) = managed {
                self.start_sync(&home, &managed);
            }
            return Err(CodexHomeError::Registry(name, error));
        }
        if let Err(error) = self.remove_home(&home).await {
            warn!(?error, "exported home stays in the list until the next start");
        }
        info!(profile = %name, "login exported to Codex");
        Ok(path)
    }
}

/// Writes a login over the original one, unless that has changed. Returns how to roll the write
/// back.
async fn write_login(
    locked: LockedLogin,
    original: Option<SecretString>,
    login: SecretString,
) -> Result<Rollback, WriteError> {
    match locked.read().await {
        Ok(current) if is_same_text(current.as_ref(), original.as_ref()) => {}
        Ok(_) => return Err(WriteError::NotWritten(changed())),
        Err(error) => return Err(WriteError::NotWritten(io::Error::other(format!("{error:?}")))),
    }
    let written = locked.write(login.clone()).await;
    let rollback = roll_back(locked, original, login);
    let Err(error) = written else { return Ok(Box::pin(rollback)) };
    // A failed write may have written the login.
    match rollback.await {
        Ok(()) => Err(WriteError::NotWritten(error)),
        Err(rollback_error) => {
            warn!(error = %rollback_error, "exported login may not be removed");
            Err(WriteError::InDoubt(error))
        }
    }
}

/// Restores the original login. After an error the exported login may still be there.
async fn roll_back(
    locked: LockedLogin,
    original: Option<SecretString>,
    login: SecretString,
) -> io::Result<()> {
    let current = locked.read().await.map_err(|error| io::Error::other(format!("{error:?}")))?;
    if is_same_text(current.as_ref(), Some(&login)) {
        locked.restore(original).await
    } else if is_same_text(current.as_ref(), original.as_ref()) {
        Ok(())
    } else {
        Err(changed())
    }
}

fn changed() -> io::Error {
    io::Error::other("another program has changed the login since authd read it")
}
