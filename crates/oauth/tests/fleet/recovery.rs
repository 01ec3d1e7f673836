//! The end of each life: every failure is over, and the fleet must agree on a usable record.

use std::time::Duration;

use authd_oauth::{
    Event, ProfileStatus,
    schedule::{later, shifted},
};

use crate::{
    database::LEASE,
    node::{Node, token_of},
    simulation::{Fleet, Step},
};

/// The shortest step of time in a recovery.
const PAUSE: Duration = Duration::from_secs(1);

impl Fleet {
    /// From now on every call succeeds and every node hears of every change. All nodes must get the
    /// same record, and its token must be valid unless a spent one was sent again.
    pub(crate) fn recover(&mut self) -> Result<(), String> {
        for _ in 0..2_000 {
            let is_busy = (0..self.nodes.len()).any(|n| self.nodes[n].call.is_some());
            for n in 0..self.nodes.len() {
                self.step(Step::Deliver(n))?;
                self.step(Step::Notify(n))?;
            }
            if is_busy {
                continue;
            }
            if self.is_settled() {
                return self.check_recovered();
            }
            let wakeups = self.nodes.iter().filter_map(|node| {
                let next = node.session.next_wakeup(shifted(self.now, node.ahead))?;
                Some(shifted(next, -node.ahead))
            });
            let next =
                wakeups.min().unwrap_or(self.now).clamp(later(self.now, PAUSE), later(self.now, LEASE));
            self.now = next;
            (0..self.nodes.len()).try_for_each(|n| self.apply(n, Event::Ticked))?;
        }
        let states: Vec<_> = self.nodes.iter().map(|node| &node.session).collect();
        Err(format!("no progress: {states:#?}\n{:?}", self.database))
    }

    fn is_ready(&self, n: usize) -> bool {
        let Node { session, ahead, .. } = &self.nodes[n];
        let status = session.status(shifted(self.now, *ahead));
        let is_ended = session.record().ended.is_some();
        session.is_settled() && (status == ProfileStatus::Ready || is_ended)
    }

    fn is_settled(&self) -> bool {
        let Some((row, record)) = &self.database.stored else { return true };
        // Nothing renews a grant that has ended, so a claim on it may stay.
        if row.claim.is_some() && record.ended.is_none() {
            return false;
        }
        let revision = Some(row.revision);
        (0..self.nodes.len()).all(|n| {
            let version = self.nodes[n].session.version().map(|version| version.revision);
            self.is_ready(n) && (version == revision || self.missed_a_restore(n))
        })
    }

    /// Whether the node has an ended grant, and the store was restored from a backup. It claims
    /// nothing any more, so it does not notice the older record.
    fn missed_a_restore(&self, n: usize) -> bool {
        !self.provider.knows_order && self.nodes[n].session.record().ended.is_some()
    }

    fn check_recovered(&self) -> Result<(), String> {
        let Some((_, stored)) = &self.database.stored else { return Err("the record is gone".to_owned()) };
        let token = token_of(stored);
        for (n, node) in self.nodes.iter().enumerate() {
            if !self.missed_a_restore(n) && token_of(node.session.record()) != token {
                return Err(format!("{} has another token than the store", node.holder.node));
            }
        }
        if !self.provider.knows_order {
            return Ok(());
        }
        if stored.ended.is_none() && self.provider.is_alive(token) && !self.provider.accepts(token) {
            return Err(format!("{token} is stored, and its successor is lost"));
        }
        if stored.ended.is_some() && self.provider.accepts(token) {
            return Err("a live grant has ended".to_owned());
        }
        Ok(())
    }

    /// The whole state as text, with the secrets that `Debug` hides.
    pub(crate) fn fingerprint(&self) -> String {
        let nodes = self.nodes.iter().map(|node| {
            let call = node.call.as_ref().map(|call| (call.ticket, call.began, call.result.is_some()));
            let token = token_of(node.session.record());
            format!("{:?} {call:?} {token} {}", node.session, node.claimed_at)
        });
        let nodes: Vec<_> = nodes.collect();
        let stored = self.database.stored.as_ref().map(|(_, record)| token_of(record));
        format!("{} {nodes:?} {:?} {stored:?} {:?}", self.now, self.database, self.provider)
    }
}
