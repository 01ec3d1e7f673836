//! What changes where a profile's record is kept: another name, another owner, or none.

use authd_api::ProfileName;
use authd_oauth::{Event, Record, Session};
use authd_store::{Key, StoreError};
use tracing::info;

use super::{Give, GiveError, SignOutError, Task, handle::Command};

impl Task {
    /// What changes where the record is kept waits until nothing is in flight. True: the task is over.
    pub(super) async fn leave(&mut self, command: Command, session: &mut Session) -> bool {
        match command {
            Command::Rename(name, done) => {
                let renamed = self.rename(name, Some(session.record())).await;
                self.step(session, Event::Ticked);
                drop(done.send(renamed));
                false
            }
            Command::GiveAway(Give(give), done) => {
                // There it is durable before it is forgotten here.
                let given = match give(&session.record().grant).await {
                    Ok(()) => self.forget().await.map_err(GiveError::Store),
                    Err(error) => Err(GiveError::Elsewhere(error)),
                };
                let over = given.is_ok();
                drop(done.send(given));
                over
            }
            Command::SignOut { revoke, done } => {
                let token = session.record().grant.holding.refresh_token().filter(|_| revoke);
                let revoked = match token {
                    Some(token) => self.tools.endpoint.revoke(token).await.map_err(SignOutError::Provider),
                    None => Ok(()),
                };
                let forgotten = match revoked {
                    Ok(()) => self.forget().await.map_err(SignOutError::Store),
                    refused @ Err(_) => refused,
                };
                let over = forgotten.is_ok();
                drop(done.send(forgotten));
                over
            }
            Command::Read
            | Command::Nudge
            | Command::Want(..)
            | Command::Refresh(..)
            | Command::SignIn(..) => false,
        }
    }

    /// The new record is there before the old one goes.
    pub(super) async fn rename(
        &mut self,
        name: ProfileName,
        record: Option<&Record>,
    ) -> Result<(), StoreError> {
        let store = &self.tools.store;
        let (from, to) = (Key::profile(self.name.as_str()), Key::profile(name.as_str()));
        let text = match record {
            Some(record) => Some(record.to_text()),
            None => store.load(&from).await?,
        };
        if let Some(text) = text {
            let label =
                record.map_or_else(|| format!("authd: profile {name}"), |record| label(&name, record));
            store.save(&to, &label, text).await?;
            store.delete(&from).await?;
        }
        self.tools.handover.forget(&self.name);
        info!(to = %name, "renamed");
        self.name = name;
        Ok(())
    }

    pub(super) async fn forget(&self) -> Result<(), StoreError> {
        self.tools.store.delete(&Key::profile(self.name.as_str())).await?;
        self.tools.handover.forget(&self.name);
        info!("signed out");
        Ok(())
    }
}

/// How the store shows the record to a person.
pub(super) fn label(name: &ProfileName, record: &Record) -> String {
    match &record.grant.identity.email {
        Some(email) => format!("authd: profile {name} ({email})"),
        None => format!("authd: profile {name}"),
    }
}
