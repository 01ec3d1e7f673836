//! What an actor knows about its claim, and the guard that keeps a call which may spend a refresh
//! token within the claim on it.

use std::time::Duration;

use authd_api::ProfileName;
use authd_fleet::Fleet;
use authd_oauth::{ProviderError, claim::may_send};
use jiff::SignedDuration;
use tracing::debug;

use crate::clock;

/// The part of an actor that concerns the fleet.
pub(super) struct FleetAccess {
    pub(super) fleet: Fleet,
    /// When the last claim was requested, since boot.
    claim_requested_at: SignedDuration,
}

impl FleetAccess {
    pub(super) fn new(fleet: Fleet) -> Self {
        Self { fleet, claim_requested_at: SignedDuration::ZERO }
    }

    /// A claim is requested now.
    pub(super) fn claim_begins(&mut self) {
        self.claim_requested_at = clock::uptime();
    }

    pub(super) fn held(&self, name: &ProfileName, may_release: bool) -> HeldClaim {
        let (fleet, name) = (self.fleet.clone(), name.clone());
        HeldClaim { fleet, name, requested_at: self.claim_requested_at, may_release }
    }
}

/// A claim of this node.
pub(super) struct HeldClaim {
    fleet: Fleet,
    name: ProfileName,
    /// When the claim was requested, since boot.
    requested_at: SignedDuration,
    /// Whether the claim may end after a call that did not spend the token.
    may_release: bool,
}

/// Runs a call that may spend a refresh token. Without a fleet there is no claim, and the call runs
/// as it is.
pub(super) async fn guarded<T>(
    claim: Option<HeldClaim>,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    match claim {
        Some(claim) => claim.run(call).await,
        None => call.await,
    }
}

impl HeldClaim {
    /// Runs the call if the claim outlives it, and ends the claim after a failure that certainly
    /// did not spend the token.
    async fn run<T>(self, call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
        let limit = self.fleet.call_limit();
        // The process may have been paused, or the machine suspended, since the claim.
        let since = clock::uptime().saturating_sub(self.requested_at);
        let since = Duration::try_from(since).unwrap_or(Duration::MAX);
        let result = if may_send(since, self.fleet.lease(), limit) {
            let result = tokio::time::timeout(limit, call).await;
            result.unwrap_or_else(|_| {
                Err(ProviderError::NoResponse { detail: format!("no response within {limit:?}") })
            })
        } else {
            let detail = "the claim on the refresh token was too old before the token was sent";
            Err(ProviderError::NotSent { detail: detail.to_owned() })
        };
        if let Err(error) = &result
            && self.may_release
            && !error.may_have_rotated()
            && !error.is_permanent()
            && let Err(error) = self.fleet.release(self.name.as_str(), error.retry_after()).await
        {
            // It ends with its lease. This process may claim the token again before that.
            debug!(%error, "claim not released");
        }
        result
    }
}
