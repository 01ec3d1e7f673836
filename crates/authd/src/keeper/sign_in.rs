//! Where a sign-in goes, and how it gets there.

use std::sync::Arc;

use authd_api::ProfileName;
use authd_oauth::{Annotation, Grant, Identity, Intent, Record};
use authd_store::StoreError;
use tokio::sync::oneshot;

use super::{KeeperError, Names, Registry};
use crate::{clock, facts::View, profile::InitialState};

/// A finished sign-in, on its way to a profile.
#[derive(Debug)]
pub(crate) struct SignIn {
    /// The name it was started for.
    pub(crate) wanted: ProfileName,
    /// Which other names will do.
    pub(crate) placement: Placement,
    /// What was granted.
    pub(crate) grant: Grant,
    /// The random id of the grant.
    pub(crate) grant_id: Arc<str>,
    /// Where the grant comes from, if something is left to do there.
    pub(crate) intent: Option<Intent>,
}

/// Which names will do for a sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The wanted name, whatever is there.
    Replace,
    /// The wanted name if it is free or the same person's, else another of which that is true.
    OwnOrOther,
    /// The wanted name if it is free or the same person's.
    Own,
    /// The wanted name if it is free, else another free one.
    Free,
}

impl Registry {
    pub(super) async fn sign_in(&mut self, sign_in: SignIn) -> Result<ProfileName, KeeperError> {
        self.known_names().await?;
        self.read_again(&sign_in.wanted).await;
        let name = self.place(&sign_in)?;
        self.free(&name).await?;
        let SignIn { grant, grant_id, intent, .. } = sign_in;
        match self.directory.profiles.get(&name).map(|handle| (handle.clone(), handle.view())) {
            Some((handle, View::Known(_))) => {
                handle.sign_in(grant, grant_id).await?;
                if self.directory.default.is_none() {
                    let mark = Annotation::DefaultRank(1);
                    if handle.annotate(mark.clone()).await?.is_err() {
                        // It is saved with the record, as soon as the store takes that.
                        handle.note(mark);
                    }
                    self.ranks.insert(name.clone(), 1);
                }
            }
            other => {
                self.mark_the_only_one();
                // A record that could not be read may have had any generation; a time is above all.
                let generation = match other {
                    Some(_) => u64::try_from(clock::now().as_second()).unwrap_or(1),
                    None => self.last_generation + 1,
                };
                let rank = u64::from(self.ranks.is_empty());
                let record =
                    Record { default_rank: rank, intent, ..Record::new(grant, grant_id, generation) };
                let (done, saved) = oneshot::channel();
                if rank > 0 {
                    self.ranks.insert(name.clone(), rank);
                }
                self.start(&name, InitialState::SignedIn(Box::new(record), done));
                saved.await.map_err(|_| KeeperError::Gone)?;
            }
        }
        self.publish();
        self.announce(&name);
        Ok(name)
    }

    /// Makes sure that the names are known.
    pub(super) async fn known_names(&mut self) -> Result<(), KeeperError> {
        if !matches!(self.directory.names, Names::Known) {
            self.list().await;
        }
        match &self.directory.names {
            Names::Known => Ok(()),
            Names::Unavailable(error) => Err(KeeperError::Store((**error).clone())),
            Names::Loading => Err(KeeperError::Store(super::not_read())),
        }
    }

    fn place(&self, sign_in: &SignIn) -> Result<ProfileName, KeeperError> {
        let wanted = &sign_in.wanted;
        match (sign_in.placement, self.fits(wanted, sign_in)) {
            (Placement::Replace, Ok(_)) | (_, Ok(true)) => return Ok(wanted.clone()),
            (Placement::OwnOrOther, Ok(false)) | (Placement::Free, _) => {}
            (Placement::Own, Ok(false)) => return Err(KeeperError::Taken),
            // The record may be of any person: it is neither replaced nor passed by.
            (_, Err(error)) => return Err(KeeperError::Store(error)),
        }
        let mut alternatives = (2..=self.directory.profiles.len() + 2).map(|n| wanted.alternative(n));
        let found = alternatives.find(|name| self.fits(name, sign_in).is_ok_and(|fits| fits));
        found.ok_or(KeeperError::Taken)
    }

    /// Whether a sign-in may go to a name: it is free, or the same person's. An error: that is not known now.
    fn fits(&self, name: &ProfileName, sign_in: &SignIn) -> Result<bool, StoreError> {
        let Some(handle) = self.directory.profiles.get(name) else { return Ok(true) };
        match handle.view() {
            View::Known(facts) => {
                let same = same_person(&facts.credential.identity, &sign_in.grant.identity);
                Ok(same && sign_in.placement != Placement::Free)
            }
            view => view.unread().map_or(Ok(false), |error| Err(error.clone())),
        }
    }
}

/// An identity is (user, workspace), never the e-mail. A key of the user's own has neither, and is the same as another
/// such key.
fn same_person(one: &Identity, other: &Identity) -> bool {
    one.fingerprint() == other.fingerprint()
}
