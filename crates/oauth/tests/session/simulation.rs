//! The environment of one session. It executes the session's effects in any order, with any delay
//! and with any outcome.

use std::time::Duration;

use authd_oauth::{
    Annotation, Effect, Event, Grant, Intent, Mode, ProfileStatus, REJECTION_PAUSE, Record, RefreshToken,
    Session,
    schedule::{earlier, later, shifted},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    invariants::{CheckResult, Invariants, Observed},
    model::{Provider, Store, bearer_of, id_token_of, refresh_token_of, rejected_with, scopes_of},
    outcome::{CallResult, failure, refresh, save},
    step::{HOUR, InitialState, Outcome, RejectedKind, Step},
};

/// Longest time for a recovery without further failures: the longest `Retry-After` that is
/// honoured, and a margin for the calls after it.
const RECOVERY: Duration = Duration::from_secs(3_700);

/// More calls and pauses than any recovery needs.
const RECOVERY_STEPS: usize = 64;

pub(crate) struct Simulation {
    pub(crate) session: Session,
    pub(crate) now: Timestamp,
    pub(crate) provider: Provider,
    pub(crate) store: Store,
    pub(crate) invariants: Invariants,
    /// Calls whose result has not been delivered; the oldest first.
    calls: Vec<PendingCall>,
    /// Delivered results, for a second delivery.
    delivered: Vec<(u64, CallResult)>,
}

struct PendingCall {
    ticket: u64,
    kind: CallKind,
    result: Option<CallResult>,
}

enum CallKind {
    Probe,
    Save(Box<Record>),
    Refresh(RefreshToken),
    Exchange,
}

impl Simulation {
    pub(crate) fn new(initial_state: InitialState) -> Result<Self, String> {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (mut provider, mut store) = (Provider::default(), Store::default());
        let restored = match initial_state {
            InitialState::SignedIn(mode) => {
                return Self::signed_in(provider.sign_in(mode, HOUR, now), provider, store, now);
            }
            InitialState::Restored(mode, left) => {
                let issued_at = earlier(now, HOUR.saturating_sub(left));
                let grant = provider.sign_in(mode, HOUR, issued_at);
                Record::new(grant, "grant".into(), 3)
            }
            InitialState::Journalled(mode) => {
                let grant = provider.sign_in(mode, HOUR, now);
                Record { journal: Some(now), ..Record::new(grant, "grant".into(), 3) }
            }
        };
        store.write(restored);
        Self::restored(provider, store, now)
    }

    fn signed_in(grant: Grant, provider: Provider, store: Store, now: Timestamp) -> Result<Self, String> {
        let session = Session::signed_in(Record::new(grant, "grant".into(), 1), 7, now);
        let invariants = Invariants::new(&session, &store, true, now);
        Self::started(Self {
            session,
            now,
            provider,
            store,
            invariants,
            calls: Vec::new(),
            delivered: Vec::new(),
        })
    }

    /// The daemon at its start, with the stored record only.
    fn restored(mut provider: Provider, store: Store, now: Timestamp) -> Result<Self, String> {
        let Some(durable) = &store.durable else {
            // The first sign-in was never saved: the user has to sign in again.
            let grant = provider.sign_in(Mode::ChatGpt, HOUR, now);
            return Self::signed_in(grant, provider, store, now);
        };
        let read = Record::from_text(&durable.to_text()).map_err(|error| error.to_string())?;
        let session = Session::restored(read, 8, now);
        let invariants = Invariants::new(&session, &store, false, now);
        Self::started(Self {
            session,
            now,
            provider,
            store,
            invariants,
            calls: Vec::new(),
            delivered: Vec::new(),
        })
    }

    fn started(mut self) -> Result<Self, String> {
        self.apply(Event::Ticked)?;
        Ok(self)
    }

    /// Whether the step has an effect, for example a call to deliver.
    pub(crate) fn is_possible(&self, step: Step) -> bool {
        match step {
            Step::Execute(n, _) => self.calls.get(n).is_some_and(|call| call.result.is_none()),
            Step::Deliver(n, _) => n < self.calls.len(),
            Step::Replay(_) => !self.delivered.is_empty(),
            Step::WaitUntilDue => self.session.next_wakeup(self.now).is_some(),
            _ => true,
        }
    }

    /// The full state as text. `Debug` hides the secrets, so they are added.
    pub(crate) fn fingerprint(&self) -> String {
        let calls = self.calls.iter().map(|call| (call.ticket, call.result.is_some())).collect::<Vec<_>>();
        let first = self.delivered.first().map(|(ticket, _)| ticket);
        let Self { session, now, provider, store, invariants, .. } = self;
        let secrets = [Some(session.record()), store.durable.as_ref()].map(|record| {
            record.map(|record| {
                (bearer_of(record), refresh_token_of(record), id_token_of(record), &record.journal)
            })
        });
        format!("{now} {session:?} {calls:?} {first:?} {secrets:?} {provider:?} {invariants:?}")
    }

    /// Executes one step and checks every invariant.
    pub(crate) fn step(&mut self, step: Step) -> CheckResult {
        if !matches!(step, Step::Deliver(..) | Step::Execute(..)) {
            self.invariants.restart_chain();
        }
        match step {
            Step::Wait(span) => self.wait(span),
            Step::WaitUntilDue => match self.session.next_wakeup(self.now) {
                Some(due) => {
                    self.now = due;
                    self.apply(Event::Ticked)
                }
                None => Ok(()),
            },
            Step::Sleep(span) => {
                self.now = later(self.now, span);
                self.invariants.resumed();
                self.apply(Event::Resumed)
            }
            Step::Use => self.apply(Event::Used(self.now)),
            Step::RequestCredential(span) => {
                self.invariants.credential_requested(span, &self.session, self.now);
                self.apply(Event::CredentialRequested(span))?;
                self.invariants.check_waiting_client(&self.session, self.now)
            }
            Step::RequestRefresh(rejected) => {
                let served = self.session.credential();
                let rejection = |generation, grant_id: &str| {
                    Some(authd_oauth::Rejected { generation, grant_id: Some(grant_id.into()) })
                };
                let rejected = match rejected {
                    RejectedKind::Nothing => None,
                    RejectedKind::Served => rejection(served.generation, &served.grant_id),
                    RejectedKind::Stale => rejection(served.generation.wrapping_sub(1), &served.grant_id),
                    RejectedKind::OtherGrant => rejection(self.session.record().generation, "another"),
                };
                self.invariants.refresh_requested(rejected.as_ref(), &self.session, self.now);
                self.apply(Event::RefreshRequested(rejected))
            }
            Step::ReportMissingScope(scope, of) => {
                let present = &self.session.record().grant_id;
                let grant_id = if of == RejectedKind::OtherGrant { "another" } else { present };
                let event = Event::ScopesMissing(Some(grant_id.into()), vec![scope.to_owned()]);
                if of != RejectedKind::OtherGrant {
                    self.invariants.scope_missing(scope, &self.session);
                }
                self.apply(event)
            }
            Step::Execute(n, outcome) => {
                if n < self.calls.len() {
                    self.execute(n, outcome);
                }
                Ok(())
            }
            Step::Deliver(n, outcome) if n < self.calls.len() => self.deliver(n, outcome),
            Step::Deliver(..) => Ok(()),
            Step::Replay(n) => match self.delivered.len() {
                0 => Ok(()),
                length => {
                    let (ticket, result) = self.delivered[n % length].clone();
                    self.deliver_result(ticket, result)
                }
            },
            Step::SetDefaultRank => {
                self.annotate(Annotation::DefaultRank(self.session.record().default_rank + 1))
            }
            Step::SetIntent(begins) => {
                let intent = begins.then(|| Intent::RenameTo { name: "other".to_owned() });
                self.annotate(Annotation::Intent(intent))
            }
            Step::SetClock(seconds) => self.set_clock(SignedDuration::from_secs(seconds)),
            Step::StoreReady => {
                self.invariants.store_ready(self.now);
                self.apply(Event::StoreReady)?;
                self.invariants.check_store_retry(&self.session, self.now)
            }
            Step::SignIn(mode, lifetime) => {
                let grant = self.provider.sign_in(mode, lifetime, self.now);
                self.invariants.signed_in(&grant, self.now);
                let grant_id = format!("grant-{}", self.session.record().generation);
                self.apply(Event::SignedIn(Box::new(grant), grant_id.into()))
            }
            Step::Revoke => {
                self.provider.revoke(refresh_token_of(self.session.record()));
                Ok(())
            }
            Step::Crash(pause) => self.crash(later(self.now, pause)),
            Step::CrashAndSetClock(seconds) => {
                self.crash(shifted(self.now, SignedDuration::from_secs(seconds)))
            }
            Step::Stop => {
                self.invariants.stopping();
                self.apply(Event::Stopping)
            }
        }
    }

    fn wait(&mut self, span: Duration) -> CheckResult {
        self.now = later(self.now, span);
        self.apply(Event::Ticked)
    }

    fn annotate(&mut self, annotation: Annotation) -> CheckResult {
        self.invariants.annotated(&annotation);
        self.apply(Event::Annotated(annotation))
    }

    /// Sets the clock. The remaining lifetime and the time until the next refresh must not change.
    fn set_clock(&mut self, by: SignedDuration) -> CheckResult {
        let left = |session: &Session, now: Timestamp| {
            (session.credential().remaining(now), session.refresh_at().map(|due| due.duration_since(now)))
        };
        let before = left(&self.session, self.now);
        self.now = shifted(self.now, by);
        self.invariants.clock_set(by);
        self.apply(Event::ClockSet(by))?;
        let after = left(&self.session, self.now);
        if before == after { Ok(()) } else { Err(format!("{before:?} was left before, and {after:?} after")) }
    }

    /// Restarts the daemon. Calls in flight and unsaved state are lost.
    fn crash(&mut self, now: Timestamp) -> CheckResult {
        let (provider, store) = (std::mem::take(&mut self.provider), std::mem::take(&mut self.store));
        let lapses = std::mem::take(&mut self.invariants.lapses);
        *self = Self::restored(provider, store, now)?;
        self.invariants.lapses = lapses;
        Ok(())
    }

    /// From now on every call succeeds. A live grant must become ready, and a dead one must end,
    /// within the time that the back-off allows.
    pub(crate) fn recover(&mut self) -> CheckResult {
        // Finish the calls in flight first: a request during a refresh is satisfied by it.
        while !self.calls.is_empty() {
            self.deliver(0, Outcome::Success(HOUR))?;
        }
        // Finish an open move: it forbids spending the refresh token.
        if self.session.has_open_move() {
            self.step(Step::SetIntent(false))?;
            while !self.calls.is_empty() {
                self.deliver(0, Outcome::Success(HOUR))?;
            }
        }
        let before = refresh_token_of(self.session.record()).to_owned();
        let is_alive = self.invariants.may_renew() && self.provider.accepts(&before);
        let began = self.now;
        self.step(Step::RequestRefresh(RejectedKind::Nothing))?;
        for _ in 0..RECOVERY_STEPS {
            self.invariants.restart_chain();
            if !self.calls.is_empty() {
                self.deliver(0, Outcome::Success(HOUR))?;
            } else if self.is_finished(&before) {
                return self.check_recovered(is_alive, began);
            } else if self.session.next_wakeup(self.now).is_some() {
                self.step(Step::WaitUntilDue)?;
            } else {
                // Only an upstream can show that a token of unknown lifetime is dead.
                self.step(Step::Wait(REJECTION_PAUSE))?;
                self.step(Step::RequestRefresh(RejectedKind::Served))?;
            }
        }
        Err(format!("no progress: {:?} at {}", self.session, self.now))
    }

    /// Recovers, restarts, and recovers again: a restart must lose nothing.
    pub(crate) fn recover_across_a_crash(&mut self) -> CheckResult {
        self.recover()?;
        self.crash(self.now)?;
        self.recover()
    }

    fn is_finished(&self, before: &str) -> bool {
        let record = self.session.record();
        let renewed = refresh_token_of(record) != before && record.journal.is_none();
        self.session.is_settled() && (renewed || !self.invariants.may_renew())
    }

    fn check_recovered(&self, is_alive: bool, began: Timestamp) -> CheckResult {
        let status = self.session.status(self.now);
        let record = self.session.record();
        let [_, missing_scopes] = scopes_of(record);
        let expected =
            if missing_scopes.is_empty() { ProfileStatus::Ready } else { ProfileStatus::LoginRequired };
        match record.ended {
            Some(_) if is_alive => Err("a live grant has ended".to_owned()),
            None if is_alive && status != expected => Err(format!("{status:?} after a recovery")),
            None if !is_alive && self.invariants.may_renew() => Err("a dead grant has not ended".to_owned()),
            _ if is_alive && self.now > later(began, RECOVERY) => {
                Err("the recovery took too long".to_owned())
            }
            _ if is_alive && !self.provider.accepts(refresh_token_of(record)) => {
                Err("the newest refresh token is lost".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Applies an event, checks the invariants, and begins the effect.
    fn apply(&mut self, event: Event) -> CheckResult {
        let time_passed = matches!(event, Event::Ticked);
        let effect = self.session.apply(event, self.now);
        let observed = Observed { session: &self.session, store: &self.store, now: self.now };
        self.invariants.check(&effect, time_passed, &observed)?;
        let (ticket, kind) = match effect {
            Effect::Wait => return Ok(()),
            Effect::Probe(ticket) => (ticket, CallKind::Probe),
            Effect::Save(ticket, record) => (ticket, CallKind::Save(record)),
            Effect::Refresh(ticket, token) => (ticket, CallKind::Refresh(token)),
            Effect::Exchange(ticket, _) => (ticket, CallKind::Exchange),
            Effect::Claim(..) | Effect::Write(..) => return Err(format!("unexpected: {effect:?}")),
        };
        self.calls.push(PendingCall { ticket, kind, result: None });
        Ok(())
    }

    fn deliver(&mut self, n: usize, outcome: Outcome) -> CheckResult {
        while self.calls[n].result.is_none() {
            self.execute(n, outcome);
        }
        let PendingCall { ticket, result, .. } = self.calls.remove(n);
        self.deliver_result(ticket, result.expect("the call was executed"))
    }

    fn deliver_result(&mut self, ticket: u64, result: CallResult) -> CheckResult {
        self.invariants.record_result(ticket, &result, &self.session, self.now);
        self.delivered.push((ticket, result.clone()));
        self.apply(match result {
            CallResult::Probed(reached) => Event::Probed(ticket, reached),
            CallResult::Saved(result) => Event::Saved(ticket, result),
            CallResult::Refreshed(result) => Event::Refreshed(ticket, result.map(|renewal| renewal.response)),
            CallResult::Exchanged(result) => Event::Exchanged(ticket, result),
        })
    }

    /// Executes a call. The store executes its calls in order.
    fn execute(&mut self, n: usize, outcome: Outcome) {
        let first_save = |call: &PendingCall| matches!(call.kind, CallKind::Save(_)) && call.result.is_none();
        let n = match self.calls[n].kind {
            CallKind::Save(_) => self.calls.iter().position(first_save).unwrap_or(n),
            _ => n,
        };
        if self.calls[n].result.is_some() {
            return;
        }
        let result = match &self.calls[n].kind {
            CallKind::Probe => {
                CallResult::Probed(!matches!(outcome, Outcome::NotSent | Outcome::RequestLost))
            }
            CallKind::Save(record) => CallResult::Saved(save(&mut self.store, record, outcome)),
            CallKind::Refresh(token) => CallResult::Refreshed(refresh(&mut self.provider, token, outcome)),
            CallKind::Exchange => CallResult::Exchanged(match outcome {
                Outcome::Success(_)
                | Outcome::SuccessWithoutLifetime
                | Outcome::SuccessWithoutRotation(_)
                | Outcome::NoAccessToken => Ok(self.provider.key()),
                Outcome::Rejected | Outcome::RejectedWrongly => Err(rejected_with("invalid_subject_token")),
                _ => Err(failure(outcome)),
            }),
        };
        self.calls[n].result = Some(result);
    }
}
