//! What a simulation counts.

use std::time::Duration;

use super::{Micros, SECOND, Scenario, micros};

/// The calls of a node to the database. The statements are those of `crates/fleet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A claim that was granted: begin, lock and read, clock, update, commit.
    ClaimGranted,
    /// A claim that has to wait, or on an outdated record: begin, lock and read, clock, roll back.
    ClaimRefused,
    /// A write: begin, lock and read, clock, update, notify, commit.
    Write,
    /// A release: as a write.
    Release,
    /// A record that another node has changed: read, clock.
    Load,
    /// A new connection: the settings of the session, the server, the tables.
    Connect,
    /// The listener's new connection, and all records: listen, revisions, read, clock.
    Listen,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::ClaimGranted,
        Self::ClaimRefused,
        Self::Write,
        Self::Release,
        Self::Load,
        Self::Connect,
        Self::Listen,
    ];

    /// Statements of a call.
    pub(crate) fn statements(self) -> u64 {
        match self {
            Self::ClaimGranted => 5,
            Self::ClaimRefused => 4,
            Self::Write | Self::Release => 6,
            Self::Load => 2,
            Self::Connect => 7,
            Self::Listen => 11,
        }
    }

    /// Round trips of a call.
    pub(crate) fn round_trips(self) -> u64 {
        match self {
            Self::Load => 1,
            Self::ClaimGranted | Self::ClaimRefused | Self::Write | Self::Release | Self::Connect => 2,
            Self::Listen => 4,
        }
    }
}

/// The counts of one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    calls: [u64; Kind::ALL.len()],
    refreshes: u64,
}

/// The figures of a simulation.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    seconds: Vec<Second>,
    /// How many grants each simulated one stands for.
    weight: u64,
    /// Whether what happens to a node, whatever its grants, is counted.
    pub(super) counts_nodes: bool,
    /// Requests to the provider.
    pub(crate) refreshes: u64,
    /// Refresh tokens that were sent, each counted once.
    pub(crate) tokens: u64,
    /// The longest time from a new access token until a node served it.
    pub(crate) longest_older: Micros,
    /// How often a node had only an expired access token to serve, and the longest such time.
    pub(crate) expired: u64,
    pub(crate) longest_expired: Micros,
    /// Calls to the database that failed.
    pub(crate) failed_calls: u64,
}

impl Figures {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let seconds = usize::try_from(scenario.span.as_secs()).expect("a short span") + 1;
        Self {
            seconds: vec![Second::default(); seconds],
            weight: u64::try_from(scenario.sample).expect("a small number"),
            counts_nodes: true,
            refreshes: 0,
            tokens: 0,
            longest_older: 0,
            expired: 0,
            longest_expired: 0,
            failed_calls: 0,
        }
    }

    pub(super) fn count(&mut self, kind: Kind, at: Micros) {
        let is_of_node = matches!(kind, Kind::Connect | Kind::Listen);
        let weight = if is_of_node { u64::from(self.counts_nodes) } else { self.weight };
        self.second(at).calls[kind as usize] += weight;
    }

    pub(super) fn count_refresh(&mut self, at: Micros, is_first: bool) {
        let weight = self.weight;
        self.second(at).refreshes += weight;
        self.refreshes += weight;
        self.tokens += if is_first { weight } else { 0 };
    }

    pub(super) fn count_expired(&mut self, expired: Duration) {
        self.expired += self.weight;
        self.longest_expired = self.longest_expired.max(micros(expired));
    }

    fn second(&mut self, at: Micros) -> &mut Second {
        let last = self.seconds.len() - 1;
        let second = usize::try_from(at / SECOND).unwrap_or(last);
        &mut self.seconds[second.min(last)]
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, second) in self.seconds.iter_mut().zip(&other.seconds) {
            sum.refreshes += second.refreshes;
            for (sum, calls) in sum.calls.iter_mut().zip(&second.calls) {
                *sum += calls;
            }
        }
        self.refreshes += other.refreshes;
        self.tokens += other.tokens;
        self.longest_older = self.longest_older.max(other.longest_older);
        self.expired += other.expired;
        self.longest_expired = self.longest_expired.max(other.longest_expired);
        self.failed_calls += other.failed_calls;
    }

    /// Calls of a kind.
    pub(crate) fn calls(&self, kind: Kind) -> u64 {
        self.seconds.iter().map(|second| second.calls[kind as usize]).sum()
    }

    /// Statements in all.
    pub(crate) fn statements(&self) -> u64 {
        self.seconds.iter().map(Second::statements).sum()
    }

    /// Statements in the busiest second, and the second.
    pub(crate) fn busiest(&self) -> (u64, Duration) {
        let busiest = (0..).zip(&self.seconds).max_by_key(|(_, second)| second.statements());
        busiest.map_or((0, Duration::ZERO), |(at, second)| (second.statements(), Duration::from_secs(at)))
    }

    /// Refreshes in the busiest second.
    pub(crate) fn most_refreshes(&self) -> u64 {
        self.seconds.iter().map(|second| second.refreshes).max().unwrap_or_default()
    }

    /// Seconds of the simulation.
    pub(crate) fn seconds(&self) -> u64 {
        u64::try_from(self.seconds.len()).unwrap_or(u64::MAX).saturating_sub(1).max(1)
    }
}

impl Second {
    fn statements(&self) -> u64 {
        Kind::ALL.iter().map(|kind| self.calls[*kind as usize] * kind.statements()).sum()
    }
}
