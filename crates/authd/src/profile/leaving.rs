//! What changes where a profile's record is kept: another name, another owner, or none.

use std::io;

use authd_api::ProfileName;
use authd_oauth::{Event, Record, Session};
use authd_store::{Key, StoreError};
use tracing::{error, info};

use super::{Give, GiveError, SignOutError, Task, Undo, handle::Command};

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
                let given = self.give_away(give(&session.record().grant), session).await;
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
                    Ok(()) => self.forget_or_keep(session).await.map_err(SignOutError::Store),
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

    /// There it is durable before it is forgotten here; what cannot be forgotten here is taken away from
    /// there again, since two owners would spend each other's tokens.
    async fn give_away(
        &mut self,
        giving: impl Future<Output = io::Result<Undo>>,
        session: &mut Session,
    ) -> Result<(), GiveError> {
        let undo = giving.await.map_err(GiveError::Elsewhere)?;
        let Err(kept) = self.forget_or_keep(session).await else { return Ok(()) };
        if let Err(error) = undo.await {
            error!(%error, "the login is in both places: whoever refreshes it first will have it");
        }
        Err(GiveError::Store(kept))
    }

    /// A store that has not forgotten the record in time may do so yet: it is saved again behind that.
    async fn forget_or_keep(&mut self, session: &mut Session) -> Result<(), StoreError> {
        let forgotten = self.forget().await;
        if forgotten.is_err() {
            self.step(session, Event::Unkept);
        }
        forgotten
    }

    /// From now on the record is under the new name. The one under the old name is left to whoever
    /// remembers which names there are: until that is written down, it is the one that a restart finds.
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
