//! `cargo xtask simulate`: prints the figures of large fleets as a Markdown table. An argument N
//! simulates one of N of the 100,000 grants, and multiplies.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a program for a terminal")]

#[expect(dead_code, reason = "the model tests also break the rules")]
mod database;
mod large;
#[expect(dead_code, reason = "the model tests have nodes of their own")]
mod node;
#[expect(dead_code, reason = "the model tests also read the ledger")]
mod provider;

use std::{env, process::ExitCode, time::Duration};

use large::{Figures, Kind, Scenario};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// The time between two polls of a node.
const POLL: u64 = 15;

const HEAD: &str = "\
| fleet | statements in a second, mean | in the busiest one | refreshes in the busiest second | claims in vain, \
for each refresh | sends of each refresh token | longest time with an older access token | expired access tokens |
|---|---|---|---|---|---|---|---|";

fn main() -> ExitCode {
    println!("{HEAD}");
    // `cargo bench` adds an argument of its own.
    let sample = env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1);
    for (name, scenario) in scenarios(sample) {
        eprintln!("… {name}");
        match scenario.run() {
            Ok(figures) => println!("{}", row(name, &scenario, &figures)),
            Err(violation) => {
                eprintln!("{name}: {violation}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn scenarios(sample: usize) -> Vec<(&'static str, Scenario)> {
    let large = Scenario { sample, span: 60 * MINUTE, ..Scenario::new(1_000, 100_000) };
    let ten_days = Scenario {
        lifetime: 10 * DAY,
        ages: (Duration::ZERO, 15 * DAY / 2),
        span: 10 * DAY,
        ..large.clone()
    };
    let one_grant = Scenario::new(10_000, 1);
    let expired = (61 * MINUTE, 61 * MINUTE);
    let outage = Some((20 * MINUTE, 30 * MINUTE));
    vec![
        ("1,000 nodes, 100,000 grants, tokens of an hour", large.clone()),
        ("the same, tokens of ten days", ten_days),
        (
            "the same, tokens of an hour that were all issued in one minute",
            Scenario { ages: (15 * MINUTE, 16 * MINUTE), span: 90 * MINUTE, ..large.clone() },
        ),
        ("the same, tokens of an hour, the database is down for ten minutes", Scenario { outage, ..large }),
        ("10,000 nodes, one grant", one_grant.clone()),
        (
            "the same, the provider needs 5 s",
            Scenario { provider: Duration::from_secs(5), ..one_grant.clone() },
        ),
        (
            "1,000 nodes start at once, one grant, expired",
            Scenario { nodes: 1_000, ages: expired, span: 10 * MINUTE, ..one_grant },
        ),
        (
            "1,000 nodes, 1,000 grants, each first claim is left by a process that dies",
            Scenario { holders_die: true, ..Scenario::new(1_000, 1_000) },
        ),
        (
            "100 nodes, 1,000 grants, a database that executes 10,000 statements/s is down for ten minutes",
            Scenario { group: 1_000, capacity: Some(10_000), outage, ..Scenario::new(100, 1_000) },
        ),
    ]
}

fn row(name: &str, scenario: &Scenario, figures: &Figures) -> String {
    let polls = u64::try_from(scenario.nodes).unwrap_or(u64::MAX) / POLL;
    let mean = figures.statements() / figures.seconds() + polls;
    let (busiest, _) = figures.busiest();
    let in_vain = ratio(figures.calls(Kind::ClaimRefused), figures.refreshes);
    let sends = ratio(figures.refreshes, figures.tokens);
    format!(
        "| {name} | {mean} | {} | {} | {in_vain:.1} | {sends:.2} | {:.2} s | {} |",
        busiest + polls,
        figures.most_refreshes(),
        Duration::from_micros(figures.longest_older).as_secs_f64(),
        figures.expired,
    )
}

fn ratio(one: u64, other: u64) -> f64 {
    let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    number(one) / number(other)
}
