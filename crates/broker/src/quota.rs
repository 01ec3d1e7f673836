//! Quotas: how much of the limits of each profile's account is used. The figures come from the
//! responses that the relay passes on, and on request from the provider's usage endpoint. A request
//! never causes a refresh, and nothing is requested that no client asked for.
//!
//! Each profile's handle owns what is known about it, so that it follows a rename and ends with a
//! sign-out. It belongs to one account: a sign-in of another one drops it. Nothing is stored.

use std::{panic, sync::Arc, time::Duration};

use authd_oauth::{Endpoint, Mode, QuotaReading};
use http::HeaderMap;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::debug;

use crate::{
    clock,
    events::{ChangeEvent, EventBus},
    profile::ProfileHandle,
    snapshot::ProfileSnapshot,
};

use self::state::{Account, QuotaState, Recorded};
pub use self::state::{QuotaFailure, QuotaView};

mod low;
pub(crate) mod state;

/// Reads quotas. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Quotas {
    endpoint: Endpoint,
    events: EventBus,
    /// How much is left, in percent, when a window counts as low; 0 for never.
    low: watch::Receiver<u8>,
}

impl Quotas {
    pub(crate) fn new(endpoint: Endpoint, events: EventBus, low: watch::Receiver<u8>) -> Self {
        Self { endpoint, events, low }
    }

    /// What is known, after a request to the provider if that is older than `max_age` and a request
    /// is possible. Callers at the same time share one request.
    pub async fn get(&self, handle: &ProfileHandle, max_age: Duration) -> QuotaView {
        if handle.quota().is_requesting() || plan(handle, max_age).is_some() {
            // The request continues if the caller disconnects: the next caller would repeat it.
            let (quotas, of) = (self.clone(), handle.clone());
            let request = tokio::spawn(async move { quotas.request(&of, max_age).await });
            if let Err(failure) = request.await
                && failure.is_panic()
            {
                panic::resume_unwind(failure.into_panic());
            }
        }
        handle.known_quota(max_age, clock::now())
    }

    /// Takes what the headers of a response say that the provider gave to a request with this
    /// credential.
    pub fn observe(&self, handle: &ProfileHandle, used: &ProfileSnapshot, headers: &HeaderMap) {
        if used.mode() == Mode::ChatGpt
            && let Some(reading) = QuotaReading::from_headers(headers, clock::now())
        {
            self.record(handle, used, |state, low, now| state.update(reading, low, now));
        }
    }

    async fn request(&self, handle: &ProfileHandle, max_age: Duration) {
        let _single_flight = handle.quota().request().await;
        // The caller before may have got the answer.
        let Some(snapshot) = plan(handle, max_age) else { return };
        handle.quota().lock().begin_request(&snapshot, clock::now());
        let response = self.endpoint.usage(&snapshot.backend_url(), snapshot.headers().iter().cloned()).await;
        match response.and_then(|body| QuotaReading::from_usage(&body, clock::now())) {
            Ok(reading) => self.record(handle, &snapshot, |state, low, now| state.replace(reading, low, now)),
            Err(error) => {
                debug!(profile = %snapshot.name, %error, "usage limits not received");
                handle.quota().lock().fail_request(error);
            }
        }
    }

    /// Records a reading of this credential's account, unless another account has signed in.
    fn record(
        &self,
        handle: &ProfileHandle,
        used: &ProfileSnapshot,
        record: impl FnOnce(&mut QuotaState, u8, Timestamp) -> Recorded,
    ) {
        let view = handle.view();
        let Some(current) = view.snapshot() else { return };
        if !Account::of(&used.credential).is_of(&current.credential) {
            return;
        }
        let low = *self.low.borrow();
        let recorded = {
            let mut state = handle.quota().lock();
            state.belongs_to(current);
            record(&mut state, low, clock::now())
        };
        if recorded.has_changed {
            self.events.publish(ChangeEvent::Quota(current.name.clone()));
        }
        if !recorded.low.is_empty() {
            let low = QuotaReading { windows: recorded.low, ..QuotaReading::clone(&recorded.reading) };
            self.events.publish(ChangeEvent::QuotaLow(current.name.clone(), Arc::new(low)));
        }
    }
}

/// The snapshot to send a request for, if there is one to send now.
fn plan(handle: &ProfileHandle, max_age: Duration) -> Option<Arc<ProfileSnapshot>> {
    let (view, now) = (handle.view(), clock::now());
    let snapshot = view.snapshot()?;
    handle.quota().lock().needs_request(snapshot, max_age, now).then(|| snapshot.clone())
}
