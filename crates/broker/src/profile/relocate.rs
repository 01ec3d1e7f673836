//! Moves a record: to another name, to another owner, or out of the store. Each move first saves its
//! intent in the record, so that the next start finishes or reverts a move that a crash interrupted.

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
    /// Saves the record with an annotation. If the store refuses, the annotation is taken back.
    pub(super) async fn save_annotated(&mut self, annotation: Annotation) -> Result<(), StoreError> {
        let before = match &annotation {
            Annotation::DefaultRank(_) => Annotation::DefaultRank(self.session.record().default_rank),
            Annotation::Intent(_) => Annotation::Intent(self.session.record().intent.clone()),
        };
        let effect = self.session.apply(Event::Annotated(annotation), clock::now());
        let Effect::Save(ticket, record) = effect else {
            self.perform(effect);
            return Err(StoreError::Unavailable { detail: "the profile is busy".to_owned() });
        };
        let saved = persist::save(&self.deps.store, &self.name, *record).await;
        self.step(Event::Saved(ticket, saved.clone().map_err(|error| persist::save_error(&error))));
        if saved.is_err() {
            self.step(Event::Annotated(before));
        }
        saved
    }

    /// Copies the record to another name. The old record says that it is being moved, and the copy says whose copy it
    /// is, until the registry has deleted the old one.
    pub(super) async fn rename(&mut self, to: ProfileName) -> Result<(), RenameError> {
        self.no_move_is_open().map_err(RenameError::NotCopied)?;
        let intent = Intent::RenameTo { name: to.to_string() };
        self.save_annotated(Annotation::Intent(Some(intent))).await.map_err(RenameError::NotCopied)?;
        let whole = match self.complete_record().await {
            Ok(whole) => whole,
            Err(error) => {
                self.step(Event::Annotated(Annotation::Intent(None)));
                return Err(RenameError::NotCopied(error));
            }
        };
        let copy_of = Intent::CopyOf { name: self.name.to_string() };
        let copy = Record { intent: Some(copy_of.clone()), ..whole };
        if let Err(error) = persist::put(&self.deps.store, &to, &copy).await {
            let intent = Intent::DiscardCopy { name: to.to_string() };
            self.step(Event::Annotated(Annotation::Intent(Some(intent))));
            return Err(RenameError::CopyInDoubt(error));
        }
        self.session.set_intent(copy_of);
        info!(%to, "renamed");
        self.name = to;
        Ok(())
    }

    /// Writes the grant to the target first, then deletes ours. If the delete fails, the target is rolled back: two
    /// owners would invalidate each other's refresh tokens.
    pub(super) async fn export(&mut self, request: ExportRequest) -> Result<(), ExportError> {
        self.no_move_is_open().map_err(ExportError::Store)?;
        let ExportRequest { home, path, item, prepare } = request;
        let whole = self.complete_record().await.map_err(ExportError::Store)?;
        let write = prepare(&whole.grant).map_err(ExportError::Target)?;
        let intent = Intent::ExportTo { home, path, item };
        self.save_annotated(Annotation::Intent(Some(intent))).await.map_err(ExportError::Store)?;
        let rollback = match write.await {
            Ok(rollback) => rollback,
            Err(WriteError::NotWritten(error)) => {
                return Err(self.keep(None, ExportError::Target(error)));
            }
            Err(WriteError::InDoubt(error)) => return Err(ExportError::InDoubt(in_doubt(&error))),
        };
        let Err(kept) = persist::delete(&self.deps.store, &self.name).await else { return Ok(()) };
        // The delete may come late. The record is saved behind it before the copy there is taken back, or else both
        // could be gone.
        let record = Record { intent: self.session.record().intent.clone(), ..whole };
        if persist::put(&self.deps.store, &self.name, &record).await.is_err() {
            self.step(Event::RecordMayBeLost(record.grant.secrets.id_token().cloned()));
            return Err(ExportError::InDoubt(kept));
        }
        if let Err(error) = rollback.await {
            error!(%error, "the login cannot be taken back from where it was exported to");
            return Err(ExportError::InDoubt(in_doubt(&error)));
        }
        Err(self.keep(Some(record), ExportError::Store(kept)))
    }

    /// The record stays, without an intent. A store that did not delete it in time may do so yet: then it is saved
    /// again behind that.
    fn keep(&mut self, may_be_lost: Option<Record>, error: ExportError) -> ExportError {
        if let Some(record) = may_be_lost {
            self.step(Event::RecordMayBeLost(record.grant.secrets.id_token().cloned()));
        }
        self.step(Event::Annotated(Annotation::Intent(None)));
        error
    }

    /// One move at a time: a second one would replace the intent of the first.
    fn no_move_is_open(&self) -> Result<(), StoreError> {
        if self.session.record().intent.is_none() {
            return Ok(());
        }
        let detail = "an earlier rename, export or import of it is not finished yet".to_owned();
        Err(StoreError::Unavailable { detail })
    }

    pub(super) async fn sign_out(&mut self, revoke: bool) -> Result<(), SignOutError> {
        let token = self.session.record().grant.secrets.refresh_token().filter(|_| revoke);
        if let Some(token) = token {
            self.deps.endpoint.revoke(token).await.map_err(SignOutError::Provider)?;
        }
        // A record that cannot be read can be deleted all the same.
        let whole = self.complete_record().await.ok();
        let deleted = persist::delete(&self.deps.store, &self.name).await;
        if deleted.is_err() {
            let id_token = whole.and_then(|record| record.grant.secrets.id_token().cloned());
            self.step(Event::RecordMayBeLost(id_token));
        } else {
            info!("signed out");
        }
        deleted.map_err(SignOutError::Store)
    }

    async fn complete_record(&self) -> Result<Record, StoreError> {
        persist::complete(&self.deps.store, &self.name, self.session.record()).await
    }
}

fn in_doubt(error: &std::io::Error) -> StoreError {
    StoreError::Unavailable { detail: format!("it is not known whether the login was exported: {error}") }
}
