//! The queue of events, and what a node does at each of them.

use std::{cmp::Reverse, collections::BinaryHeap, collections::HashMap, time::Duration};

use authd_oauth::{
    Effect, Event, ProviderError, Record, Session, SharedRecord,
    claim::{self, Holder, Write},
    schedule::{earlier, later, lifetime},
};
use jiff::{SignedDuration, Timestamp};

use super::{
    Figures, Micros, Scenario,
    connection::{Call, Connection, DatabaseState, Work},
    figures::Kind,
    micros,
};
use crate::{
    database::{Database, LEASE, TIMEOUT},
    node::CallKind,
    provider::Provider,
};

/// The start of every simulation, in seconds since 1970.
const START: i64 = 1_800_000_000;

/// The longest wait of a node before it connects again.
const LONGEST_RECONNECTION: Duration = Duration::from_secs(10);

/// The time until a node listens again if a call has succeeded.
const RECONNECTION: Micros = 125_000;

/// A session: the number of its node, and that of its grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) grant: usize,
}

/// What happens at a time. Numbers are those of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    Wake(Place),
    /// The request of a call arrives at the database.
    Arrived(u64),
    /// The database, or the provider, has executed a call.
    Executed(u64),
    /// The answer of a call arrives.
    Finished(u64),
    TimedOut(u64),
    /// A node is told that the grant has this revision.
    Notified(Place, u64),
    DatabaseDown,
    DatabaseUp,
    /// A node's listener is connected again.
    Listening(usize),
}

/// A grant, and what the database has of it.
pub(super) struct Grant {
    pub(super) database: Database,
    /// The stored record as nodes read it.
    pub(super) newest: SharedRecord,
    /// When the provider issued the newest access token; `None`: before the start.
    pub(super) issued_at: Option<Micros>,
    /// The refresh token that was sent last.
    pub(super) last_sent: String,
    /// Whether the process that claimed the grant first has died.
    pub(super) lost_holder: bool,
}

/// A node's session of a grant.
pub(super) struct Member {
    pub(super) session: Session,
    /// When the last claim was requested.
    pub(super) claimed_at: Micros,
    pub(super) rejected: bool,
    /// A load is planned or in progress.
    pub(super) is_loading: bool,
    /// The process has died: nothing happens to it any more.
    pub(super) is_dead: bool,
    /// The time of the wake-up that counts.
    wakeup: Option<Micros>,
    /// The generation that is served.
    generation: u64,
    expires_at: Timestamp,
}

pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) figures: &'a mut Figures,
    pub(super) now: Micros,
    /// The same as a time.
    time: Timestamp,
    queue: BinaryHeap<Reverse<(Micros, u64, Happening)>>,
    queued: u64,
    pub(super) provider: Provider,
    pub(super) database: DatabaseState,
    pub(super) grants: Vec<Grant>,
    /// The sessions: all of the first grant, all of the second one, …
    members: Vec<Member>,
    pub(super) holders: Vec<Holder>,
    pub(super) connections: Vec<Connection>,
    pub(super) calls: HashMap<u64, Call>,
    pub(super) last_call: u64,
}

impl<'a> World<'a> {
    /// The world of these grants, from the number of the first one on.
    pub(super) fn new(scenario: &'a Scenario, first: usize, count: usize, figures: &'a mut Figures) -> Self {
        let mut world = Self {
            scenario,
            figures,
            now: 0,
            time: time(0),
            queue: BinaryHeap::new(),
            queued: 0,
            provider: Provider::new(scenario.lifetime),
            database: DatabaseState::default(),
            grants: Vec::new(),
            members: Vec::new(),
            holders: (0..scenario.nodes).map(holder).collect(),
            connections: (0..scenario.nodes).map(|_| Connection::established()).collect(),
            calls: HashMap::new(),
            last_call: 0,
        };
        for number in first..first + count {
            world.add_grant(number);
        }
        if let Some((from, to)) = scenario.outage {
            world.schedule(micros(from), Happening::DatabaseDown);
            world.schedule(micros(to), Happening::DatabaseUp);
        }
        world
    }

    fn add_grant(&mut self, number: usize) {
        let now = self.time();
        let issued_at = earlier(now, self.scenario.age(number));
        let grant = self.provider.sign_in(issued_at, SignedDuration::ZERO);
        let record = Record::new(grant, format!("grant-{number}").into(), 1);
        let mut database = Database::default();
        let valid_for = lifetime(now, later(issued_at, self.scenario.lifetime));
        let origin = Holder { node: "origin".into(), run: "origin".into() };
        database.write(&origin, (&record, Write::Create), Some(valid_for), now, None);
        let newest = database.read(now).expect("the record has just been written");
        for node in 0..self.scenario.nodes {
            let session = Session::restored_shared(newest.clone(), self.scenario.seed_of(number, node), now);
            let expires_at = session.credential().expires_at.expect("every token here expires");
            self.members.push(Member {
                generation: session.credential().generation,
                session,
                claimed_at: 0,
                rejected: false,
                is_loading: false,
                is_dead: false,
                wakeup: None,
                expires_at,
            });
        }
        self.grants.push(Grant {
            database,
            newest,
            issued_at: None,
            last_sent: String::new(),
            lost_holder: false,
        });
    }

    /// Runs until the end of the scenario.
    pub(super) fn run(mut self) -> Result<(), String> {
        for place in self.places() {
            self.apply(place, Event::Ticked)?;
        }
        let end = micros(self.scenario.span);
        while let Some(Reverse((at, _, happening))) = self.queue.pop() {
            if at >= end {
                break;
            }
            (self.now, self.time) = (at, time(at));
            self.happen(happening)?;
        }
        (self.now, self.time) = (end, time(end));
        for place in self.places() {
            self.count_expiry(place);
        }
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Wake(place) => {
                let now = self.now;
                let is_planned = self.member(place).wakeup.take_if(|at| *at == now).is_some();
                if is_planned { self.apply(place, Event::Ticked) } else { Ok(()) }
            }
            Happening::Arrived(call) => self.arrived(call),
            Happening::Executed(call) => self.executed(call),
            Happening::Finished(call) => self.finished(call),
            Happening::TimedOut(call) => self.timed_out(call),
            Happening::Notified(place, revision) => {
                self.notified(place, revision);
                Ok(())
            }
            Happening::DatabaseDown => {
                self.database.is_down = true;
                self.database.outages += 1;
                self.connections.iter_mut().for_each(Connection::lose);
                Ok(())
            }
            Happening::DatabaseUp => {
                self.database.is_down = false;
                for node in 0..self.scenario.nodes {
                    let wait = LONGEST_RECONNECTION.mul_f64(self.scenario.fraction(2, node));
                    self.schedule(self.now + micros(wait), Happening::Listening(node));
                }
                Ok(())
            }
            Happening::Listening(node) => self.listening(node),
        }
    }

    /// Gives an event to a session, and begins what the session wants.
    pub(super) fn apply(&mut self, place: Place, event: Event) -> Result<(), String> {
        let (now, at) = (self.time(), self.now);
        let member = self.member(place);
        if member.is_dead {
            return Ok(());
        }
        match member.session.apply(event, now) {
            Effect::Wait => {}
            Effect::Claim(ticket, revision, rejected) => {
                (member.claimed_at, member.rejected) = (at, rejected);
                self.call(place, Work::Session(ticket, CallKind::Claim(revision, rejected)));
            }
            Effect::Write(ticket, record, write) => {
                self.call(place, Work::Session(ticket, CallKind::Write(record, write)));
            }
            Effect::Refresh(ticket, token) => {
                let since = Duration::from_micros(at - member.claimed_at);
                if !claim::may_send(since, LEASE, TIMEOUT) {
                    self.call(place, Work::Release);
                    let error = ProviderError::NotSent { detail: "the claim is too old".to_owned() };
                    return self.apply(place, Event::Refreshed(ticket, Err(error)));
                }
                self.refresh(place, ticket, token);
            }
            effect @ (Effect::Probe(_) | Effect::Save(..) | Effect::Exchange(..)) => {
                return Err(format!("unexpected {effect:?}"));
            }
        }
        self.served(place);
        self.plan_wakeup(place);
        Ok(())
    }

    /// Records a change of the credential that the node serves.
    fn served(&mut self, place: Place) {
        let member = self.member(place);
        let credential = member.session.credential().clone();
        if credential.generation == member.generation {
            return;
        }
        self.count_expiry(place);
        let member = self.member(place);
        member.generation = credential.generation;
        member.expires_at = credential.expires_at.expect("every token here expires");
        if let Some(issued_at) = self.grants[place.grant].issued_at {
            let older = self.now - issued_at;
            self.figures.longest_older = self.figures.longest_older.max(older);
        }
    }

    /// Records that the node has served an expired credential until now, if it has.
    fn count_expiry(&mut self, place: Place) {
        let now = self.time();
        let member = self.member(place);
        let expired = lifetime(member.expires_at, now);
        if !expired.is_zero() && !member.is_dead {
            self.figures.count_expired(expired);
        }
    }

    fn plan_wakeup(&mut self, place: Place) {
        let now = self.time();
        let member = self.member(place);
        let next = member.session.next_wakeup(now).map(since_start);
        if member.wakeup != next {
            member.wakeup = next;
            if let Some(at) = next {
                self.schedule(at, Happening::Wake(place));
            }
        }
    }

    /// A node loads changed records one after the other.
    fn notified(&mut self, place: Place, revision: u64) {
        let member = self.member(place);
        let is_new = member.session.version().is_some_and(|known| known.revision < revision);
        if is_new && !std::mem::replace(&mut member.is_loading, true) {
            self.connections[place.node].changed.push_back(place);
            self.load_next(place.node);
        }
    }

    pub(super) fn load_next(&mut self, node: usize) {
        let connection = &mut self.connections[node];
        if !connection.is_loading
            && let Some(place) = connection.changed.pop_front()
        {
            connection.is_loading = true;
            self.call(place, Work::Load);
        }
    }

    /// A node's listener reads all records, and the node knows that the database works.
    fn listening(&mut self, node: usize) -> Result<(), String> {
        if self.database.is_down || std::mem::replace(&mut self.connections[node].is_listening, true) {
            return Ok(());
        }
        self.figures.count(Kind::Connect, self.now);
        self.figures.count(Kind::Listen, self.now);
        for grant in 0..self.grants.len() {
            let place = Place { node, grant };
            let stored = self.stored(grant);
            let known = self.member(place).session.version().map(|known| known.revision);
            if known < Some(stored.version.revision) {
                self.apply(place, Event::ChangedElsewhere(stored))?;
            }
        }
        self.database_works(node)
    }

    /// A call of the node succeeded. If the one before failed, the waiting sessions try again.
    pub(super) fn database_works(&mut self, node: usize) -> Result<(), String> {
        if !self.connections[node].is_listening {
            self.schedule(self.now + RECONNECTION, Happening::Listening(node));
        }
        if std::mem::take(&mut self.connections[node].has_failed) {
            for grant in 0..self.grants.len() {
                let place = Place { node, grant };
                if self.member(place).session.waits_for_store() {
                    self.apply(place, Event::StoreReady)?;
                }
            }
        }
        Ok(())
    }

    /// The record of a grant as a node reads it now.
    pub(super) fn stored(&mut self, grant: usize) -> SharedRecord {
        let now = self.time();
        let Grant { database, newest, .. } = &mut self.grants[grant];
        let row = database.stored.as_ref().map(|(row, _)| row).expect("records are never deleted");
        if newest.version.revision != row.revision {
            *newest = database.read(now).expect("the record exists");
        }
        let valid_for = row.expires_at.map(|at| lifetime(now, at));
        SharedRecord { valid_for, ..newest.clone() }
    }

    pub(super) fn schedule(&mut self, at: Micros, happening: Happening) {
        self.queued += 1;
        self.queue.push(Reverse((at, self.queued, happening)));
    }

    pub(super) fn member(&mut self, place: Place) -> &mut Member {
        &mut self.members[place.grant * self.scenario.nodes + place.node]
    }

    pub(super) fn time(&self) -> Timestamp {
        self.time
    }

    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let nodes = self.scenario.nodes;
        (0..self.grants.len()).flat_map(move |grant| (0..nodes).map(move |node| Place { node, grant }))
    }
}

fn holder(node: usize) -> Holder {
    Holder { node: format!("node-{node}").into(), run: format!("run-{node}").into() }
}

pub(super) fn time(at: Micros) -> Timestamp {
    later(Timestamp::from_second(START).expect("a valid time"), Duration::from_micros(at))
}

/// The first microsecond at which this time has come.
fn since_start(at: Timestamp) -> Micros {
    Micros::try_from(at.as_microsecond() - START * 1_000_000 + 1).unwrap_or_default()
}
