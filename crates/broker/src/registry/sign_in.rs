//! Adds a sign-in: chooses its name, and starts or updates the profile.

use authd_api::ProfileName;
use authd_fleet::Fleet;
use authd_oauth::{Annotation, Identity, Mode, Record};
use authd_store::StoreError;
use tokio::sync::oneshot;
use tracing::warn;

use super::{
    actor::RegistryActor,
    handle::{NamePolicy, RegistryError, SignIn},
};
use crate::{clock, profile::InitialState, snapshot::ProfileView};

impl RegistryActor {
    pub(super) async fn sign_in(&mut self, sign_in: SignIn) -> Result<ProfileName, RegistryError> {
        self.require_names().await?;
        let fleet = self.target_fleet();
        if fleet.is_some() {
            if sign_in.intent.is_some() {
                return Err(RegistryError::Store(StoreError::refused(
                    "the logins of this machine are in a fleet, and Codex would still use the imported one; \
                     sign in instead, with authctl login",
                )));
            }
            // Another node may just have used the name.
            self.read_shared(&sign_in.requested).await;
        }
        self.retry_load(&sign_in.requested).await;
        let name = self.resolve_name(&sign_in)?;
        self.finish_changes_of(&name).await?;
        let SignIn { grant, grant_id, intent, .. } = sign_in;
        // A program that names no profile wants a model. Only a user makes another provider the
        // default.
        let may_be_default = grant.secrets.mode() != Mode::Bearer;
        match self.snapshot.profiles.get(&name).map(|handle| (handle.clone(), handle.view())) {
            Some((handle, ProfileView::Loaded(_))) => {
                let identity = grant.identity.clone();
                handle.sign_in(grant, grant_id.clone()).await?;
                self.shares.end_other_accounts(&name, &identity).await;
                if may_be_default && self.snapshot.default.is_none() && fleet.is_none() {
                    let rank = Annotation::DefaultRank(1);
                    if handle.annotate(rank.clone()).await?.is_err() {
                        // The session saves it together with the record.
                        handle.annotate_later(rank);
                    }
                    self.ranks.insert(name.clone(), 1);
                }
            }
            other => {
                // An unreadable record may have any generation. A time is higher than all of them.
                let generation = match other {
                    Some(_) => u64::try_from(clock::now().as_second()).unwrap_or(1),
                    None => self.last_generation + 1,
                };
                let rank = u64::from(may_be_default && self.ranks.is_empty());
                let record =
                    Record { default_rank: rank, intent, ..Record::new(grant, grant_id.clone(), generation) };
                let (done, saved) = oneshot::channel();
                if rank > 0 {
                    self.ranks.insert(name.clone(), rank);
                }
                let record = Box::new(record);
                let state = match &fleet {
                    Some(fleet) => InitialState::SharedSignIn(record, fleet.clone(), Some(done)),
                    None => InitialState::SignedIn(record, done),
                };
                self.start(&name, state);
                saved.await.map_err(|_| RegistryError::Stopping)?;
            }
        }
        self.publish();
        self.announce(&name);
        match fleet {
            Some(fleet) => self.finish_shared_sign_in(&fleet, name, &grant_id, may_be_default).await,
            None => Ok(name),
        }
    }

    /// Fails if another node has signed in under the name at the same time.
    async fn finish_shared_sign_in(
        &mut self,
        fleet: &Fleet,
        name: ProfileName,
        grant_id: &str,
        may_be_default: bool,
    ) -> Result<ProfileName, RegistryError> {
        let view = self.view(&name);
        let credential = view.as_ref().and_then(|view| view.snapshot()).map(|snapshot| &snapshot.credential);
        if credential.is_some_and(|credential| *credential.grant_id != *grant_id) {
            return Err(RegistryError::SignedInElsewhere);
        }
        if may_be_default
            && self.snapshot.default.is_none()
            && let Err(error) = self.make_fleet_default(fleet, &name).await
        {
            warn!(?error, profile = %name, "not made the default profile");
        }
        Ok(name)
    }

    fn resolve_name(&self, sign_in: &SignIn) -> Result<ProfileName, RegistryError> {
        let requested = &sign_in.requested;
        match (sign_in.name_policy, self.is_available(requested, sign_in)) {
            (NamePolicy::Replace, Ok(_)) | (_, Ok(true)) => return Ok(requested.clone()),
            (NamePolicy::OwnOrOther, Ok(false)) | (NamePolicy::Free, _) => {}
            (NamePolicy::Own, Ok(false)) => return Err(RegistryError::Taken),
            // The record may belong to any user, so it is neither replaced nor skipped.
            (_, Err(error)) => return Err(RegistryError::Store(error)),
        }
        let mut alternatives = (2..=self.snapshot.profiles.len() + 2).map(|n| requested.alternative(n));
        let alternative =
            alternatives.find(|name| self.is_available(name, sign_in).is_ok_and(|available| available));
        alternative.ok_or(RegistryError::Taken)
    }

    /// Whether a sign-in may take a name: it is free or belongs to the same user. An error means
    /// that this is not known now.
    fn is_available(&self, name: &ProfileName, sign_in: &SignIn) -> Result<bool, StoreError> {
        let Some(handle) = self.snapshot.profiles.get(name) else { return Ok(true) };
        match handle.view() {
            ProfileView::Loaded(snapshot) => {
                let is_same_user = is_same_user(&snapshot.credential.identity, &sign_in.grant.identity);
                Ok(is_same_user && sign_in.name_policy != NamePolicy::Free)
            }
            view => view.unread().map_or(Ok(false), |error| Err(error.clone())),
        }
    }
}

/// A user is identified by user id and workspace, never by e-mail. A user's own API key has
/// neither, so all such keys count as one user. A defined provider may state no user, or fail to
/// state one this time: then its users count as one.
fn is_same_user(one: &Identity, other: &Identity) -> bool {
    let is_unknown = one.user_id.is_none() || other.user_id.is_none();
    let is_same_realm = one.realm.is_some() && one.realm == other.realm;
    one.fingerprint() == other.fingerprint() || is_same_realm && is_unknown
}
