//! Where the records of the profiles are: in this node's store, in the fleet's, or on the way.

use authd_store::{ProfilePlace, StoreError};
use tracing::warn;

use super::actor::RegistryActor;

impl RegistryActor {
    /// Where the records are. The place that `store.json` names has precedence over the
    /// configuration, and so have records in this node's store.
    pub(super) async fn find_place(&self) -> Result<ProfilePlace, StoreError> {
        let remembered = self.deps.store.profile_place().await?;
        let is_preferred = self.deps.prefers_fleet;
        match (remembered, &self.deps.fleet) {
            (ProfilePlace::Local, Some(_)) if is_preferred => {
                if self.deps.store.list().await?.profiles.is_empty() {
                    return Ok(ProfilePlace::Fleet);
                }
                warn!(
                    "the logins are in this machine's store; to move them: authctl store migrate --to postgres"
                );
                Ok(ProfilePlace::Local)
            }
            (ProfilePlace::Local, _) => Ok(ProfilePlace::Local),
            (place, Some(_)) => {
                if !is_preferred && place == ProfilePlace::Fleet {
                    warn!("the logins are in PostgreSQL, although [store] names another kind");
                }
                Ok(place)
            }
            (_, None) => Err(StoreError::unavailable(
                "the logins are in PostgreSQL, and [store.postgres] is not configured; configure it again, or \
                 leave the fleet on this machine: authctl store migrate --to file",
            )),
        }
    }

    /// Whether records move from one store to the other.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self.snapshot.place, ProfilePlace::ToFleet | ProfilePlace::ToLocal)
    }
}
