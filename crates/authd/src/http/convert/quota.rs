//! Maps what is known about a quota to its message.

use std::time::Duration;

use authd_api::{ProfileName, Quota, QuotaCredits, QuotaWindow};
use authd_broker::{ProfileSnapshot, QuotaView, RegistrySnapshot};
use authd_oauth::{
    QuotaReading,
    quota::{self, Limit},
};
use jiff::Timestamp;

use crate::http::problem;

/// What is known about the quota of that profile, without a request; `None` without such a profile.
pub(crate) fn known_quota(registry: &RegistrySnapshot, name: &ProfileName, now: Timestamp) -> Option<Quota> {
    let handle = registry.profiles.get(name)?;
    let view = handle.known_quota(Duration::from_secs(Quota::DEFAULT_MAX_AGE), now);
    let mut message = quota(name, view.reading.as_deref(), now);
    message.stale = view.stale;
    Some(message)
}

/// The response to a request for the quota.
pub(crate) fn requested_quota(
    name: &ProfileName,
    snapshot: &ProfileSnapshot,
    view: &QuotaView,
    now: Timestamp,
) -> Quota {
    let failure = view.failure.as_ref();
    Quota {
        stale: view.stale,
        error: failure.and_then(|failure| problem::quota(failure, snapshot, now)),
        ..quota(name, view.reading.as_deref(), now)
    }
}

/// A reading; without one, nothing is known.
pub(crate) fn quota(name: &ProfileName, reading: Option<&QuotaReading>, now: Timestamp) -> Quota {
    let windows = reading.map(|reading| reading.windows.as_slice()).unwrap_or_default();
    let credits = reading.and_then(|reading| reading.credits.as_ref());
    Quota {
        profile: name.clone(),
        windows: windows.iter().map(|one| window(one, now)).collect(),
        credits: credits.map(|credits| QuotaCredits {
            available: credits.available,
            unlimited: credits.unlimited,
            balance: credits.balance.as_deref().map(str::to_owned),
        }),
        limit_reached: reading.and_then(|reading| reading.limit_reached),
        reached_type: reading.and_then(|reading| reading.reached_type.as_deref()).map(str::to_owned),
        as_of: reading.and_then(|reading| reading.as_of),
        stale: false,
        error: None,
    }
}

fn window(window: &quota::QuotaWindow, now: Timestamp) -> QuotaWindow {
    QuotaWindow {
        window: window.name(),
        seconds: window.seconds,
        limit: match &window.limit {
            Limit::Account | Limit::Spending => None,
            Limit::Named { id, name } => Some(name.as_deref().unwrap_or(id).to_owned()),
        },
        used_percent: (!window.is_over(now)).then(|| window.used.get()),
        resets_at: window.resets_at,
        as_of: window.as_of,
    }
}
