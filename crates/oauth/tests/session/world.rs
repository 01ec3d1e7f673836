//! The world around one session: it performs the session's effects, but not at once, not in order, and
//! not always well.

use std::time::Duration;

use authd_oauth::{
    Annotation, ApiKey, Effect, Event, Grant, Intent, Mode, ProfileStatus, ProviderError, Record,
    RefreshToken, SaveError, Session,
    schedule::{earlier, later, shifted},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    luck::{failure, refresh, save},
    model::{Provider, Renewal, Store, bearer_of, id_token_of, refresh_token_of, refused},
    step::{Luck, Rejected, Step},
    watch::{Seen, Watch},
};

/// Whether all promises were kept; if not, which was broken.
pub(crate) type Kept = Result<(), String>;

/// How long after a failure a healthy world may need to be well again: the longest `Retry-After` that
/// is believed, and a little for what is done then.
const RECOVERY: Duration = Duration::from_secs(3_700);

/// More calls and pauses than any recovery needs: whoever needs more is in a dead end.
const PATIENCE: usize = 64;

const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) struct World {
    pub(crate) session: Session,
    pub(crate) now: Timestamp,
    pub(crate) provider: Provider,
    pub(crate) store: Store,
    pub(crate) watch: Watch,
    /// Begun, and not reported yet; the oldest first.
    calls: Vec<Call>,
    /// What was reported, to be reported again.
    past: Vec<(u64, Report)>,
}

struct Call {
    ticket: u64,
    what: What,
    result: Option<Report>,
}

enum What {
    Probe,
    Save(Box<Record>),
    Refresh(RefreshToken),
    Exchange,
}

/// How a call ended.
#[derive(Clone)]
pub(crate) enum Report {
    Probed(bool),
    Saved(Result<(), SaveError>),
    Refreshed(Result<Renewal, ProviderError>),
    Exchanged(Result<ApiKey, ProviderError>),
}

/// How a world begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Beginning {
    SignedIn(Mode),
    /// With a saved record whose tokens have this long to live.
    Restored(Mode, Duration),
    /// After a crash in the middle of a refresh.
    Journalled(Mode),
}

impl Beginning {
    /// The beginning that a number means.
    pub(crate) fn of(n: u8) -> Self {
        match n % 8 {
            0 => Self::SignedIn(Mode::ChatGpt),
            1..=2 => Self::Restored(Mode::ChatGpt, HOUR),
            3 => Self::Restored(Mode::ChatGpt, Duration::ZERO),
            4 => Self::Journalled(Mode::ChatGpt),
            5 => Self::SignedIn(Mode::ApiKey),
            6 => Self::Restored(Mode::ApiKey, HOUR),
            _ => Self::Journalled(Mode::ApiKey),
        }
    }
}

impl World {
    pub(crate) fn new(beginning: Beginning) -> Result<Self, String> {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let (mut provider, mut store) = (Provider::default(), Store::default());
        let restored = match beginning {
            Beginning::SignedIn(mode) => {
                return Self::signed_in(provider.sign_in(mode, HOUR, now), provider, store, now);
            }
            Beginning::Restored(mode, left) => {
                let issued_at = earlier(now, HOUR.saturating_sub(left));
                let grant = provider.sign_in(mode, HOUR, issued_at);
                Record::new(grant, "grant".into(), 3)
            }
            Beginning::Journalled(mode) => {
                let grant = provider.sign_in(mode, HOUR, now);
                Record { journal: Some(now), ..Record::new(grant, "grant".into(), 3) }
            }
        };
        store.write(restored);
        Self::restored(provider, store, now)
    }

    fn signed_in(grant: Grant, provider: Provider, store: Store, now: Timestamp) -> Result<Self, String> {
        let session = Session::signed_in(Record::new(grant, "grant".into(), 1), 7, now);
        let watch = Watch::over(&session, &store, true, now);
        Self::begun(Self { session, now, provider, store, watch, calls: Vec::new(), past: Vec::new() })
    }

    /// The daemon as it starts, with nothing but what is durable.
    fn restored(mut provider: Provider, store: Store, now: Timestamp) -> Result<Self, String> {
        let Some(durable) = &store.durable else {
            // The first sign-in was never saved: its person has to begin anew.
            let grant = provider.sign_in(Mode::ChatGpt, HOUR, now);
            return Self::signed_in(grant, provider, store, now);
        };
        let read = Record::from_text(&durable.to_text()).map_err(|error| error.to_string())?;
        let session = Session::restored(read, 8, now);
        let watch = Watch::over(&session, &store, false, now);
        Self::begun(Self { session, now, provider, store, watch, calls: Vec::new(), past: Vec::new() })
    }

    fn begun(mut self) -> Result<Self, String> {
        self.tell(Event::Ticked)?;
        Ok(self)
    }

    /// Whether the step would change anything: there is a call to report, and the like.
    pub(crate) fn can(&self, step: Step) -> bool {
        match step {
            Step::Happen(n, _) => self.calls.get(n).is_some_and(|call| call.result.is_none()),
            Step::Report(n, _) => n < self.calls.len(),
            Step::Replay(_) => !self.past.is_empty(),
            Step::WaitUntilDue => self.session.next_wakeup(self.now).is_some(),
            _ => true,
        }
    }

    /// All that what happens next depends on, in words. Debug hides the secrets, so they are added.
    pub(crate) fn fingerprint(&self) -> String {
        let calls = self.calls.iter().map(|call| (call.ticket, call.result.is_some())).collect::<Vec<_>>();
        let first = self.past.first().map(|(ticket, _)| ticket);
        let Self { session, now, provider, store, watch, .. } = self;
        let held = [Some(session.record()), store.durable.as_ref()].map(|record| {
            record.map(|record| {
                (bearer_of(record), refresh_token_of(record), id_token_of(record), &record.journal)
            })
        });
        format!("{now} {session:?} {calls:?} {first:?} {held:?} {provider:?} {watch:?}")
    }

    /// Lets one thing happen, and checks every promise.
    pub(crate) fn step(&mut self, step: Step) -> Kept {
        if !matches!(step, Step::Report(..) | Step::Happen(..)) {
            self.watch.something_new();
        }
        match step {
            Step::Wait(span) => self.wait(span),
            Step::WaitUntilDue => match self.session.next_wakeup(self.now) {
                Some(due) => {
                    self.now = due;
                    self.tell(Event::Ticked)
                }
                None => Ok(()),
            },
            Step::Sleep(span) => {
                self.now = later(self.now, span);
                self.watch.woke();
                self.tell(Event::Woke)
            }
            Step::Use => self.tell(Event::Used(self.now)),
            Step::Want(span) => {
                self.watch.wanted(span, &self.session, self.now);
                self.tell(Event::Wanted(span))?;
                self.watch.somebody_waits(&self.session, self.now)
            }
            Step::Ask(rejected) => {
                let served = self.session.credential();
                let rejection = |generation, grant_id: &str| {
                    Some(authd_oauth::Rejected { generation, grant_id: Some(grant_id.into()) })
                };
                let rejected = match rejected {
                    Rejected::Nothing => None,
                    Rejected::Served => rejection(served.generation, &served.grant_id),
                    Rejected::Stale => rejection(served.generation.wrapping_sub(1), &served.grant_id),
                    Rejected::OtherGrant => rejection(self.session.record().generation, "another"),
                };
                self.watch.asked(rejected.as_ref(), &self.session, self.now);
                self.tell(Event::RefreshAsked(rejected))
            }
            Step::Happen(n, luck) => {
                if n < self.calls.len() {
                    self.happen(n, luck);
                }
                Ok(())
            }
            Step::Report(n, luck) if n < self.calls.len() => self.report(n, luck),
            Step::Report(..) => Ok(()),
            Step::Replay(n) => match self.past.len() {
                0 => Ok(()),
                length => {
                    let (ticket, report) = self.past[n % length].clone();
                    self.hear(ticket, report)
                }
            },
            Step::Mark => self.annotate(Annotation::DefaultRank(self.session.record().default_rank + 1)),
            Step::Intend(begins) => {
                let intent = begins.then(|| Intent::RenameTo { name: "other".to_owned() });
                self.annotate(Annotation::Intent(intent))
            }
            Step::SetClock(seconds) => self.set_clock(SignedDuration::from_secs(seconds)),
            Step::StoreReady => {
                self.watch.store_is_ready(self.now);
                self.tell(Event::StoreReady)?;
                self.watch.uses_the_store(&self.session, self.now)
            }
            Step::SignIn(mode, lifetime) => {
                let grant = self.provider.sign_in(mode, lifetime, self.now);
                self.watch.signed_in(&grant, self.now);
                let grant_id = format!("grant-{}", self.session.record().generation);
                self.tell(Event::SignedIn(Box::new(grant), grant_id.into()))
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
                self.watch.stopping();
                self.tell(Event::Stopping)
            }
        }
    }

    fn wait(&mut self, span: Duration) -> Kept {
        self.now = later(self.now, span);
        self.tell(Event::Ticked)
    }

    fn annotate(&mut self, annotation: Annotation) -> Kept {
        self.watch.annotated(&annotation);
        self.tell(Event::Annotated(annotation))
    }

    /// Whatever the clock says, what is served lives as long as it would have, and so does what is planned.
    fn set_clock(&mut self, by: SignedDuration) -> Kept {
        let left = |session: &Session, now: Timestamp| {
            (session.credential().lasts(now), session.refresh_at().map(|due| due.duration_since(now)))
        };
        let before = left(&self.session, self.now);
        self.now = shifted(self.now, by);
        self.watch.clock_set(by);
        self.tell(Event::ClockSet(by))?;
        let after = left(&self.session, self.now);
        if before == after { Ok(()) } else { Err(format!("{before:?} was left, and now it is {after:?}")) }
    }

    /// What was in flight is forgotten with everything else that is not durable.
    fn crash(&mut self, now: Timestamp) -> Kept {
        let (provider, store) = (std::mem::take(&mut self.provider), std::mem::take(&mut self.store));
        let lapses = std::mem::take(&mut self.watch.lapses);
        *self = Self::restored(provider, store, now)?;
        self.watch.lapses = lapses;
        Ok(())
    }

    /// From now on everything goes well: whatever was left of the grant must come to its best end, and
    /// within the time that the back-off allows.
    pub(crate) fn heal(&mut self) -> Kept {
        // What is out comes to its end first: an ask in the middle of it would be answered by it.
        while !self.calls.is_empty() {
            self.report(0, Luck::Answered(HOUR))?;
        }
        // A move that is open is finished: it keeps the refresh token as it is.
        if self.session.is_pinned() {
            self.step(Step::Intend(false))?;
            while !self.calls.is_empty() {
                self.report(0, Luck::Answered(HOUR))?;
            }
        }
        let before = refresh_token_of(self.session.record()).to_owned();
        let lives = self.watch.may_renew() && self.provider.accepts(&before);
        let began = self.now;
        self.step(Step::Ask(Rejected::Nothing))?;
        for _ in 0..PATIENCE {
            self.watch.something_new();
            if !self.calls.is_empty() {
                self.report(0, Luck::Answered(HOUR))?;
            } else if self.is_at_its_end(&before) {
                return self.is_well(lives, began);
            } else {
                self.step(Step::WaitUntilDue)?;
            }
        }
        Err(format!("a dead end: {:?} at {}", self.session, self.now))
    }

    /// Killed and started again, a session must get as far as one that was not.
    pub(crate) fn heal_across_a_crash(&mut self) -> Kept {
        self.heal()?;
        self.crash(self.now)?;
        self.heal()
    }

    fn is_at_its_end(&self, before: &str) -> bool {
        let record = self.session.record();
        let renewed = refresh_token_of(record) != before && record.journal.is_none();
        self.session.is_settled() && (renewed || !self.watch.may_renew())
    }

    fn is_well(&self, lives: bool, began: Timestamp) -> Kept {
        let status = self.session.status(self.now);
        let record = self.session.record();
        match record.ended {
            Some(_) if lives => Err("a live grant was ended".to_owned()),
            None if lives && status != ProfileStatus::Ready => Err(format!("{status:?} in a healthy world")),
            None if !lives && self.watch.may_renew() => Err("a dead grant was not ended".to_owned()),
            _ if lives && self.now > later(began, RECOVERY) => Err("it took too long".to_owned()),
            _ if lives && !self.provider.accepts(refresh_token_of(record)) => {
                Err("the newest refresh token is lost".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Tells the session, checks what it answers, and begins what it wants.
    fn tell(&mut self, event: Event) -> Kept {
        let time_passed = matches!(event, Event::Ticked);
        let effect = self.session.apply(event, self.now);
        let seen = Seen { session: &self.session, store: &self.store, now: self.now };
        self.watch.after(&effect, time_passed, &seen)?;
        let (ticket, what) = match effect {
            Effect::Rest => return Ok(()),
            Effect::Probe(ticket) => (ticket, What::Probe),
            Effect::Save(ticket, record) => (ticket, What::Save(record)),
            Effect::Refresh(ticket, token) => (ticket, What::Refresh(token)),
            Effect::Exchange(ticket, _) => (ticket, What::Exchange),
        };
        self.calls.push(Call { ticket, what, result: None });
        Ok(())
    }

    fn report(&mut self, n: usize, luck: Luck) -> Kept {
        while self.calls[n].result.is_none() {
            self.happen(n, luck);
        }
        let Call { ticket, result, .. } = self.calls.remove(n);
        self.hear(ticket, result.expect("it has happened"))
    }

    fn hear(&mut self, ticket: u64, report: Report) -> Kept {
        self.watch.hears(ticket, &report, &self.session, self.now);
        self.past.push((ticket, report.clone()));
        self.tell(match report {
            Report::Probed(reached) => Event::Probed(ticket, reached),
            Report::Saved(result) => Event::Saved(ticket, result),
            Report::Refreshed(result) => Event::Refreshed(ticket, result.map(|renewal| renewal.answer)),
            Report::Exchanged(result) => Event::Exchanged(ticket, result),
        })
    }

    /// Lets a call take effect. The store does one thing after the other, in the order it was told.
    fn happen(&mut self, n: usize, luck: Luck) {
        let first_save = |call: &Call| matches!(call.what, What::Save(_)) && call.result.is_none();
        let n = match self.calls[n].what {
            What::Save(_) => self.calls.iter().position(first_save).unwrap_or(n),
            _ => n,
        };
        if self.calls[n].result.is_some() {
            return;
        }
        let result = match &self.calls[n].what {
            What::Probe => Report::Probed(!matches!(luck, Luck::Unsent | Luck::RequestLost)),
            What::Save(record) => Report::Saved(save(&mut self.store, record, luck)),
            What::Refresh(token) => Report::Refreshed(refresh(&mut self.provider, token, luck)),
            What::Exchange => Report::Exchanged(match luck {
                Luck::Answered(_) | Luck::Kept(_) | Luck::OnlyRotated => Ok(self.provider.key()),
                Luck::Refused => Err(refused("invalid_subject_token")),
                _ => Err(failure(luck)),
            }),
        };
        self.calls[n].result = Some(result);
    }
}
