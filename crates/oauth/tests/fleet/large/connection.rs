//! A node's connection to the database, one call at a time, and the calls at the database and the
//! provider.

use std::collections::VecDeque;

use authd_oauth::{
    ClaimResult, Event, RefreshToken, SaveError, SharedRecord, WriteResult, schedule::lifetime,
};

use super::{
    Micros, SECOND,
    figures::Kind,
    micros,
    world::{Happening, Place, World, time},
};
use crate::{
    node::{CallKind, CallResult},
    provider::Request,
};

/// A round trip between a node and the database.
const ROUND_TRIP: Micros = 1_000;

/// The database wakes the listeners of a notification one after the other.
const NOTIFICATION: Micros = 40;

/// The time until a poll finds a change that a node could not load.
const POLL: Micros = 15 * SECOND;

/// The time limit of a call to the database.
const DEADLINE: Micros = 2 * SECOND;

/// A call of a node.
pub(super) struct Call {
    place: Place,
    work: Work,
    result: Option<Outcome>,
    /// The number of outages when the database executed it.
    outages: u32,
}

/// What a call does.
pub(super) enum Work {
    /// A call of the session with this ticket.
    Session(u64, CallKind),
    Release,
    Load,
}

/// The result of a call.
enum Outcome {
    Session(CallResult),
    Released,
    Loaded(SharedRecord),
    Failed,
}

/// A node's connections.
#[derive(Default)]
pub(super) struct Connection {
    /// The call in progress.
    current: Option<u64>,
    waiting: VecDeque<u64>,
    /// Sessions whose records have changed, and whether one of these is being loaded.
    pub(super) changed: VecDeque<Place>,
    pub(super) is_loading: bool,
    is_open: bool,
    pub(super) is_listening: bool,
    /// Whether the last call failed.
    pub(super) has_failed: bool,
}

impl Connection {
    /// The connections of a node that has started before.
    pub(super) fn established() -> Self {
        Self { is_open: true, is_listening: true, ..Self::default() }
    }

    /// The database is down.
    pub(super) fn lose(&mut self) {
        (self.is_open, self.is_listening) = (false, false);
    }
}

/// The database's state beside the records.
#[derive(Default)]
pub(super) struct DatabaseState {
    pub(super) is_down: bool,
    /// How often it was down.
    pub(super) outages: u32,
    /// When it has executed all statements that have arrived.
    free_at: Micros,
}

impl World<'_> {
    /// Begins a call to the database.
    pub(super) fn call(&mut self, place: Place, work: Work) {
        let number = self.new_call(place, work);
        if self.scenario.capacity.is_some() {
            self.schedule(self.now + DEADLINE, Happening::TimedOut(number));
        }
        self.connections[place.node].waiting.push_back(number);
        self.begin_next(place.node);
    }

    /// Sends a refresh token to the provider.
    pub(super) fn refresh(&mut self, place: Place, ticket: u64, token: RefreshToken) {
        let number = self.new_call(place, Work::Session(ticket, CallKind::Refresh(token)));
        self.schedule(self.now + micros(self.scenario.provider), Happening::Executed(number));
    }

    fn new_call(&mut self, place: Place, work: Work) -> u64 {
        self.last_call += 1;
        self.calls.insert(self.last_call, Call { place, work, result: None, outages: self.database.outages });
        self.last_call
    }

    /// Begins the next call of a node whose connection is free.
    fn begin_next(&mut self, node: usize) {
        let connection = &mut self.connections[node];
        if connection.current.is_some() {
            return;
        }
        while let Some(number) = connection.waiting.pop_front() {
            if self.calls.contains_key(&number) {
                connection.current = Some(number);
                let is_new = !std::mem::replace(&mut connection.is_open, true);
                let set_up = if is_new { ROUND_TRIP * Kind::Connect.round_trips() } else { 0 };
                if is_new && !self.database.is_down {
                    self.figures.count(Kind::Connect, self.now);
                }
                return self.schedule(self.now + set_up + ROUND_TRIP / 2, Happening::Arrived(number));
            }
        }
    }

    pub(super) fn arrived(&mut self, number: u64) -> Result<(), String> {
        let Some(call) = self.calls.get_mut(&number) else { return Ok(()) };
        if self.database.is_down {
            call.result = Some(Outcome::Failed);
            self.schedule(self.now + ROUND_TRIP / 2, Happening::Finished(number));
            return Ok(());
        }
        let Some(capacity) = self.scenario.capacity else { return self.executed(number) };
        let cost = expected(&call.work).statements() * SECOND / capacity;
        self.database.free_at = self.database.free_at.max(self.now) + cost;
        self.schedule(self.database.free_at, Happening::Executed(number));
        Ok(())
    }

    pub(super) fn executed(&mut self, number: u64) -> Result<(), String> {
        let Some(mut call) = self.calls.remove(&number) else { return Ok(()) };
        if let Work::Session(_, CallKind::Refresh(token)) = &call.work {
            call.result = Some(Outcome::Session(self.spend(call.place, token)?));
            self.schedule(self.now, Happening::Finished(number));
        } else if self.database.is_down {
            call.result = Some(Outcome::Failed);
            self.schedule(self.now + ROUND_TRIP / 2, Happening::Finished(number));
        } else {
            let (outcome, kind) = self.execute(call.place, &call.work);
            call.result = Some(outcome);
            self.figures.count(kind, self.now);
            let rest = ROUND_TRIP / 2 + (kind.round_trips() - 1) * ROUND_TRIP;
            self.schedule(self.now + rest, Happening::Finished(number));
        }
        call.outages = self.database.outages;
        self.calls.insert(number, call);
        Ok(())
    }

    pub(super) fn finished(&mut self, number: u64) -> Result<(), String> {
        let Some(call) = self.calls.remove(&number) else { return Ok(()) };
        let is_refresh = matches!(call.work, Work::Session(_, CallKind::Refresh(_)));
        if is_refresh {
            return self.deliver(call);
        }
        let node = call.place.node;
        let is_lost = call.outages != self.database.outages || self.database.is_down;
        self.connections[node].current = None;
        if is_lost || matches!(call.result, Some(Outcome::Failed) | None) {
            self.fail(call)?;
        } else {
            self.deliver(call)?;
            self.database_works(node)?;
        }
        self.begin_next(node);
        Ok(())
    }

    pub(super) fn timed_out(&mut self, number: u64) -> Result<(), String> {
        let Some(call) = self.calls.remove(&number) else { return Ok(()) };
        let node = call.place.node;
        let connection = &mut self.connections[node];
        if connection.current == Some(number) {
            (connection.current, connection.is_open) = (None, false);
        }
        self.fail(call)?;
        self.begin_next(node);
        Ok(())
    }

    /// A call failed. It may have had an effect.
    fn fail(&mut self, mut call: Call) -> Result<(), String> {
        self.figures.failed_calls += 1;
        let connection = &mut self.connections[call.place.node];
        connection.has_failed = true;
        call.result = Some(match &call.work {
            Work::Session(_, kind) => Outcome::Session(kind.failure(false)),
            Work::Release => Outcome::Released,
            Work::Load => Outcome::Failed,
        });
        self.deliver(call)
    }

    fn deliver(&mut self, call: Call) -> Result<(), String> {
        let Call { place, work, result, .. } = call;
        let event = match (work, result) {
            (Work::Session(ticket, _), Some(Outcome::Session(result))) => match result {
                CallResult::Probed(reached) => Event::Probed(ticket, reached),
                CallResult::Claimed(result) => {
                    self.claimed(place, &result);
                    Event::Claimed(ticket, result)
                }
                CallResult::Written(result) => Event::Written(ticket, result),
                CallResult::Refreshed(result) => Event::Refreshed(ticket, result),
            },
            (Work::Load, result) => {
                self.member(place).is_loading = false;
                self.connections[place.node].is_loading = false;
                self.load_next(place.node);
                let Some(Outcome::Loaded(stored)) = result else {
                    let revision = self.stored(place.grant).version.revision;
                    self.schedule(self.now + POLL, Happening::Notified(place, revision));
                    return Ok(());
                };
                Event::ChangedElsewhere(stored)
            }
            _ => return Ok(()),
        };
        self.apply(place, event)
    }

    /// Lets the process die if it is the first holder of the grant, and the scenario says so.
    fn claimed(&mut self, place: Place, result: &Result<ClaimResult, SaveError>) {
        let is_granted = matches!(result, Ok(ClaimResult::Granted(_)));
        if is_granted && self.scenario.holders_die && !self.grants[place.grant].lost_holder {
            self.grants[place.grant].lost_holder = true;
            self.member(place).is_dead = true;
        }
    }

    /// Executes a call at the database.
    fn execute(&mut self, place: Place, work: &Work) -> (Outcome, Kind) {
        let now = self.time();
        let holder = self.holders[place.node].clone();
        match work {
            Work::Session(_, CallKind::Claim(revision, rejected)) => {
                let database = &mut self.grants[place.grant].database;
                let result = database.claim(&holder, (*revision, *rejected), now, None);
                let is_granted = matches!(result, ClaimResult::Granted(_));
                let kind = if is_granted { Kind::ClaimGranted } else { Kind::ClaimRefused };
                (Outcome::Session(CallResult::Claimed(Ok(result))), kind)
            }
            Work::Session(_, CallKind::Write(record, write)) => {
                let expires_at = record.grant.secrets.tokens().and_then(|tokens| tokens.expires_at);
                let valid_for = expires_at.map(|at| lifetime(now, at));
                let database = &mut self.grants[place.grant].database;
                let result = database.write(&holder, (record, *write), valid_for, now, None);
                if let WriteResult::Done(version) = &result {
                    self.notify(place, version.revision);
                }
                (Outcome::Session(CallResult::Written(Ok(result))), Kind::Write)
            }
            Work::Session(..) => unreachable!("the provider executes it"),
            Work::Release => {
                self.grants[place.grant].database.release(&holder);
                (Outcome::Released, Kind::Release)
            }
            Work::Load => (Outcome::Loaded(self.stored(place.grant)), Kind::Load),
        }
    }

    /// Tells the other nodes that a grant has this revision.
    fn notify(&mut self, by: Place, revision: u64) {
        let mut at = self.now + ROUND_TRIP / 2;
        for node in 0..self.scenario.nodes {
            if self.connections[node].is_listening {
                at += NOTIFICATION;
                if node != by.node {
                    self.schedule(at, Happening::Notified(Place { node, ..by }, revision));
                }
            }
        }
    }

    /// Spends a refresh token at the provider.
    fn spend(&mut self, place: Place, token: &RefreshToken) -> Result<CallResult, String> {
        let member = self.member(place);
        let (claimed_at, rejected) = (time(member.claimed_at), member.rejected);
        let run = self.holders[place.node].run.clone();
        let grant = &mut self.grants[place.grant];
        // The token of a simulation is no secret.
        let text = token.expose();
        let is_first = grant.last_sent != text;
        self.figures.count_refresh(self.now, is_first);
        if !is_first {
            return Err(format!("{text} was sent twice"));
        }
        text.clone_into(&mut grant.last_sent);
        grant.issued_at = Some(self.now);
        let request = Request { token: token.clone(), run, claimed_at, rejected };
        let result = self.provider.spend(&request, time(self.now))?;
        match result {
            Ok(response) => Ok(CallResult::Refreshed(Ok(response))),
            Err(error) => Err(format!("{text} was rejected: {error}")),
        }
    }
}

/// The kind of a call before its result is known.
fn expected(work: &Work) -> Kind {
    match work {
        Work::Session(_, CallKind::Write(..)) => Kind::Write,
        Work::Session(..) => Kind::ClaimGranted,
        Work::Release => Kind::Release,
        Work::Load => Kind::Load,
    }
}
