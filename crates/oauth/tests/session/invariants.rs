//! The invariants of a session, checked after every event. They keep their own, simpler state of
//! what was sent, received and saved, and use the public API of the session only.

use std::{collections::BTreeSet, time::Duration};

use authd_oauth::{
    Effect, Intent, Mode, PROBE_PAUSE, ProfileStatus, Record, Session,
    schedule::{self, later},
};
use jiff::Timestamp;

use crate::model::{Store, bearer_of, id_token_of, refresh_token_of, scopes_of, secret_of};

/// The error names the invariant that was violated.
pub(crate) type CheckResult = Result<(), String>;

/// The session's back-off: the shortest and the longest wait, both with jitter.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(1_800), Duration::from_secs(330));

/// The longest `Retry-After` that is honoured.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// In this time a refresh may be sent without a journal entry.
const LAST_MINUTE: Duration = Duration::from_secs(60);

/// The longest pause between two attempts to save a record.
const LONGEST_SAVE_PAUSE: Duration = Duration::from_secs(60);

/// A wake-up within this time is worth waiting for.
const SOON: Duration = Duration::from_secs(1);

/// Probe, journal, refresh, save, exchange, save: more calls at one time are a busy loop.
const LONGEST_CHAIN: u32 = 8;

/// The state that is checked.
pub(crate) struct Observed<'a> {
    pub(crate) session: &'a Session,
    pub(crate) store: &'a Store,
    pub(crate) now: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Invariants {
    /// The newest refresh token of the present grant.
    newest: String,
    /// The newest id token of the present grant; none in bearer mode.
    id_token: Option<String>,
    /// The scopes of the present grant, and those that a server has asked for since.
    scopes: [Vec<String>; 2],
    /// The provider refused the newest refresh token while the credential was valid.
    refused_early: bool,
    in_flight: Option<(u64, Operation)>,
    ended: bool,
    stopping: bool,
    /// The machine slept, or a request had no response, and no call has succeeded since.
    doubt: bool,
    /// The same, but only a probe that began after the sleep clears it.
    not_probed_since: bool,
    /// The probe in flight began before the sleep.
    old_probe: bool,
    /// The response to a refresh with this token was lost.
    response_lost: bool,
    /// Earliest time of the next call to the provider.
    not_before: Timestamp,
    /// Until this time a back-off explains that no credential is available.
    excused_until: Timestamp,
    /// Set while the pause is due to a journal entry that could not be saved.
    store_failed_at: Option<Timestamp>,
    /// The journal entry could not be saved in the last minute of the credential.
    journal_failed: bool,
    /// Credentials whose save failed.
    unsaved: BTreeSet<String>,
    /// The first credential, while its save is in flight: no other exists.
    first: Option<String>,
    /// When a key was exchanged, or a refresh answered a rejection. Another rejection causes no
    /// renewal in the pause that follows.
    paused_since: Option<Timestamp>,
    /// An upstream rejected the newest credential, and no renewal has succeeded since.
    rejected: bool,
    /// The record's default rank and intent.
    annotations: (u64, Option<Intent>),
    /// A renewal was requested.
    renewal_requested: bool,
    /// The generation and the credential that clients get.
    served: (u64, String),
    /// The time of the last check, and the wake-up that was due then.
    last_wakeup: Option<(Timestamp, Option<Timestamp>)>,
    chain: u32,
    /// Inefficiencies that violate no invariant.
    pub(crate) lapses: Vec<&'static str>,
}

#[derive(Debug)]
enum Operation {
    Probe,
    Save { bearer: String, journal: bool },
    Refresh,
    Exchange,
}

macro_rules! check {
    ($condition:expr, $($message:tt)+) => {
        if !$condition { return Err(format!($($message)+)); }
    };
}

// Declared in_memory because it uses the macro.
mod events;

impl Invariants {
    pub(crate) fn new(session: &Session, store: &Store, first: bool, now: Timestamp) -> Self {
        let record = session.record();
        let stored = store.durable.as_ref().filter(|_| !first);
        let from_the_future = stored.is_some_and(|stored| stored.grant.issued_at > later(now, LAST_MINUTE));
        let id_token = id_token_of(record).or(store.durable.as_ref().and_then(id_token_of));
        Self {
            newest: refresh_token_of(record).to_owned(),
            id_token: id_token.map(str::to_owned),
            scopes: scopes_of(record).map(<[_]>::to_vec),
            refused_early: false,
            in_flight: None,
            ended: record.ended.is_some(),
            stopping: false,
            doubt: false,
            not_probed_since: false,
            old_probe: false,
            response_lost: record
                .journal
                .or(record.ended.as_ref().and_then(|ended| ended.answer_lost_at))
                .is_some(),
            not_before: now,
            excused_until: now,
            store_failed_at: None,
            journal_failed: false,
            unsaved: BTreeSet::new(),
            first: first.then(|| bearer_of(record).to_owned()),
            paused_since: None,
            rejected: false,
            annotations: (record.default_rank, record.intent.clone()),
            renewal_requested: record.journal.is_some() || from_the_future,
            served: (record.generation, secret_of(&session.credential().bearer).to_owned()),
            last_wakeup: None,
            chain: 0,
            lapses: Vec::new(),
        }
    }

    /// Checks every invariant after an event.
    pub(crate) fn check(
        &mut self,
        effect: &Effect,
        time_passed: bool,
        observed: &Observed<'_>,
    ) -> CheckResult {
        if time_passed {
            self.check_wakeup(effect, observed.now)?;
        }
        self.check_effect(effect, observed)?;
        self.check_record(observed)?;
        self.check_credential(observed)?;
        self.check_next_wakeup(observed)
    }

    /// A wake-up has an effect, and time alone has none before it.
    fn check_wakeup(&self, effect: &Effect, now: Timestamp) -> CheckResult {
        let Some((made_at, wake)) = self.last_wakeup else { return Ok(()) };
        let rests = matches!(effect, Effect::Wait);
        match wake {
            None => check!(rests, "an effect without a wake-up"),
            Some(wake) if now >= wake => check!(!rests, "a wake-up without an effect"),
            // The shortest pause may delay a wake-up beyond its due time.
            Some(wake) if wake > later(made_at, PROBE_PAUSE) => check!(rests, "an effect before the wake-up"),
            Some(_) => {}
        }
        Ok(())
    }

    fn check_effect(&mut self, effect: &Effect, observed: &Observed<'_>) -> CheckResult {
        let (ticket, operation) = match effect {
            Effect::Wait => return Ok(()),
            Effect::Claim(..) | Effect::Write(..) => return Err("an effect of a fleet".to_owned()),
            Effect::Probe(ticket) => (*ticket, Operation::Probe),
            Effect::Save(ticket, record) => {
                check!(refresh_token_of(record) == self.newest, "an old refresh token is saved");
                check!(record.ended.is_some() == self.ended, "the grant's end is not saved");
                let bearer = bearer_of(record).to_owned();
                (*ticket, Operation::Save { bearer, journal: observed.session.flags().renewing })
            }
            Effect::Refresh(ticket, token) => {
                self.check_send(observed)?;
                check!(token.expose() == self.newest, "an old refresh token is sent");
                let journalled = observed.store.durable.as_ref().is_some_and(|durable| {
                    durable.journal.is_some() && refresh_token_of(durable) == self.newest
                });
                check!(journalled || self.journal_failed, "sent before it was journalled");
                let due = observed.session.refresh_at().is_some_and(|due| due <= observed.now);
                check!(self.renewal_requested || due, "a refresh without a reason");
                let is_valid = observed.session.credential().remaining(observed.now) > Duration::ZERO;
                let in_vain = self.refused_early && is_valid && !self.renewal_requested;
                check!(!in_vain, "a refused token is sent again while the credential is valid");
                let issued_at = observed.session.record().grant.issued_at;
                let is_requested = self.renewal_requested || self.refused_early;
                if !is_requested && observed.now < later(issued_at, schedule::FLOOR) {
                    self.lapses.push("an unnecessary refresh");
                }
                (*ticket, Operation::Refresh)
            }
            Effect::Exchange(ticket, id_token) => {
                self.check_send(observed)?;
                let record = observed.session.record();
                check!(record.grant.secrets.mode() == Mode::ApiKey, "an exchange in ChatGPT mode");
                check!(Some(id_token.expose()) == self.id_token.as_deref(), "an old id token is exchanged");
                check!(!self.is_paused(observed.now), "two exchanges within five minutes");
                (*ticket, Operation::Exchange)
            }
        };
        check!(self.in_flight.is_none(), "two calls at once");
        self.chain += 1;
        check!(self.chain <= LONGEST_CHAIN, "a busy loop");
        if matches!(operation, Operation::Probe) {
            self.old_probe = false;
        }
        self.in_flight = Some((ticket, operation));
        Ok(())
    }

    fn check_send(&mut self, observed: &Observed<'_>) -> CheckResult {
        check!(!self.ended, "sent after a permanent rejection");
        check!(!self.stopping, "sent while stopping");
        check!(!self.doubt, "sent while the network is in doubt");
        check!(observed.now >= self.not_before, "sent during the pause");
        if self.not_probed_since {
            self.lapses.push("a probe from before the sleep ended the doubt");
        }
        Ok(())
    }

    fn check_record(&self, observed: &Observed<'_>) -> CheckResult {
        let record = observed.session.record();
        check!(refresh_token_of(record) == self.newest, "the newest refresh token is lost");
        check!(record.ended.is_some() == self.ended, "ended: {:?}", record.ended);
        if let Some(ended) = &record.ended {
            check!(
                ended.answer_lost_at.is_some() == self.response_lost,
                "response lost: {}, and {ended:?}",
                self.response_lost
            );
        }
        let annotations = |record: &Record| (record.default_rank, record.intent.clone());
        check!(annotations(record) == self.annotations, "an annotation is lost");
        let (in_memory, stored) =
            (id_token_of(record), observed.store.durable.as_ref().and_then(id_token_of));
        let is_bearer = record.grant.secrets.mode() == Mode::Bearer;
        let stored = stored.filter(|_| !is_bearer);
        check!(in_memory.or(stored) == self.id_token.as_deref(), "the newest id token is lost");
        let [granted, missing] = &self.scopes;
        check!(scopes_of(record) == [granted, missing], "the scopes are {:?}", scopes_of(record));
        if observed.session.is_settled() {
            check!(
                record.grant.secrets.mode() == Mode::ApiKey || in_memory.is_none(),
                "the id token is in memory without need"
            );
            check!(self.in_flight.is_none(), "settled with a call in flight");
            let durable = observed.store.durable.as_ref();
            let saved = durable.is_some_and(|durable| {
                refresh_token_of(durable) == self.newest
                    && id_token_of(durable) == self.id_token.as_deref()
                    && scopes_of(durable) == [granted, missing]
                    && bearer_of(durable) == bearer_of(record)
                    && (&durable.ended, durable.grant.issued_at) == (&record.ended, record.grant.issued_at)
                    && annotations(durable) == self.annotations
            });
            check!(saved, "settled but not saved");
        }
        Ok(())
    }

    fn check_credential(&mut self, observed: &Observed<'_>) -> CheckResult {
        let (credential, flags) = (observed.session.credential(), observed.session.flags());
        let served = secret_of(&credential.bearer);
        let newest = bearer_of(observed.session.record());
        let saving = match &self.in_flight {
            Some((_, Operation::Save { bearer, .. })) => Some(bearer.as_str()),
            _ => None,
        };
        check!(served == newest || saving == Some(newest), "the newest credential is not served");
        let first = self.first.as_deref() == Some(served);
        let saved = observed.store.ever_held(served);
        check!(saved || first || self.unsaved.contains(served), "served before it was saved");
        let newer_is_being_saved = saving.is_some_and(|saving| saving != served || first);
        // A repeated save does not make the credential a saved one.
        let is_repeated = saving == Some(served);
        check!(saved || newer_is_being_saved || is_repeated || flags.unsaved, "unsaved without the flag");
        if !saved && !newer_is_being_saved && !flags.unsaved {
            self.lapses.push("an unsaved credential without the flag");
        }
        let (generation, same) = (credential.generation, served == self.served.1);
        check!(generation >= self.served.0, "an older credential is served again");
        check!(generation > self.served.0 || same, "two credentials of one generation");
        if !same {
            self.served = (generation, served.to_owned());
        }
        let status = observed.session.status(observed.now);
        let is_usable =
            matches!(status, ProfileStatus::Ready | ProfileStatus::Refreshing | ProfileStatus::Unsaved);
        let lacks_scopes = !self.scopes[1].is_empty();
        let valid = credential.remaining(observed.now) > Duration::ZERO && !flags.spent && !lacks_scopes;
        check!(is_usable == valid, "valid is {valid}, and the status is {status:?}");
        if credential.bearer.mode() == Mode::Bearer
            && credential.grant_id == observed.session.record().grant_id
        {
            check!(flags.spent == self.ended, "spent: {}", flags.spent);
            let authority = credential.authority.as_deref();
            let missing = authority.map(|authority| &authority.missing_scopes);
            check!(missing == Some(&self.scopes[1]), "readers see {missing:?}");
        }
        Ok(())
    }

    fn check_next_wakeup(&mut self, observed: &Observed<'_>) -> CheckResult {
        let Observed { session, now, .. } = *observed;
        let wake = session.next_wakeup(now);
        check!(wake.is_none_or(|wake| wake >= later(now, PROBE_PAUSE)), "a wake-up at {wake:?}");
        check!(self.in_flight.is_none() || wake.is_none(), "a wake-up while a call is in flight");
        let longest = if self.stopping { PROBE_PAUSE } else { LONGEST_SAVE_PAUSE };
        let saves = self.in_flight.is_some() || wake.is_some_and(|wake| wake <= later(now, longest));
        check!(saves || session.is_durable(), "not saved, and no attempt is due");
        let soon = self.in_flight.is_some() || wake.is_some_and(|wake| wake <= later(now, SOON));
        check!(session.is_pending(now) == soon, "pending is {}", session.is_pending(now));
        self.last_wakeup = Some((now, wake));
        Ok(())
    }
}
