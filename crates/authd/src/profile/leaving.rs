//! What changes where a profile's record is kept: another name, another owner, or none.

use std::io;

use authd_api::ProfileName;
use authd_oauth::{Event, Record};
use authd_store::{Key, StoreError};
use tracing::{error, info};

use super::{Give, GiveError, Profile, SignOutError, Task, Tools, Undo, handle::Command};

impl Task {
    /// What changes where the record is kept waits until nothing is in flight. True: the task is over.
    pub(super) async fn leave(&mut self, command: Command) -> bool {
        match command {
            Command::Rename(name, done) => {
                let Profile { name: before, session, .. } = &*self.profile;
                let renamed = rename(&self.tools, before, &name, Some(session.record())).await;
                if renamed.is_ok() {
                    self.profile.name = name;
                }
                self.step(Event::Ticked);
                drop(done.send(renamed));
                false
            }
            Command::GiveAway(Give(give), done) => {
                let given = self.give_away(give(&self.profile.session.record().grant)).await;
                let over = given.is_ok();
                drop(done.send(given));
                over
            }
            Command::SignOut { revoke, done } => {
                let token = self.profile.session.record().grant.holding.refresh_token().filter(|_| revoke);
                let revoked = match token {
                    Some(token) => self.tools.endpoint.revoke(token).await.map_err(SignOutError::Provider),
                    None => Ok(()),
                };
                let forgotten = match revoked {
                    Ok(()) => self.forget_or_keep().await.map_err(SignOutError::Store),
                    refused @ Err(_) => refused,
                };
                let over = forgotten.is_ok();
                drop(done.send(forgotten));
                over
            }
            Command::Remind
            | Command::Read(_)
            | Command::Want(..)
            | Command::Refresh(..)
            | Command::SignIn(..) => false,
        }
    }

    /// There it is durable before it is forgotten here; what cannot be forgotten here is taken away from
    /// there again, since two owners would spend each other's tokens.
    async fn give_away(&mut self, giving: impl Future<Output = io::Result<Undo>>) -> Result<(), GiveError> {
        let undo = giving.await.map_err(GiveError::Elsewhere)?;
        let Err(kept) = self.forget_or_keep().await else { return Ok(()) };
        if let Err(error) = undo.await {
            error!(%error, "the login is in both places: whoever refreshes it first will have it");
        }
        Err(GiveError::Store(kept))
    }

    /// A store that has not forgotten the record in time may do so yet: it is saved again behind that.
    async fn forget_or_keep(&mut self) -> Result<(), StoreError> {
        let forgotten = forget(&self.tools, &self.profile.name).await;
        if forgotten.is_err() {
            self.step(Event::Unkept);
        }
        forgotten
    }
}

/// From now on the record is under the new name. The one under the old name is left to whoever remembers which
/// names there are: until that is written down, it is the one that a restart finds.
pub(super) async fn rename(
    tools: &Tools,
    from: &ProfileName,
    to: &ProfileName,
    record: Option<&Record>,
) -> Result<(), StoreError> {
    let text = match record {
        Some(record) => Some(record.to_text()),
        None => tools.store.load(&Key::profile(from.as_str())).await?,
    };
    if let Some(text) = text {
        let label = record.map_or_else(|| format!("authd: profile {to}"), |record| label(to, record));
        tools.store.save(&Key::profile(to.as_str()), &label, text).await?;
    }
    tools.handover.forget(from);
    info!(%to, "renamed");
    Ok(())
}

/// The store forgets the record, and nothing of it is left to the next run.
pub(super) async fn forget(tools: &Tools, name: &ProfileName) -> Result<(), StoreError> {
    tools.store.delete(&Key::profile(name.as_str())).await?;
    tools.handover.forget(name);
    info!("signed out");
    Ok(())
}

/// How the store shows the record to a person.
pub(super) fn label(name: &ProfileName, record: &Record) -> String {
    match &record.grant.identity.email {
        Some(email) => format!("authd: profile {name} ({email})"),
        None => format!("authd: profile {name}"),
    }
}
