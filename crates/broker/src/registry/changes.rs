//! What the registry changes on request: the default, names, sign-outs and exports.

use authd_api::ProfileName;
use authd_oauth::Annotation;

use super::{actor::RegistryActor, handle::RegistryError, pending_change::PendingChange};
use crate::{
    profile::{ExportError, ExportRequest, ProfileHandle, RenameError, SignOutError, delete},
    snapshot::ProfileView,
};

impl RegistryActor {
    /// The handle of a profile whose record has been read, or is read now.
    async fn live(&mut self, name: &ProfileName) -> Result<ProfileHandle, RegistryError> {
        self.known_names().await?;
        self.read_again(name).await;
        let handle = self.handle(name)?;
        match handle.view() {
            ProfileView::Loaded(_) => Ok(handle),
            view @ (ProfileView::StoreUnavailable(_) | ProfileView::Unreadable(_)) => {
                Err(RegistryError::Unread(view))
            }
        }
    }

    /// The new default is marked in its record; the mark of the one before counts less, and is taken away by and by.
    pub(super) async fn make_default(&mut self, name: &ProfileName) -> Result<(), RegistryError> {
        let handle = self.live(name).await?;
        let rank = self.next_rank();
        handle.annotate(Annotation::DefaultRank(rank)).await??;
        let before = self.snapshot.default.clone();
        self.ranks.insert(name.clone(), rank);
        self.default_chosen = true;
        self.unmark_all_but_the_highest();
        self.publish();
        for changed in before.iter().filter(|before| *before != name).chain([name]) {
            self.announce(changed);
        }
        Ok(())
    }

    pub(super) async fn rename(&mut self, from: &ProfileName, to: ProfileName) -> Result<(), RegistryError> {
        let handle = self.live(from).await?;
        if *from == to {
            return Ok(());
        }
        if self.snapshot.profiles.contains_key(&to) {
            return Err(RegistryError::Taken);
        }
        self.free(from).await?;
        self.free(&to).await?;
        match handle.rename(to.clone()).await? {
            Ok(()) => {}
            Err(RenameError::NotCopied(error)) => return Err(RegistryError::Store(error)),
            Err(RenameError::CopyInDoubt(error)) => {
                self.add_pending_change(PendingChange::DiscardCopy { name: from.clone(), copy: to });
                self.finish_all().await;
                return Err(RegistryError::Store(error));
            }
        }
        if let Some(handle) = self.handles().remove(from) {
            self.handles().insert(to.clone(), handle);
        }
        if let Some(rank) = self.ranks.remove(from) {
            self.ranks.insert(to.clone(), rank);
        }
        self.publish();
        // It is renamed, whether the old record can be deleted now or later.
        self.add_pending_change(PendingChange::Rename { from: from.clone(), to: to.clone() });
        self.finish_all().await;
        self.announce(from);
        self.announce(&to);
        Ok(())
    }

    /// A record that cannot be read can be deleted, if nothing more is asked for.
    pub(super) async fn sign_out(&mut self, name: &ProfileName, revoke: bool) -> Result<(), RegistryError> {
        self.known_names().await?;
        self.free(name).await?;
        match self.live(name).await {
            Ok(handle) => handle.sign_out(revoke).await?.map_err(RegistryError::SignOut)?,
            Err(RegistryError::Unread(view)) if revoke => {
                return Err(RegistryError::SignOut(SignOutError::Unread(view)));
            }
            Err(RegistryError::Unread(_)) => delete(&self.store(), name).await?,
            Err(error) => return Err(error),
        }
        self.forget(name);
        Ok(())
    }

    pub(super) async fn export(
        &mut self,
        name: &ProfileName,
        request: ExportRequest,
    ) -> Result<(), RegistryError> {
        let handle = self.live(name).await?;
        self.free(name).await?;
        match handle.export(request).await? {
            Ok(()) => {}
            Err(ExportError::Target(error)) => return Err(RegistryError::ExportTarget(error)),
            Err(ExportError::Store(error)) => return Err(RegistryError::Store(error)),
            Err(ExportError::InDoubt(error)) => {
                self.add_pending_change(PendingChange::Export { name: name.clone() });
                return Err(error.into());
            }
        }
        self.forget(name);
        Ok(())
    }

    pub(super) async fn clear_intent(&mut self, name: &ProfileName) -> Result<(), RegistryError> {
        self.live(name).await?.annotate(Annotation::Intent(None)).await??;
        Ok(())
    }

    /// With one profile left there is no doubt which is meant; with several, a person chooses.
    pub(super) fn forget(&mut self, name: &ProfileName) {
        self.remove(name);
        self.mark_the_only_one();
        self.publish();
        self.announce(name);
    }

    /// A default that is one because it is the only profile stays it when another comes.
    pub(super) fn mark_the_only_one(&mut self) {
        let mut names = self.snapshot.profiles.keys();
        if let (Some(only), None) = (names.next().cloned(), names.next())
            && !self.ranks.contains_key(&only)
            && !self.unread.contains_key(&only)
        {
            self.annotate_later(&only, Annotation::DefaultRank(1));
            self.ranks.insert(only, 1);
        }
    }

    /// Takes the marks away that count less than another.
    pub(super) fn unmark_all_but_the_highest(&mut self) {
        let Some(highest) = self.ranks.values().max().copied() else { return };
        let lower: Vec<_> =
            self.ranks.iter().filter(|(_, rank)| **rank < highest).map(|(name, _)| name.clone()).collect();
        for name in lower {
            self.annotate_later(&name, Annotation::DefaultRank(0));
            self.ranks.remove(&name);
        }
    }

    pub(super) fn next_rank(&self) -> u64 {
        self.ranks.values().max().map_or(1, |highest| highest.saturating_add(1))
    }
}
