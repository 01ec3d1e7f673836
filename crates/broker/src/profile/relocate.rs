//! Moves a record: to another name, to another owner, or out of the store. Each move first saves
//! its intent in the record, so that the next start finishes or reverts a move that a crash
//! interrupted.

use std::io;

use authd_api::ProfileName;
use authd_oauth::{Annotation, Effect, Event, Intent, Record};
use authd_store::StoreError;
use tracing::{error, info};

use super::{
    actor::ProfileActor,
    command::{ExportError, ExportRequest, RenameError, SignOutError, WriteError},
    persist,
};
use crate::clock;

impl ProfileActor {
    /// Saves the record with an annotation. After a failed save the annotation is reverted.
    pub(super) async fn save_annotated(&mut self, annotation: Annotation) -> Result<(), StoreError> {
        let previous = match &annotation {
            Annotation::DefaultRank(_) => Annotation::DefaultRank(self.session.record().default_rank),
            Annotation::Intent(_) => Annotation::Intent(self.session.record().intent.clone()),
        };
        let effect = self.session.apply(Event::Annotated(annotation), clock::now());
        let Effect::Save(ticket, record) = effect else {
            self.perform(effect);
            return Err(StoreError::unavailable("the profile is busy"));
        };
        let saved = persist::save(&self.deps.store, &self.name, *record).await;
        self.step(Event::Saved(ticket, saved.clone().map_err(|error| persist::save_error(&error))));
        if saved.is_err() {
            self.step(Event::Annotated(previous));
        }
        saved
    }

    /// Copies the record to another name. Until the registry has deleted the old record, each of
    /// the two names the other in its intent.
    pub(super) async fn rename(&mut self, to: ProfileName) -> Result<(), RenameError> {
        if self.fleet.is_some() {
            return self.rename_shared(to).await;
        }
        self.check_no_open_move().map_err(RenameError::NotCopied)?;
        let intent = Intent::RenameTo { name: to.to_string() };
        self.save_annotated(Annotation::Intent(Some(intent))).await.map_err(RenameError::NotCopied)?;
        let record = match self.complete_record().await {
            Ok(record) => record,
            Err(error) => {
                self.set_intent(None);
                return Err(RenameError::NotCopied(error));
            }
        };
        let copy_of = Intent::CopyOf { name: self.name.to_string() };
        let copy = Record { intent: Some(copy_of.clone()), ..record };
        if let Err(error) = persist::put(&self.deps.store, &to, &copy).await {
            self.set_intent(Some(Intent::DiscardCopy { name: to.to_string() }));
            return Err(RenameError::CopyInDoubt(error));
        }
        self.session.set_intent(copy_of);
        info!(%to, "profile renamed");
        self.name = to;
        Ok(())
    }

    /// Writes the grant to the target first, then deletes ours. If the delete fails, the target is
    /// rolled back: two owners would invalidate each other's refresh tokens.
    pub(super) async fn export(&mut self, request: ExportRequest) -> Result<(), ExportError> {
        if self.fleet.is_some() {
            return Err(ExportError::Store(StoreError::refused(
                "the login belongs to the fleet, and an exported one would sign out the other nodes; move the \
                 logins to this machine first, with authctl store migrate --to file --take-all",
            )));
        }
        self.check_no_open_move().map_err(ExportError::Store)?;
        let ExportRequest { home, path, item, prepare } = request;
        let record = self.complete_record().await.map_err(ExportError::Store)?;
        let write = prepare(&record.grant).map_err(ExportError::Target)?;
        let intent = Intent::ExportTo { home, path, item };
        self.save_annotated(Annotation::Intent(Some(intent))).await.map_err(ExportError::Store)?;
        let rollback = match write.await {
            Ok(rollback) => rollback,
            Err(WriteError::NotWritten(error)) => {
                self.set_intent(None);
                return Err(ExportError::Target(error));
            }
            Err(WriteError::InDoubt(error)) => return Err(ExportError::InDoubt(in_doubt(&error))),
        };
        let Err(delete_error) = persist::delete(&self.deps.store, &self.name).await else { return Ok(()) };
        // The store may still perform the delete. The record is saved after it before the target is
        // rolled back, because otherwise both copies could be lost.
        let record = Record { intent: self.session.record().intent.clone(), ..record };
        if persist::put(&self.deps.store, &self.name, &record).await.is_err() {
            self.save_again(&record);
            return Err(ExportError::InDoubt(delete_error));
        }
        if let Err(error) = rollback.await {
            error!(%error, "export not rolled back");
            return Err(ExportError::InDoubt(in_doubt(&error)));
        }
        self.save_again(&record);
        self.set_intent(None);
        Err(ExportError::Store(delete_error))
    }

    /// Deletes the record; with `revoke`, after the provider has revoked the grant.
    pub(super) async fn sign_out(&mut self, revoke: bool) -> Result<(), SignOutError> {
        let secrets = &self.session.record().grant.secrets;
        if revoke {
            match (secrets.bearer_grant(), secrets.refresh_token()) {
                (Some(grant), _) if grant.authority.is_of_own_token() => {
                    return Err(SignOutError::OwnCredential);
                }
                (Some(grant), _) => {
                    let revoked = self.deps.endpoint.revoke_bearer(grant).await;
                    if !revoked.map_err(SignOutError::DefinedProvider)? {
                        return Err(SignOutError::NoRevocation);
                    }
                }
                (None, Some(token)) => {
                    self.deps.endpoint.revoke(token).await.map_err(SignOutError::Provider)?;
                }
                (None, None) => return Err(SignOutError::OwnCredential),
            }
        }
        if self.fleet.is_some() {
            return self.delete_shared().await;
        }
        // A record that cannot be read can be deleted.
        let record = self.complete_record().await.ok();
        match persist::delete(&self.deps.store, &self.name).await {
            Ok(()) => info!("signed out"),
            Err(error) => {
                self.step(Event::RecordMayBeLost(
                    record.and_then(|record| record.grant.secrets.id_token().cloned()),
                ));
                return Err(SignOutError::Store(error));
            }
        }
        Ok(())
    }

    /// One move at a time: a second one would replace the intent of the first.
    fn check_no_open_move(&self) -> Result<(), StoreError> {
        if self.session.record().intent.is_none() {
            return Ok(());
        }
        Err(StoreError::unavailable("an earlier rename, export or import of it is not finished yet"))
    }

    async fn complete_record(&self) -> Result<Record, StoreError> {
        persist::complete(&self.deps.store, &self.name, self.session.record()).await
    }

    fn set_intent(&mut self, intent: Option<Intent>) {
        self.step(Event::Annotated(Annotation::Intent(intent)));
    }

    /// Saves the record again, because a delete that failed may still take effect.
    fn save_again(&mut self, record: &Record) {
        self.step(Event::RecordMayBeLost(record.grant.secrets.id_token().cloned()));
    }
}

fn in_doubt(error: &io::Error) -> StoreError {
    StoreError::unavailable(format!("it is not known whether the login was exported: {error}"))
}
