//! Figures for whoever watches the daemon: counts, times and ages, in the text of OpenMetrics 1.0. No
//! label names a person, a profile or a workspace.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use authd_api::route;
use authd_oauth::{Event, ProfileStatus, ProviderError};
use authd_store::{Call, Store, StoreError};
use http::{Method, StatusCode};
use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{keeper::Directory, profile::ProfileHandle};

/// The bounds of the store's latencies, in seconds: from what a file takes to when nobody waits any more.
const STORE_BUCKETS: [f64; 9] = [0.0001, 0.0004, 0.0016, 0.0064, 0.0256, 0.1024, 0.4096, 1.6384, 6.5536];

/// The type of the text.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The figures; a cheap handle.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    requests: Family<Request, Counter>,
    /// The one of them that nearly every request counts up.
    reads: Counter,
    credentials: Family<[Label; 1], Counter>,
    /// The same, in the order of [`From`]: nearly every request counts one of them up.
    by_source: [Counter; 3],
    refreshes: Family<[Label; 1], Counter>,
    store: Family<[Label; 2], Histogram, fn() -> Histogram>,
    profiles: Family<[Label; 1], Gauge>,
    age: Family<[Label; 1], Gauge>,
    pending: Gauge,
    numbers: AtomicU64,
}

type Label = (&'static str, &'static str);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: &'static str,
    method: &'static str,
    code: u16,
}

/// A client got a profile's headers.
const READ: Request = Request { route: route::HEADERS, method: "GET", code: 200 };

/// Where a credential came from that a client got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// From memory, without a renewal.
    Cache,
    /// From a renewal that the client waited for.
    Renewal,
    /// From nowhere: there is none.
    Nowhere,
}

impl Metrics {
    /// All at zero; the store's calls are counted from now on.
    pub(crate) fn new(started_at: Timestamp, store: &Store) -> Self {
        let (requests, credentials) = (Family::default(), Family::default());
        let mut metrics = Inner {
            registry: Registry::with_prefix("authd"),
            reads: requests.get_or_create_owned(&READ),
            requests,
            by_source: ["cache", "renewal", "nowhere"]
                .map(|from| credentials.get_or_create_owned(&[("from", from)])),
            credentials,
            refreshes: Family::default(),
            store: Family::new_with_constructor(|| Histogram::new(STORE_BUCKETS)),
            profiles: Family::default(),
            age: Family::default(),
            pending: Gauge::default(),
            numbers: AtomicU64::new(0),
        };
        let Inner {
            registry, requests, credentials, refreshes, store: calls, profiles, age, pending, ..
        } = &mut metrics;
        let started: Gauge = Gauge::default();
        started.set(started_at.as_second());
        registry.register("requests", "Requests on the socket", requests.clone());
        registry.register(
            "credentials",
            "Credentials asked for, by where they came from",
            credentials.clone(),
        );
        registry.register("refreshes", "Refreshes sent to the provider, by their end", refreshes.clone());
        registry.register_with_unit("store_call", "How long the store took", Unit::Seconds, calls.clone());
        registry.register("profiles", "Profiles, by state", profiles.clone());
        registry.register_with_unit("token_age", "Ages of what is served", Unit::Seconds, age.clone());
        registry.register("pending_logins", "Logins that nobody has finished", pending.clone());
        registry.register_with_unit(
            "start_time",
            "When the daemon started, since 1970",
            Unit::Seconds,
            started,
        );
        let metrics = Self(Arc::new(metrics));
        let counting = metrics.clone();
        store.observe(move |call, taken, error| counting.kept(call, taken, error));
        metrics
    }

    /// The number of a new request; the first one has 1.
    pub(crate) fn next_request(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A request was answered; it was for this one of the routes, or for something that there is not.
    pub(crate) fn asked(&self, route: Option<&'static str>, method: &Method, status: StatusCode) {
        let labels = Request { route: route.unwrap_or("other"), method: name(method), code: status.as_u16() };
        if labels == READ {
            self.0.reads.inc();
        } else {
            self.0.requests.get_or_create(&labels).inc();
        }
    }

    /// A client asked for a credential.
    pub(crate) fn answered(&self, from: From) {
        self.0.by_source[from as usize].inc();
    }

    /// Something happened to a profile.
    pub(crate) fn happened(&self, event: &Event) {
        let Event::Refreshed(_, ended) = event else { return };
        let result = match ended {
            Ok(_) => "ok",
            Err(ProviderError::NotSent { .. }) => "unsent",
            Err(ProviderError::NoResponse { .. }) => "unanswered",
            Err(ProviderError::Unavailable { .. }) => "busy",
            Err(ProviderError::InvalidResponse { .. }) => "garbled",
            Err(ProviderError::Rejected { .. }) => "refused",
        };
        self.0.refreshes.get_or_create(&[("result", result)]).inc();
    }

    /// A call to the store came to its end.
    fn kept(&self, call: Call, taken: Duration, error: Option<&StoreError>) {
        let result = match error {
            None => "ok",
            Some(StoreError::Locked { .. }) => "locked",
            Some(StoreError::Unavailable { .. }) => "unavailable",
            Some(StoreError::Refused { .. }) => "refused",
            Some(StoreError::Damaged { .. }) => "damaged",
        };
        let labels = [("call", call.name()), ("result", result)];
        self.0.store.get_or_create(&labels).observe(taken.as_secs_f64());
    }

    /// All of it as text, with what is so now.
    pub(crate) fn text(
        &self,
        directory: &Directory,
        pending: usize,
        now: Timestamp,
    ) -> Result<String, fmt::Error> {
        self.look(directory, pending, now);
        let mut text = String::new();
        text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    /// Sets what is not counted, but is so now.
    fn look(&self, directory: &Directory, pending: usize, now: Timestamp) {
        let Inner { profiles, age, .. } = &*self.0;
        self.0.pending.set(i64::try_from(pending).unwrap_or(i64::MAX));
        profiles.clear();
        for handle in directory.profiles.values() {
            let view = handle.view();
            let status = view.facts().map(|facts| facts.status(now));
            profiles.get_or_create(&[("state", state(status))]).inc();
        }
        let views = directory.profiles.values().map(ProfileHandle::view);
        let ages: Vec<_> = views
            .filter_map(|view| Some(now.duration_since(view.facts()?.credential.issued_at).as_secs()))
            .collect();
        age.clear();
        for (which, seconds) in [("newest", ages.iter().min()), ("oldest", ages.iter().max())] {
            if let Some(seconds) = seconds {
                age.get_or_create(&[("which", which)]).set(*seconds);
            }
        }
    }
}

/// A profile's state; none is known before its record has been read.
fn state(status: Option<ProfileStatus>) -> &'static str {
    match status {
        None => "unread",
        Some(ProfileStatus::Ready) => "ready",
        Some(ProfileStatus::Refreshing) => "refreshing",
        Some(ProfileStatus::Unsaved) => "unsaved",
        Some(ProfileStatus::Expired) => "expired",
        Some(ProfileStatus::LoginRequired) => "login_required",
    }
}

/// The methods that mean anything here: whoever makes up others makes no new figures.
fn name(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| method.as_str() == *known).unwrap_or("other")
}
