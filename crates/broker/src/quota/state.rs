//! What a profile's handle knows about its quota, and when the provider may be asked again. Pure:
//! the time is a parameter.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use authd_oauth::{Credential, Identity, Mode, ProviderError, QuotaReading, quota::QuotaWindow, schedule};
use jiff::Timestamp;

use super::low::AnnouncedWindows;
use crate::snapshot::ProfileSnapshot;

/// Shortest time between two requests about one profile.
const MIN_INTERVAL: Duration = Duration::from_secs(30);

/// The first pause after a failed request, and the longest one unless the provider asks for more.
const PAUSE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15 * 60));

/// What is known about the quota of a profile.
#[derive(Clone, Debug)]
pub struct QuotaView {
    /// What the provider has stated last, if anything.
    pub reading: Option<Arc<QuotaReading>>,
    /// Whether that is older than the caller allows, or a window has started again since.
    pub stale: bool,
    /// Why there is no newer reading. `None` if the reading is new enough.
    pub failure: Option<QuotaFailure>,
}

/// Why no newer reading was obtained.
#[derive(Clone, Debug)]
pub enum QuotaFailure {
    /// A credential of this mode has no quota that the provider states.
    NoQuota(Mode),
    /// The access token has expired. A reading never causes a refresh.
    NoToken,
    /// The last request failed. It is not repeated before this time.
    Provider(Arc<ProviderError>, Timestamp),
    /// There was a request just now. There is none before this time.
    TooSoon(Timestamp),
    /// Nothing has been requested yet.
    NotRequested,
}

/// The state of one profile, and the turn of its requests.
#[derive(Debug, Default)]
pub(crate) struct QuotaCell {
    state: Mutex<QuotaState>,
    request: tokio::sync::Mutex<()>,
}

impl QuotaCell {
    pub(crate) fn lock(&self) -> MutexGuard<'_, QuotaState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a request is in flight.
    pub(crate) fn is_requesting(&self) -> bool {
        self.request.try_lock().is_err()
    }

    /// Waits until no request is in flight.
    pub(crate) async fn request(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.request.lock().await
    }
}

#[derive(Debug, Default)]
pub(crate) struct QuotaState {
    /// The account that everything here is about.
    account: Option<Account>,
    reading: Option<Arc<QuotaReading>>,
    announced: AnnouncedWindows,
    last_request: Option<LastRequest>,
}

/// The account of a credential.
#[derive(Debug)]
pub(crate) struct Account {
    identity: Arc<Identity>,
    grant_id: Arc<str>,
}

impl Account {
    pub(crate) fn of(credential: &Credential) -> Self {
        Self { identity: credential.identity.clone(), grant_id: credential.grant_id.clone() }
    }

    /// Whether the credential is of this account. If the provider has named no user, only one of
    /// the same sign-in is.
    pub(crate) fn is_of(&self, credential: &Credential) -> bool {
        self.grant_id == credential.grant_id
            || self.identity.user_id.is_some() && self.identity.is_same(&credential.identity)
    }
}

#[derive(Debug)]
struct LastRequest {
    at: Timestamp,
    /// The generation of its credential: another one may succeed where this one failed.
    generation: u64,
    /// The failed requests in a row.
    failures: u32,
    error: Option<Arc<ProviderError>>,
}

/// The effect of a reading.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) reading: Arc<QuotaReading>,
    /// Whether a figure has changed.
    pub(crate) has_changed: bool,
    /// The windows that have become low.
    pub(crate) low: Vec<QuotaWindow>,
}

impl QuotaState {
    /// Forgets everything if it is about another account.
    pub(crate) fn belongs_to(&mut self, snapshot: &ProfileSnapshot) {
        if !self.is_about(snapshot) {
            *self = Self { account: Some(Account::of(&snapshot.credential)), ..Self::default() };
        }
    }

    fn is_about(&self, snapshot: &ProfileSnapshot) -> bool {
        self.account.as_ref().is_some_and(|account| account.is_of(&snapshot.credential))
    }

    /// Adds a reading of some limits.
    pub(crate) fn update(&mut self, newer: QuotaReading, low: u8, now: Timestamp) -> Recorded {
        let reading = match self.reading.as_deref() {
            Some(known) => known.clone().updated(newer),
            None => newer,
        };
        self.set(reading, low, now)
    }

    /// Takes a reading of all limits, the answer to the last request.
    pub(crate) fn replace(&mut self, reading: QuotaReading, low: u8, now: Timestamp) -> Recorded {
        if let Some(last) = &mut self.last_request {
            (last.failures, last.error) = (0, None);
        }
        self.set(reading, low, now)
    }

    fn set(&mut self, reading: QuotaReading, low: u8, now: Timestamp) -> Recorded {
        let low = self.announced.announce(&reading.windows, low, now);
        let has_changed = self.reading.as_ref().is_none_or(|known| !known.states_the_same(&reading));
        let reading = Arc::new(reading);
        self.reading = Some(reading.clone());
        Recorded { reading, has_changed, low }
    }

    /// Whether to ask the provider now.
    pub(crate) fn needs_request(
        &self,
        snapshot: &ProfileSnapshot,
        max_age: Duration,
        now: Timestamp,
    ) -> bool {
        let is_current = self.is_about(snapshot) && self.is_current(max_age, now);
        !is_current && obstacle(snapshot, now).is_none() && self.pause(snapshot, now).is_none()
    }

    pub(crate) fn begin_request(&mut self, snapshot: &ProfileSnapshot, now: Timestamp) {
        self.belongs_to(snapshot);
        let failures = self.last_request.as_ref().map_or(0, |last| last.failures);
        let generation = snapshot.credential.generation;
        self.last_request = Some(LastRequest { at: now, generation, failures, error: None });
    }

    pub(crate) fn fail_request(&mut self, error: ProviderError) {
        if let Some(last) = &mut self.last_request {
            (last.failures, last.error) = (last.failures + 1, Some(Arc::new(error)));
        }
    }

    pub(crate) fn view(&self, snapshot: &ProfileSnapshot, max_age: Duration, now: Timestamp) -> QuotaView {
        let has_quota = snapshot.mode() == Mode::ChatGpt && self.is_about(snapshot);
        let reading = self.reading.clone().filter(|_| has_quota);
        // A caller cannot have newer readings than the interval allows.
        if reading.is_some() && self.is_current(max_age.max(MIN_INTERVAL), now) {
            return QuotaView { reading, stale: false, failure: None };
        }
        let failure = obstacle(snapshot, now)
            .or_else(|| self.pause(snapshot, now))
            .unwrap_or(QuotaFailure::NotRequested);
        QuotaView { stale: reading.is_some(), reading, failure: Some(failure) }
    }

    /// Whether the account's own limits are known, at most `max_age` old, and none of their windows
    /// has started again since. After the clock was set back, a reading has no age.
    fn is_current(&self, max_age: Duration, now: Timestamp) -> bool {
        let Some(reading) = &self.reading else { return false };
        let age = reading.as_of.and_then(|as_of| Duration::try_from(now.duration_since(as_of)).ok());
        let is_over = |window: &QuotaWindow| window.limit.is_of_account() && window.is_over(now);
        age.is_some_and(|age| age <= max_age) && !reading.windows.iter().any(is_over)
    }

    /// Why there is a pause now, because of the last request.
    fn pause(&self, snapshot: &ProfileSnapshot, now: Timestamp) -> Option<QuotaFailure> {
        let last = self.last_request.as_ref().filter(|_| self.is_about(snapshot))?;
        let (wait, error) = match &last.error {
            Some(error) if last.generation == snapshot.credential.generation => {
                (failure_pause(last.failures, error), Some(error.clone()))
            }
            Some(_) | None => (MIN_INTERVAL, None),
        };
        let until = schedule::later(last.at, wait);
        // A clock that was set back does not make the pause longer.
        let is_over = now >= until || now < last.at;
        (!is_over).then(|| error.map_or(QuotaFailure::TooSoon(until), |e| QuotaFailure::Provider(e, until)))
    }
}

/// Why no request is possible with the present credential.
fn obstacle(snapshot: &ProfileSnapshot, now: Timestamp) -> Option<QuotaFailure> {
    match snapshot.mode() {
        mode @ (Mode::ApiKey | Mode::Bearer) => Some(QuotaFailure::NoQuota(mode)),
        Mode::ChatGpt => snapshot.credential.remaining(now).is_zero().then_some(QuotaFailure::NoToken),
    }
}

/// The pause after so many failed requests in a row: it doubles each time.
fn failure_pause(failures: u32, error: &ProviderError) -> Duration {
    let requested = error.retry_after().unwrap_or_default();
    let doubled = PAUSE.0 * 2_u32.saturating_pow(failures.saturating_sub(1).min(8));
    doubled.min(PAUSE.1).max(requested.min(schedule::LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests;
