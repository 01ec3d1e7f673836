//! Maps the state of the stores to API messages.

use std::time::Duration;

use authd_api::{FleetState, FleetStatus, LocalStore, StoreKind, StoreState, StoreStatus};
use authd_fleet::{Counters, DatabaseState, Fleet};
use authd_store::{Kind, State};

use crate::store_monitor::{ProfileStore, StoreMonitor};

/// The stores.
pub(crate) fn store(stores: &StoreMonitor) -> StoreStatus {
    let status = stores.local();
    let local = LocalStore {
        kind: status.kind.map(kind),
        state: state(status.state),
        detail: non_empty(status.detail),
        fallback: status.fallback,
    };
    let fleet = stores.fleet().map(|(handle, status)| fleet(handle, status));
    let ProfileStore { is_fleet, state: profiles, detail } = stores.profiles();
    let (profiles, detail) = (state(profiles), non_empty(detail));
    if is_fleet {
        let kind = Some(StoreKind::Postgres);
        return StoreStatus { kind, state: profiles, detail, fallback: None, local: Some(local), fleet };
    }
    let LocalStore { kind, fallback, .. } = local;
    StoreStatus { kind, state: profiles, detail, fallback, local: None, fleet }
}

fn kind(kind: Kind) -> StoreKind {
    match kind {
        Kind::Keychain => StoreKind::Keychain,
        Kind::File => StoreKind::File,
        Kind::Memory => StoreKind::Memory,
    }
}

fn state(state: State) -> StoreState {
    match state {
        State::Ready => StoreState::Ready,
        State::Locked => StoreState::Locked,
        State::Unavailable => StoreState::Unavailable,
    }
}

fn fleet(fleet: &Fleet, status: authd_fleet::FleetStatus) -> FleetStatus {
    let (state, detail) = match status.state {
        DatabaseState::Connecting => (FleetState::Connecting, None),
        DatabaseState::Connected => (FleetState::Connected, None),
        DatabaseState::Unavailable { detail } => (FleetState::Unavailable, Some(detail)),
    };
    let Counters { claims_granted, claims_waited, takeovers, conflicts, reconnections } = status.counters;
    FleetStatus {
        node: fleet.holder().node.to_string(),
        server: fleet.server(),
        schema: fleet.schema().to_owned(),
        server_version: status.server_version,
        state,
        detail,
        latency_ms: status.latency.map(milliseconds),
        clock_ahead_ms: status.clock_ahead.map(|ahead| i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX)),
        lag_ms: status.last_contact.map(|contact| milliseconds(contact.elapsed())),
        claims_granted,
        claims_waited,
        takeovers,
        conflicts,
        reconnections,
    }
}

/// Rounded up, because no call takes no time.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

fn non_empty(detail: String) -> Option<String> {
    Some(detail).filter(|detail| !detail.is_empty())
}
