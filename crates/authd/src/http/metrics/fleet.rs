//! The metrics of a node of a fleet.

use std::sync::atomic::{AtomicU64, Ordering};

use authd_fleet::{Counters, DatabaseState, Fleet, FleetStatus};
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::sync::watch;

use super::store_call::{Label, STORE_BUCKETS, result_label};

/// The metrics of the fleet's database.
pub(super) struct FleetMetrics {
    status: watch::Receiver<FleetStatus>,
    connected: Gauge,
    lag: Gauge<f64, AtomicU64>,
    clock: Gauge<f64, AtomicU64>,
    granted: Counter,
    waited: Counter,
    takeovers: Counter,
    conflicts: Counter,
    reconnections: Counter,
}

impl FleetMetrics {
    /// Counts the calls of the database from now on.
    pub(super) fn new(fleet: &Fleet, registry: &mut Registry) -> Self {
        let claims: Family<[Label; 1], Counter> = Family::default();
        let calls: Family<[Label; 1], Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(STORE_BUCKETS));
        let metrics = Self {
            status: fleet.watch(),
            connected: Gauge::default(),
            lag: Gauge::default(),
            clock: Gauge::default(),
            granted: claims.get_or_create_owned(&[("result", "granted")]),
            waited: claims.get_or_create_owned(&[("result", "waited")]),
            takeovers: Counter::default(),
            conflicts: Counter::default(),
            reconnections: Counter::default(),
        };
        let Self { connected, lag, clock, takeovers, conflicts, reconnections, .. } = &metrics;
        let registry = registry.sub_registry_with_prefix("fleet");
        registry.register("connected", "Whether the last call of the database succeeded", connected.clone());
        registry.register_with_unit("call", "Duration of database calls", Unit::Seconds, calls.clone());
        registry.register_with_unit("lag", "Time since the database answered", Unit::Seconds, lag.clone());
        registry.register_with_unit(
            "clock_ahead",
            "How far the database's clock is ahead of this machine's",
            Unit::Seconds,
            clock.clone(),
        );
        registry.register("claims", "Claims to renew a grant, by result", claims);
        registry.register(
            "takeovers",
            "Claims on a refresh token that a lost node may have used",
            takeovers.clone(),
        );
        registry.register("conflicts", "Writes that were based on an outdated state", conflicts.clone());
        registry.register("reconnections", "Connections that replaced a lost one", reconnections.clone());
        fleet.observe(move |taken, error| {
            calls.get_or_create(&[("result", result_label(error))]).observe(taken.as_secs_f64());
        });
        metrics
    }

    /// Takes over the present state.
    pub(super) fn update(&self) {
        let status = self.status.borrow().clone();
        self.connected.set(i64::from(status.state == DatabaseState::Connected));
        if let Some(contact) = status.last_contact {
            self.lag.set(contact.elapsed().as_secs_f64());
        }
        if let Some(ahead) = status.clock_ahead {
            self.clock.set(ahead.as_secs_f64());
        }
        let Counters { claims_granted, claims_waited, takeovers, conflicts, reconnections } = status.counters;
        for (counter, count) in [
            (&self.granted, claims_granted),
            (&self.waited, claims_waited),
            (&self.takeovers, takeovers),
            (&self.conflicts, conflicts),
            (&self.reconnections, reconnections),
        ] {
            counter.inner().store(count, Ordering::Relaxed);
        }
    }
}
