//! The daemon's metrics in OpenMetrics 1.0. No label names a user, a profile or a workspace.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use authd_api::{AuditStatus, ProfileState, ShareDoor, route};
use authd_broker::{Broker, ProfileHandle};
use authd_fleet::Fleet;
use authd_oauth::quota::QuotaWindow;
use authd_store::{Call, Store, StoreError};
use http::{Method, StatusCode};
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use self::{
    fleet::FleetMetrics,
    store_call::{Label, STORE_BUCKETS, result_label},
};
use super::{convert, peer::Door};

mod fleet;
mod store_call;

/// The media type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A cheap handle of the metrics.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    credentials: Family<[Label; 1], Counter>,
    /// The same counters, in the order of [`CredentialSource`].
    by_source: [Counter; 3],
    share_requests: Family<[Label; 2], Counter>,
    refreshes: Family<[Label; 1], Counter>,
    store: Family<[Label; 2], Histogram, fn() -> Histogram>,
    profiles: Family<[Label; 1], Gauge>,
    shares: Family<[Label; 1], Gauge>,
    age: Family<[Label; 1], Gauge>,
    quota: Family<[(&'static str, String); 2], Gauge<f64, AtomicU64>>,
    pending: Gauge,
    sign_ins_required: Gauge,
    audit_lost: Counter,
    /// Absent without a fleet.
    fleet: Option<FleetMetrics>,
    numbers: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    code: u16,
}

/// Where the credential of a response came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CredentialSource {
    /// From memory.
    Cache,
    /// From a refresh that the client waited for.
    Renewal,
    /// There is none.
    Nowhere,
}

impl Metrics {
    /// Starts at zero and counts the calls of the stores from now on.
    pub(crate) fn new(started_at: Timestamp, store: &Store, fleet: Option<&Fleet>) -> Self {
        let (requests, credentials) = (Family::default(), Family::default());
        let mut metrics = Families {
            registry: Registry::with_prefix("authd"),
            requests,
            by_source: ["cache", "renewal", "nowhere"]
                .map(|source| credentials.get_or_create_owned(&[("from", source)])),
            credentials,
            share_requests: Family::default(),
            refreshes: Family::default(),
            store: Family::new_with_constructor(|| Histogram::new(STORE_BUCKETS)),
            profiles: Family::default(),
            shares: Family::default(),
            age: Family::default(),
            quota: Family::default(),
            pending: Gauge::default(),
            sign_ins_required: Gauge::default(),
            audit_lost: Counter::default(),
            fleet: None,
            numbers: AtomicU64::new(0),
        };
        let Families {
            registry,
            requests,
            credentials,
            share_requests,
            refreshes,
            store: calls,
            profiles,
            shares,
            age,
            quota,
            pending,
            sign_ins_required,
            audit_lost,
            ..
        } = &mut metrics;
        let started: Gauge = Gauge::default();
        started.set(started_at.as_second());
        registry.register("requests", "Requests on the socket", requests.clone());
        registry.register("credentials", "Requests for a credential, by source", credentials.clone());
        registry.register(
            "share_requests",
            "Requests through shares, by door and result",
            share_requests.clone(),
        );
        registry.register("refreshes", "Refreshes sent to the provider, by result", refreshes.clone());
        registry.register_with_unit("store_call", "Duration of store calls", Unit::Seconds, calls.clone());
        registry.register("profiles", "Profiles, by state", profiles.clone());
        registry.register("shares", "Shares, by door", shares.clone());
        registry.register_with_unit("token_age", "Age of the served credentials", Unit::Seconds, age.clone());
        registry.register_with_unit(
            "quota_used",
            "Used part of the accounts' usage limits, by the length of their window",
            Unit::Other("ratio".to_owned()),
            quota.clone(),
        );
        registry.register("pending_logins", "Pending logins", pending.clone());
        registry.register(
            "sign_ins_required",
            "Profiles that need a sign-in; the token of some may still be valid",
            sign_ins_required.clone(),
        );
        registry.register("audit_lost", "Uses that the audit log misses", audit_lost.clone());
        registry.register_with_unit(
            "start_time",
            "Start of the daemon, in seconds since 1970",
            Unit::Seconds,
            started,
        );
        metrics.fleet = fleet.map(|fleet| FleetMetrics::new(fleet, &mut metrics.registry));
        // Present from the start, so that dashboards have a rate for the first read.
        let read = RequestLabels { route: route::HEADERS, method: "GET", code: 200 };
        drop(metrics.requests.get_or_create(&read));
        let metrics = Self(Arc::new(metrics));
        let counting = metrics.clone();
        store.observe(move |call, taken, error| counting.record_store_call(call, taken, error));
        metrics
    }

    /// The number of a new request, starting with 1.
    pub(super) fn next_request(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a response by route; `None` is a path that is no route.
    pub(super) fn record_request(&self, route: Option<&str>, method: &Method, status: StatusCode) {
        let route = route.and_then(|route| route::ALL.into_iter().find(|known| *known == route));
        let labels = RequestLabels {
            route: route.unwrap_or("other"),
            method: method_label(method),
            code: status.as_u16(),
        };
        self.0.requests.get_or_create(&labels).inc();
    }

    /// Counts a request through the door of a share.
    pub(super) fn record_share_request(&self, door: &Door, status: StatusCode) {
        let door = door_label(match door {
            Door::Own | Door::ShareSocket(_) => ShareDoor::Socket,
            Door::Loopback(_) => ShareDoor::Loopback,
        });
        let result = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "refused",
            StatusCode::TOO_MANY_REQUESTS => "limited",
            status if status.is_client_error() || status.is_server_error() => "failed",
            _ => "ok",
        };
        self.0.share_requests.get_or_create(&[("door", door), ("result", result)]).inc();
    }

    /// Counts a request for a credential.
    pub(super) fn record_credential(&self, source: CredentialSource) {
        self.0.by_source[source as usize].inc();
    }

    /// Records a call of the store.
    fn record_store_call(&self, call: Call, taken: Duration, error: Option<&StoreError>) {
        let labels = [("call", call.name()), ("result", result_label(error))];
        self.0.store.get_or_create(&labels).observe(taken.as_secs_f64());
    }

    /// The metrics as OpenMetrics text, with the current gauges.
    pub(super) fn render(
        &self,
        broker: &Broker,
        audit: &AuditStatus,
        now: Timestamp,
    ) -> Result<String, fmt::Error> {
        for (result, count) in broker.refreshes.counts().filter(|(_, count)| *count > 0) {
            let counter = self.0.refreshes.get_or_create(&[("result", result)]);
            counter.inner().store(count, Ordering::Relaxed);
        }
        self.0.audit_lost.inner().store(audit.lost, Ordering::Relaxed);
        self.set_gauges(broker, now);
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    fn set_gauges(&self, broker: &Broker, now: Timestamp) {
        let Families { profiles, shares, age, pending, sign_ins_required, .. } = &*self.0;
        self.set_quota_gauges(broker, now);
        if let Some(fleet) = &self.0.fleet {
            fleet.update();
        }
        pending.set(i64::try_from(broker.logins.pending()).unwrap_or(i64::MAX));
        shares.clear();
        for share in broker.shares.snapshot().unwrap_or_default().values() {
            shares.get_or_create(&[("door", door_label(share.terms.door))]).inc();
        }
        let registry = broker.registry.snapshot();
        let views: Vec<_> = registry.profiles.values().map(ProfileHandle::view).collect();
        profiles.clear();
        for view in &views {
            profiles.get_or_create(&[("state", state_label(convert::state(view, now)))]).inc();
        }
        let required = views.iter().filter(|view| view.sign_in_required(now)).count();
        sign_ins_required.set(i64::try_from(required).unwrap_or(i64::MAX));
        let snapshots = views.iter().filter_map(|view| view.snapshot());
        let ages = snapshots.map(|snapshot| now.duration_since(snapshot.credential.issued_at).as_secs());
        let ages: Vec<_> = ages.collect();
        age.clear();
        for (which, seconds) in [("newest", ages.iter().min()), ("oldest", ages.iter().max())] {
            if let Some(seconds) = seconds {
                age.get_or_create(&[("which", which)]).set(*seconds);
            }
        }
    }

    /// The highest and the lowest used part of each window, over all accounts whose figures are
    /// valid now.
    fn set_quota_gauges(&self, broker: &Broker, now: Timestamp) {
        let mut used: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for handle in broker.registry.snapshot().profiles.values() {
            let Some(reading) = handle.known_quota(Duration::MAX, now).reading else { continue };
            let valid = |window: &&QuotaWindow| window.limit.is_of_account() && !window.is_over(now);
            for window in reading.windows.iter().filter(valid) {
                let ratio = window.used.get() / 100.0;
                let (lowest, highest) = used.entry(window.name()).or_insert((ratio, ratio));
                (*lowest, *highest) = (lowest.min(ratio), highest.max(ratio));
            }
        }
        let gauges = &self.0.quota;
        gauges.clear();
        for (window, (lowest, highest)) in used {
            for (which, ratio) in [("lowest", lowest), ("highest", highest)] {
                let labels = [("which", which.to_owned()), ("window", window.clone())];
                gauges.get_or_create(&labels).set(ratio);
            }
        }
    }
}

/// The label of a profile's state: the API's name of it.
fn state_label(state: ProfileState) -> &'static str {
    match state {
        ProfileState::Ready => "ready",
        ProfileState::Refreshing => "refreshing",
        ProfileState::Unsaved => "unsaved",
        ProfileState::Expired => "expired",
        ProfileState::LoginRequired => "login_required",
        ProfileState::Unread => "unread",
        ProfileState::Unknown => "unknown",
    }
}

fn door_label(door: ShareDoor) -> &'static str {
    match door {
        ShareDoor::Socket => "socket",
        ShareDoor::Loopback => "loopback",
    }
}

/// The label of a method. Unknown methods share one label, so that a client cannot create metrics.
fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| method.as_str() == *known).unwrap_or("other")
}
