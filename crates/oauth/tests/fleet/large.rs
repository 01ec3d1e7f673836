//! Fleets that are too large for real machines: a discrete-event simulation of real sessions and
//! the rules of `authd_oauth::claim`, with a modelled database, network and provider. It has no
//! sockets and no clock of its own, and the same seed gives the same figures.
//!
//! - `world.rs`: the queue of events, and what a node does at each of them.
//! - `connection.rs`: a node's connection to the database, one call at a time.
//! - `figures.rs`: what is counted.

mod connection;
mod figures;
mod world;

use std::{thread, time::Duration};

use authd_oauth::schedule::Jitter;

pub(crate) use self::figures::{Figures, Kind};
use self::world::World;

/// Microseconds since the start of a simulation.
type Micros = u64;

/// A second.
const SECOND: Micros = 1_000_000;

/// A fleet, and what happens to it.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) nodes: usize,
    /// The grants that every node uses.
    pub(crate) grants: usize,
    /// Grants that share the connections of the nodes and the database. The others are simulated
    /// apart, which is exact only while connections and database are mostly idle.
    pub(crate) group: usize,
    /// One of so many grants is simulated, and counts as so many: they do not affect each other.
    pub(crate) sample: usize,
    /// The lifetime of an access token.
    pub(crate) lifetime: Duration,
    /// The ages of the access tokens at the start lie between these.
    pub(crate) ages: (Duration, Duration),
    /// How long a refresh takes at the provider.
    pub(crate) provider: Duration,
    /// How long the simulation lasts.
    pub(crate) span: Duration,
    /// Whether the first process that claims a grant dies before it sends the refresh token.
    pub(crate) holders_die: bool,
    /// When the database is down, since the start.
    pub(crate) outage: Option<(Duration, Duration)>,
    /// Statements that the database executes in a second; `None`: any number.
    pub(crate) capacity: Option<u64>,
    pub(crate) seed: u64,
}

impl Scenario {
    /// The scenario whose parts the others change: tokens of an hour, whose ages are spread over
    /// the time until their renewal, and a refresh takes 300 ms.
    pub(crate) fn new(nodes: usize, grants: usize) -> Self {
        let lifetime = Duration::from_secs(3_600);
        Self {
            nodes,
            grants,
            group: 1,
            sample: 1,
            lifetime,
            ages: (Duration::ZERO, lifetime * 3 / 4),
            provider: Duration::from_millis(300),
            span: lifetime * 2,
            holders_die: false,
            outage: None,
            capacity: None,
            seed: 1,
        }
    }

    /// Runs the scenario. The error is a broken rule: a refresh token that is sent twice, or that
    /// the provider rejects.
    pub(crate) fn run(&self) -> Result<Figures, String> {
        let simulated = self.grants / self.sample;
        let groups = simulated.div_ceil(self.group);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(groups);
        let worker = |first: usize| {
            let mut figures = Figures::new(self);
            for number in (first..groups).step_by(threads) {
                let grants = self.group.min(simulated - number * self.group);
                figures.counts_nodes = number == 0;
                World::new(self, number * self.group, grants, &mut figures).run()?;
            }
            Ok(figures)
        };
        let parts: Vec<Result<Figures, String>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || worker(first))).collect();
            workers.into_iter().map(|worker| worker.join().expect("no worker panics")).collect()
        });
        let mut figures = Figures::new(self);
        for part in parts {
            figures.add(&part?);
        }
        Ok(figures)
    }

    /// A number of this scenario in 0 … 1.
    fn fraction(&self, purpose: u64, number: usize) -> f64 {
        let number = u64::try_from(number).expect("a small number");
        // The spread of a duration is between 0.9 and 1.1 of it.
        let spread = Jitter::of(self.seed ^ (purpose << 48), number).spread(Duration::from_secs(1));
        ((spread.as_secs_f64() - 0.9) / 0.2).clamp(0.0, 1.0)
    }

    /// The seed of a node's session of a grant.
    fn seed_of(&self, grant: usize, node: usize) -> u64 {
        let number = grant * self.nodes + node;
        self.seed
            .wrapping_add(u64::try_from(number).expect("a small number"))
            .wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// The age of the access token of a grant at the start.
    fn age(&self, grant: usize) -> Duration {
        let (least, most) = self.ages;
        least + most.saturating_sub(least).mul_f64(self.fraction(1, grant))
    }
}

/// A duration as microseconds.
fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}
