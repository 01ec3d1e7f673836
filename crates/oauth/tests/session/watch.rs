//! The promises of a session, checked after every event against what the world knows: a second, simpler
//! memory of what was sent, heard and saved. It uses nothing of the session but its public face.

use std::{collections::BTreeSet, time::Duration};

use authd_oauth::{
    Effect, Intent, Mode, PROBE_PAUSE, ProfileStatus, Record, Session,
    schedule::{self, later},
};
use jiff::Timestamp;

use crate::{
    model::{Store, bearer_of, id_token_of, refresh_token_of, secret_of},
    world::Kept,
};

/// The session's own back-off: the shortest first wait, and the longest wait, both with their jitter.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(1_800), Duration::from_secs(330));

/// The longest `Retry-After` that is believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// The documented exception to "journal before send".
const LAST_MINUTE: Duration = Duration::from_secs(60);

/// The longest pause between two tries to save a record.
const LONGEST_SAVE_PAUSE: Duration = Duration::from_secs(60);

/// How soon a wake-up has to be to be worth waiting for.
const SOON: Duration = Duration::from_secs(1);

/// Probe, journal, refresh, save, exchange, save: more calls than that in one instant are a hot loop.
const LONGEST_CHAIN: u32 = 8;

/// What the check looks at.
pub(crate) struct Seen<'a> {
    pub(crate) session: &'a Session,
    pub(crate) store: &'a Store,
    pub(crate) now: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Watch {
    /// The newest refresh token that was received for the grant of now.
    newest: String,
    /// The newest id token that was received for it.
    id_token: String,
    in_flight: Option<(u64, Doing)>,
    ended: bool,
    stopping: bool,
    /// The machine slept, or a request went unanswered, and nothing has been heard of the network since.
    doubt: bool,
    /// The same, but for that only a probe that began after the sleep counts.
    unproven: bool,
    /// The probe in flight is older than the sleep.
    old_probe: bool,
    /// The answer to a refresh of this token was lost.
    lost: bool,
    /// Nothing is sent before this.
    not_before: Timestamp,
    /// A back-off may be a reason to have nothing until this.
    excused_until: Timestamp,
    /// The pause is for a journal entry that the store did not take at this time.
    store_failed_at: Option<Timestamp>,
    /// The journal could not be written in the last minute of the credential.
    journal_failed: bool,
    /// Credentials that the store was asked to save, and did not.
    failed: BTreeSet<String>,
    /// The very first credential, while its save is in flight: there is no other to serve.
    first: Option<String>,
    /// A key was exchanged, or a refresh answered a rejection: a rejection of what it brought is no reason for
    /// another renewal.
    exchanged_at: Option<Timestamp>,
    /// An upstream refused the newest credential, and no renewal has answered that yet.
    rejected: bool,
    /// What the record says beside its grant.
    annotated: (u64, Option<Intent>),
    /// Somebody has a reason to want newer tokens than the newest.
    wanted: bool,
    /// The generation that is served, and its credential.
    served: (u64, String),
    /// When it was last looked at, and when it wanted to be woken.
    promise: Option<(Timestamp, Option<Timestamp>)>,
    chain: u32,
    /// Not dangerous, but not as it should be.
    pub(crate) lapses: Vec<&'static str>,
}

#[derive(Debug)]
enum Doing {
    Probe,
    Save { bearer: String, journal: bool },
    Refresh,
    Exchange,
}

macro_rules! promise {
    ($kept:expr, $($told:tt)+) => {
        if !$kept { return Err(format!($($told)+)); }
    };
}

// It sees the macro.
mod events;

impl Watch {
    pub(crate) fn over(session: &Session, store: &Store, first: bool, now: Timestamp) -> Self {
        let record = session.record();
        let at_rest = store.durable.as_ref().filter(|_| !first);
        let from_the_future =
            at_rest.is_some_and(|at_rest| at_rest.grant.issued_at > later(now, LAST_MINUTE));
        let id_token = id_token_of(record).or(store.durable.as_ref().and_then(id_token_of));
        Self {
            newest: refresh_token_of(record).to_owned(),
            id_token: id_token.expect("every grant of this world has one").to_owned(),
            in_flight: None,
            ended: record.ended.is_some(),
            stopping: false,
            doubt: false,
            unproven: false,
            old_probe: false,
            lost: record.journal.or(record.ended.as_ref().and_then(|ended| ended.answer_lost_at)).is_some(),
            not_before: now,
            excused_until: now,
            store_failed_at: None,
            journal_failed: false,
            failed: BTreeSet::new(),
            first: first.then(|| bearer_of(record).to_owned()),
            exchanged_at: None,
            rejected: false,
            annotated: (record.default_rank, record.intent.clone()),
            wanted: record.journal.is_some() || from_the_future,
            served: (record.generation, secret_of(&session.credential().bearer).to_owned()),
            promise: None,
            chain: 0,
            lapses: Vec::new(),
        }
    }

    /// Every promise, after an event was applied.
    pub(crate) fn after(&mut self, effect: &Effect, time_passed: bool, seen: &Seen<'_>) -> Kept {
        if time_passed {
            self.woke_when_promised(effect, seen.now)?;
        }
        self.begins(effect, seen)?;
        self.knows_the_newest(seen)?;
        self.serves_the_best(seen)?;
        self.sleeps_well(seen)
    }

    /// A wake-up that was asked for is for something, and between two of them there is nothing to do.
    fn woke_when_promised(&self, effect: &Effect, now: Timestamp) -> Kept {
        let Some((made_at, wake)) = self.promise else { return Ok(()) };
        let rests = matches!(effect, Effect::Rest);
        match wake {
            None => promise!(rests, "something is done that no wake-up was wanted for"),
            Some(wake) if now >= wake => promise!(!rests, "a wake-up for nothing"),
            // At the floor, the true time may be earlier than the wake-up.
            Some(wake) if wake > later(made_at, PROBE_PAUSE) => promise!(rests, "done before its time"),
            Some(_) => {}
        }
        Ok(())
    }

    fn begins(&mut self, effect: &Effect, seen: &Seen<'_>) -> Kept {
        let (ticket, doing) = match effect {
            Effect::Rest => return Ok(()),
            Effect::Probe(ticket) => (*ticket, Doing::Probe),
            Effect::Save(ticket, record) => {
                promise!(refresh_token_of(record) == self.newest, "an old refresh token is saved");
                promise!(record.ended.is_some() == self.ended, "the end is not saved");
                let bearer = bearer_of(record).to_owned();
                (*ticket, Doing::Save { bearer, journal: seen.session.flags().renewing })
            }
            Effect::Refresh(ticket, token) => {
                self.may_send(seen)?;
                promise!(token.expose() == self.newest, "an old refresh token is sent");
                let journalled = seen.store.durable.as_ref().is_some_and(|durable| {
                    durable.journal.is_some() && refresh_token_of(durable) == self.newest
                });
                promise!(journalled || self.journal_failed, "sent before it was journalled");
                let due = seen.session.refresh_at().is_some_and(|due| due <= seen.now);
                promise!(self.wanted || due, "a refresh without a reason");
                let issued_at = seen.session.record().grant.issued_at;
                if !self.wanted && seen.now < later(issued_at, schedule::FLOOR) {
                    self.lapses.push("a refresh that nobody needs");
                }
                (*ticket, Doing::Refresh)
            }
            Effect::Exchange(ticket, id_token) => {
                self.may_send(seen)?;
                let record = seen.session.record();
                promise!(record.grant.secrets.mode() == Mode::ApiKey, "an exchange in ChatGPT mode");
                promise!(id_token.expose() == self.id_token, "an old id token is exchanged");
                promise!(!self.pauses(seen.now), "two exchanges within five minutes");
                (*ticket, Doing::Exchange)
            }
        };
        promise!(self.in_flight.is_none(), "two calls at once");
        self.chain += 1;
        promise!(self.chain <= LONGEST_CHAIN, "a hot loop");
        if matches!(doing, Doing::Probe) {
            self.old_probe = false;
        }
        self.in_flight = Some((ticket, doing));
        Ok(())
    }

    fn may_send(&mut self, seen: &Seen<'_>) -> Kept {
        promise!(!self.ended, "sent after a refusal for good");
        promise!(!self.stopping, "sent while stopping");
        promise!(!self.doubt, "sent into a network that is in doubt");
        promise!(seen.now >= self.not_before, "sent before the pause was over");
        if self.unproven {
            self.lapses.push("a probe from before the sleep was believed");
        }
        Ok(())
    }

    fn knows_the_newest(&self, seen: &Seen<'_>) -> Kept {
        let record = seen.session.record();
        promise!(refresh_token_of(record) == self.newest, "the newest refresh token is forgotten");
        promise!(record.ended.is_some() == self.ended, "ended: {:?}", record.ended);
        if let Some(ended) = &record.ended {
            promise!(ended.answer_lost_at.is_some() == self.lost, "lost: {}, and {ended:?}", self.lost);
        }
        let annotated = |record: &Record| (record.default_rank, record.intent.clone());
        promise!(annotated(record) == self.annotated, "an annotation is lost");
        let (here, at_rest) = (id_token_of(record), seen.store.durable.as_ref().and_then(id_token_of));
        promise!(here.or(at_rest) == Some(&self.id_token), "the newest id token is lost");
        if seen.session.is_settled() {
            promise!(record.grant.secrets.mode() == Mode::ApiKey || here.is_none(), "kept for nothing");
            promise!(self.in_flight.is_none(), "settled with a call in flight");
            let durable = seen.store.durable.as_ref();
            let saved = durable.is_some_and(|durable| {
                refresh_token_of(durable) == self.newest
                    && id_token_of(durable) == Some(&self.id_token)
                    && bearer_of(durable) == bearer_of(record)
                    && (&durable.ended, durable.grant.issued_at) == (&record.ended, record.grant.issued_at)
                    && annotated(durable) == self.annotated
            });
            promise!(saved, "settled, and not saved");
        }
        Ok(())
    }

    fn serves_the_best(&mut self, seen: &Seen<'_>) -> Kept {
        let (credential, flags) = (seen.session.credential(), seen.session.flags());
        let served = secret_of(&credential.bearer);
        let newest = bearer_of(seen.session.record());
        let saving = match &self.in_flight {
            Some((_, Doing::Save { bearer, .. })) => Some(bearer.as_str()),
            _ => None,
        };
        promise!(served == newest || saving == Some(newest), "the newest credential is withheld");
        let first = self.first.as_deref() == Some(served);
        let saved = seen.store.ever_held(served);
        promise!(saved || first || self.failed.contains(served), "served before it was saved");
        let newer_comes = saving.is_some_and(|saving| saving != served || first);
        // Saving again what could not be saved is no reason to call it saved.
        let again = saving == Some(served);
        promise!(saved || newer_comes || again || flags.unsaved, "not saved, and not told");
        if !saved && !newer_comes && !flags.unsaved {
            self.lapses.push("a credential that could not be saved is not called unsaved");
        }
        let (generation, same) = (credential.generation, served == self.served.1);
        promise!(generation >= self.served.0, "an older credential is served again");
        promise!(generation > self.served.0 || same, "two credentials of one generation");
        if !same {
            self.served = (generation, served.to_owned());
        }
        let status = seen.session.status(seen.now);
        let answers =
            matches!(status, ProfileStatus::Ready | ProfileStatus::Refreshing | ProfileStatus::Unsaved);
        let valid = credential.lasts(seen.now) > Duration::ZERO && !flags.spent;
        promise!(answers == valid, "a credential that is valid: {valid}, and it is {status:?}");
        Ok(())
    }

    fn sleeps_well(&mut self, seen: &Seen<'_>) -> Kept {
        let Seen { session, now, .. } = *seen;
        let wake = session.next_wakeup(now);
        promise!(wake.is_none_or(|wake| wake >= later(now, PROBE_PAUSE)), "a wake-up at {wake:?}");
        promise!(self.in_flight.is_none() || wake.is_none(), "a wake-up while a call is in flight");
        let longest = if self.stopping { PROBE_PAUSE } else { LONGEST_SAVE_PAUSE };
        let saves = self.in_flight.is_some() || wake.is_some_and(|wake| wake <= later(now, longest));
        promise!(saves || session.is_durable(), "not saved, and not tried again soon");
        let soon = self.in_flight.is_some() || wake.is_some_and(|wake| wake <= later(now, SOON));
        promise!(session.is_pending(now) == soon, "pending is {}", session.is_pending(now));
        self.promise = Some((now, wake));
        Ok(())
    }
}
