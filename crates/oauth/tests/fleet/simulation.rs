//! Nodes with a session each, their database and their provider. A step is what a real machine can
//! do: a call takes effect, its result arrives or is lost, a node sleeps, dies or is cut off.

use std::time::Duration;

use authd_oauth::{
    Effect, Event, ProviderError, Record, Rejected, Session, WriteResult,
    claim::{self, Holder, Write},
    schedule::{later, lifetime, shifted},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    database::{Database, Fault, LEASE, TIMEOUT},
    node::{Call, CallKind, CallResult, Node, token_of},
    provider::{LIFETIME, Provider, Request},
};

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Time passes. The nodes do not notice: they may be paused.
    Wait(u64),
    /// The node's clock wakes it at its next wake-up.
    Wake(usize),
    /// The node's call takes effect.
    Execute(usize),
    /// The result of the node's call arrives. The call takes effect first if it has not.
    Deliver(usize),
    /// The node's call takes effect, and its result is lost.
    Lose(usize),
    /// The node's call has no effect.
    Fail(usize),
    /// The node hears of a change.
    Notify(usize),
    /// A client needs a credential.
    Request(usize),
    /// An upstream rejects the credential.
    Reject(usize),
    /// A user signs in.
    SignIn(usize),
    /// The process is killed and starts again.
    Crash(usize),
    /// The database is replaced by its backup.
    Restore,
}

pub(crate) struct Fleet {
    pub(crate) now: Timestamp,
    pub(crate) fault: Option<Fault>,
    pub(crate) database: Database,
    pub(crate) backup: Option<(claim::Row, Record)>,
    pub(crate) provider: Provider,
    pub(crate) nodes: Vec<Node>,
    pub(crate) runs: u32,
}

impl Fleet {
    /// Nodes that share a grant whose access token has this lifetime left.
    pub(crate) fn new(nodes: usize, left: u64, skew: i64, fault: Option<Fault>) -> Self {
        let now = Timestamp::from_second(1_800_000_000).expect("a valid time");
        let mut provider = Provider::new(LIFETIME);
        let issued_at = shifted(now, SignedDuration::from_secs(left.cast_signed() - 3_600));
        let record = Record::new(provider.sign_in(issued_at, SignedDuration::ZERO), "grant".into(), 3);
        let mut database = Database::default();
        let origin = Holder { node: "origin".into(), run: "origin".into() };
        let valid_for = Some(Duration::from_secs(left));
        database.write(&origin, (&record, Write::Create), valid_for, now, None);
        let backup = database.stored.clone();
        let mut fleet = Self { now, fault, database, backup, provider, nodes: Vec::new(), runs: 0 };
        for number in 0..nodes {
            let ahead = SignedDuration::from_secs(skew * i64::try_from(number).unwrap_or(0));
            let node = fleet.start(number, ahead);
            fleet.nodes.push(node);
            fleet.apply(number, Event::Ticked).expect("no rule is broken at the start");
        }
        fleet
    }

    /// A new process of a node, which has read the record.
    fn start(&mut self, number: usize, ahead: SignedDuration) -> Node {
        self.runs += 1;
        let now = shifted(self.now, ahead);
        let stored = self.database.read(self.now).expect("the record is never deleted");
        let session = Session::restored_shared(stored, self.runs.into(), now);
        let holder =
            Holder { node: format!("node-{number}").into(), run: format!("run-{}", self.runs).into() };
        Node { session, holder, ahead, call: None, claimed_at: self.now, rejected: false, holds: None }
    }

    pub(crate) fn is_possible(&self, step: Step) -> bool {
        match step {
            Step::Execute(n) => self.nodes[n].call.as_ref().is_some_and(|call| call.result.is_none()),
            Step::Deliver(n) | Step::Lose(n) | Step::Fail(n) => self.nodes[n].call.is_some(),
            Step::Wake(n) => {
                let node = &self.nodes[n];
                node.session.next_wakeup(shifted(self.now, node.ahead)).is_some()
            }
            Step::Restore => {
                self.backup.as_ref().map(|(row, _)| row.revision) != self.stored().map(|row| row.revision)
            }
            _ => true,
        }
    }

    pub(crate) fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Wait(seconds) => self.now = later(self.now, Duration::from_secs(seconds)),
            Step::Wake(n) => {
                let node = &self.nodes[n];
                if let Some(at) = node.session.next_wakeup(shifted(self.now, node.ahead)) {
                    self.now = self.now.max(shifted(at, -node.ahead));
                }
                return self.apply(n, Event::Ticked);
            }
            Step::Execute(n) => return self.execute(n),
            Step::Deliver(n) => {
                self.execute(n)?;
                return self.deliver(n);
            }
            Step::Lose(n) => {
                self.execute(n)?;
                self.lose(n);
                return self.deliver(n);
            }
            Step::Fail(n) => {
                if let Some(call) = &mut self.nodes[n].call
                    && call.result.is_none()
                {
                    call.result = Some(call.kind.failure(true));
                }
                self.lose(n);
                return self.deliver(n);
            }
            Step::Notify(n) => {
                if let Some(stored) = self.database.read(self.now) {
                    return self.apply(n, Event::ChangedElsewhere(stored));
                }
            }
            Step::Request(n) => return self.apply(n, Event::CredentialRequested(Duration::from_secs(60))),
            Step::Reject(n) => {
                let credential = self.nodes[n].session.credential();
                let (generation, grant_id) = (credential.generation, Some((*credential.grant_id).into()));
                return self.apply(n, Event::RefreshRequested(Some(Rejected { generation, grant_id })));
            }
            Step::SignIn(n) => {
                let grant = self.provider.sign_in(self.now, self.nodes[n].ahead);
                self.nodes[n].holds = None;
                self.runs += 1;
                let grant_id = format!("grant-{}", self.runs).into();
                return self.apply(n, Event::SignedIn(Box::new(grant), grant_id));
            }
            Step::Crash(n) => {
                self.nodes[n] = self.start(n, self.nodes[n].ahead);
                return self.apply(n, Event::Ticked);
            }
            Step::Restore => {
                self.database.stored = self.backup.clone();
                self.provider.knows_order = false;
                self.nodes.iter_mut().for_each(|node| node.holds = None);
            }
        }
        Ok(())
    }

    pub(crate) fn apply(&mut self, n: usize, event: Event) -> Result<(), String> {
        let node = &mut self.nodes[n];
        let now = shifted(self.now, node.ahead);
        let effect = node.session.apply(event, now);
        let stored = self.database.stored.as_ref().map(|(row, _)| row.token);
        if let Some((successor, spent)) = &node.holds
            && self.provider.knows_order
            && token_of(node.session.record()) != successor
            && stored == Some(*spent)
        {
            return Err(format!("{successor} was dropped"));
        }
        let (ticket, kind) = match effect {
            Effect::Wait => return Ok(()),
            Effect::Probe(ticket) => (ticket, CallKind::Probe),
            Effect::Claim(ticket, token, rejected) => {
                (node.claimed_at, node.rejected) = (self.now, rejected);
                (ticket, CallKind::Claim(token, rejected))
            }
            Effect::Write(ticket, record, write) => (ticket, CallKind::Write(record, write)),
            Effect::Refresh(ticket, token) => {
                let since = lifetime(node.claimed_at, self.now);
                let may_send = claim::may_send(since, LEASE, TIMEOUT);
                if !may_send && self.fault != Some(Fault::NoCheckBeforeSending) {
                    if node.session.may_release() {
                        self.database.release(&node.holder);
                    }
                    let error = ProviderError::NotSent { detail: "the claim is too old".to_owned() };
                    return self.apply(n, Event::Refreshed(ticket, Err(error)));
                }
                (ticket, CallKind::Refresh(token))
            }
            Effect::Save(..) | Effect::Exchange(..) => return Err(format!("unexpected {effect:?}")),
        };
        if node.call.is_some() {
            // It belongs to a grant that was replaced: its result is dropped.
            self.execute(n)?;
        }
        self.nodes[n].call = Some(Call { ticket, kind, began: self.now, result: None });
        Ok(())
    }

    /// Lets the node's call take effect, if it has not.
    fn execute(&mut self, n: usize) -> Result<(), String> {
        let Node { holder, call: Some(call), claimed_at, rejected, ahead, .. } = &mut self.nodes[n] else {
            return Ok(());
        };
        if call.result.is_some() {
            return Ok(());
        }
        let now = self.now;
        call.result = Some(match &call.kind {
            CallKind::Probe => CallResult::Probed(true),
            CallKind::Claim(token, rejected) => {
                CallResult::Claimed(Ok(self.database.claim(holder, (*token, *rejected), now, self.fault)))
            }
            CallKind::Write(record, write) => {
                let tokens = record.grant.secrets.tokens();
                let expires_at = tokens.and_then(|tokens| tokens.expires_at);
                let valid_for = expires_at.map(|at| lifetime(shifted(now, *ahead), at));
                CallResult::Written(Ok(self.database.write(
                    holder,
                    (record, *write),
                    valid_for,
                    now,
                    self.fault,
                )))
            }
            // The node has sent it when the call began; it arrives in time or never.
            CallKind::Refresh(_) if lifetime(call.began, now) > TIMEOUT => call.kind.failure(false),
            CallKind::Refresh(token) => {
                let (token, run) = (token.clone(), holder.run.clone());
                let request = Request { token, run, claimed_at: *claimed_at, rejected: *rejected };
                CallResult::Refreshed(self.provider.spend(&request, now)?)
            }
        });
        Ok(())
    }

    /// The result of the node's call is lost.
    fn lose(&mut self, n: usize) {
        if let Some(call) = &mut self.nodes[n].call {
            call.result = match call.result.take() {
                Some(CallResult::Refreshed(Err(error))) => Some(CallResult::Refreshed(Err(error))),
                _ => Some(call.kind.failure(false)),
            };
        }
    }

    fn deliver(&mut self, n: usize) -> Result<(), String> {
        let Some(call) = self.nodes[n].call.take() else { return Ok(()) };
        let (ticket, result) = (call.ticket, call.result.expect("it was executed"));
        let node = &mut self.nodes[n];
        let is_renewed = matches!(result, CallResult::Refreshed(Ok(_)));
        let spent = node.session.version().map(|version| version.token);
        // It is stored, or spent for the next one.
        if is_renewed || matches!(result, CallResult::Written(Ok(WriteResult::Done(_)))) {
            node.holds = None;
        }
        let mut drops = false;
        let event = match result {
            CallResult::Probed(reached) => Event::Probed(ticket, reached),
            CallResult::Claimed(result) => Event::Claimed(ticket, result),
            CallResult::Written(result) => {
                drops = self.fault == Some(Fault::SuccessorDropped) && result.is_err();
                Event::Written(ticket, result)
            }
            CallResult::Refreshed(result) => {
                let node = &self.nodes[n];
                let is_unspent =
                    result.as_ref().is_err_and(|error| !error.may_have_rotated() && !error.is_permanent());
                if is_unspent && node.session.may_release() {
                    self.database.release(&node.holder);
                }
                Event::Refreshed(ticket, result)
            }
        };
        if drops {
            let holds = self.nodes[n].holds.take();
            self.nodes[n] = Node { holds, ..self.start(n, self.nodes[n].ahead) };
            return self.apply(n, Event::Ticked);
        }
        self.apply(n, event)?;
        let node = &mut self.nodes[n];
        if let Some(spent) = spent.filter(|_| is_renewed) {
            node.holds = Some((token_of(node.session.record()).to_owned(), spent));
        }
        Ok(())
    }

    fn stored(&self) -> Option<&claim::Row> {
        self.database.stored.as_ref().map(|(row, _)| row)
    }
}
