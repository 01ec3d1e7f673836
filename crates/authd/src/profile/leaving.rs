//! What changes where a profile's record is kept: another name, another owner, or none.

use authd_api::ProfileName;
use authd_oauth::{Event, Record};
use authd_store::{Key, StoreError};
use tracing::{error, info};

use super::{Give, GiveError, SignOutError, Task, Tools, at_rest, handle::Command};

impl Task {
    /// What changes where the record is kept waits until nothing is in flight. True: the task is over.
    pub(super) async fn leave(&mut self, command: Command) -> bool {
        match command {
            Command::Rename(name, done) => {
                let renamed = self.rename(&name).await;
                if renamed.is_ok() {
                    self.profile.name = name;
                }
                self.step(Event::Ticked);
                drop(done.send(renamed));
                false
            }
            Command::GiveAway(give, done) => {
                let given = self.give_away(give).await;
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
                    Ok(()) => {
                        // What cannot be read can be forgotten all the same.
                        let whole = self.whole().await.ok();
                        self.forget_or_keep(whole).await.map_err(SignOutError::Store)
                    }
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
    async fn give_away(&mut self, Give(give): Give) -> Result<(), GiveError> {
        let whole = self.whole().await.map_err(GiveError::Store)?;
        let undo = give(&whole.grant).await.map_err(GiveError::Elsewhere)?;
        let Err(kept) = self.forget_or_keep(Some(whole)).await else { return Ok(()) };
        if let Err(error) = undo.await {
            error!(%error, "the login is in both places: whoever refreshes it first will have it");
        }
        Err(GiveError::Store(kept))
    }

    /// A store that has not forgotten the record in time may do so yet: it is saved again behind that, all of it
    /// that is known.
    async fn forget_or_keep(&mut self, whole: Option<Record>) -> Result<(), StoreError> {
        let forgotten = forget(&self.tools, &self.profile.name).await;
        if forgotten.is_err() {
            let id_token = whole.and_then(|record| record.grant.holding.id_token().cloned());
            self.step(Event::Unkept(id_token));
        }
        forgotten
    }

    async fn rename(&self, to: &ProfileName) -> Result<(), StoreError> {
        at_rest::put(&self.tools.store, to, &self.whole().await?).await?;
        renamed(&self.tools, &self.profile.name, to);
        Ok(())
    }

    async fn whole(&self) -> Result<Record, StoreError> {
        at_rest::whole(&self.tools.store, &self.profile.name, self.profile.session.record()).await
    }
}

/// Gives a record another name that has not been read, or cannot be.
pub(super) async fn rename_unread(
    tools: &Tools,
    from: &ProfileName,
    to: &ProfileName,
) -> Result<(), StoreError> {
    if let Some(text) = tools.store.load(&Key::profile(from.as_str())).await? {
        tools.store.save(&Key::profile(to.as_str()), &format!("authd: profile {to}"), text).await?;
    }
    renamed(tools, from, to);
    Ok(())
}

/// From now on the record is under the new name. The one under the old name is left to whoever remembers which
/// names there are: until that is written down, it is the one that a restart finds.
fn renamed(tools: &Tools, from: &ProfileName, to: &ProfileName) {
    tools.handover.forget(from);
    info!(%to, "renamed");
}

/// The store forgets the record, and nothing of it is left to the next run.
pub(super) async fn forget(tools: &Tools, name: &ProfileName) -> Result<(), StoreError> {
    tools.store.delete(&Key::profile(name.as_str())).await?;
    tools.handover.forget(name);
    info!("signed out");
    Ok(())
}
