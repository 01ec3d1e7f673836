//! Small versions of the large fleets: the rules hold, and no herd forms.

use std::time::Duration;

use crate::large::{Figures, Kind, Scenario};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Runs a scenario. Every refresh token must be sent once, and no access token may expire.
fn run(scenario: &Scenario) -> Figures {
    let figures = scenario.run().unwrap_or_else(|violation| panic!("{violation}: {scenario:?}"));
    assert_eq!(figures.refreshes, figures.tokens, "{scenario:?}");
    assert_eq!(figures.expired, 0, "{scenario:?}");
    figures
}

/// Grants whose tokens were issued at the same moment.
fn issued_together(nodes: usize) -> Scenario {
    let ages = (15 * MINUTE, 15 * MINUTE);
    Scenario { ages, span: 150 * MINUTE, ..Scenario::new(nodes, 300) }
}

/// The database is down for ten minutes, and executes 10,000 statements a second afterwards.
fn outage() -> Scenario {
    let outage = Some((20 * MINUTE, 30 * MINUTE));
    let capacity = Some(10_000);
    Scenario { group: 300, capacity, outage, span: 45 * MINUTE, ..Scenario::new(100, 300) }
}

#[test]
fn each_grant_is_renewed_once_in_a_lifetime() {
    let scenario = Scenario::new(100, 100);
    let figures = run(&scenario);
    // Two hours and tokens of an hour: two or three renewals.
    assert!((200..=300).contains(&figures.refreshes), "{}", figures.refreshes);
    assert_eq!(figures.calls(Kind::ClaimGranted), figures.refreshes);
    assert!(figures.longest_older < 20_000, "{} µs", figures.longest_older);
    // A renewal is a claim, a write, and a load on each other node.
    let mean = figures.statements() / figures.seconds();
    assert!(mean <= 10, "{mean} statements in a second");
}

#[test]
fn same_seed_gives_the_same_figures() {
    let scenario = Scenario::new(20, 20);
    assert_eq!(format!("{:?}", run(&scenario)), format!("{:?}", run(&scenario)));
    let other = Scenario { seed: 2, ..scenario.clone() };
    assert_ne!(format!("{:?}", run(&scenario)), format!("{:?}", run(&other)));
}

#[test]
fn thousand_nodes_renew_one_grant_once() {
    for provider in [Duration::from_millis(300), Duration::from_secs(5)] {
        let figures = run(&Scenario { provider, ..Scenario::new(1_000, 1) });
        assert!((2..=3).contains(&figures.refreshes));
        let in_vain = figures.calls(Kind::ClaimRefused) / figures.refreshes;
        assert!(in_vain < 150, "{in_vain} of 1,000 nodes claimed it in vain with {provider:?}");
    }
}

#[test]
fn grants_that_were_issued_together_are_renewed_apart() {
    let one = run(&issued_together(1)).most_refreshes();
    let many = run(&issued_together(100)).most_refreshes();
    assert!(many <= 2 * one, "{many} refreshes in a second with 100 nodes, {one} with one node");
}

#[test]
fn unused_grant_is_not_claimed_by_all_nodes_at_once() {
    let tokens = Scenario { lifetime: 10 * DAY, ages: (Duration::ZERO, 7 * DAY), ..Scenario::new(100, 30) };
    let figures = run(&Scenario { span: 10 * DAY, ..tokens });
    let (refused, refreshes) = (figures.calls(Kind::ClaimRefused), figures.refreshes);
    assert!(refused < refreshes * 5, "{refused} claims in vain for {refreshes} refreshes");
}

#[test]
fn claim_of_a_dead_process_is_not_taken_over_by_all_nodes_at_once() {
    let figures = run(&Scenario { holders_die: true, span: 70 * MINUTE, ..Scenario::new(300, 1) });
    let (statements, at) = figures.busiest();
    assert!(figures.calls(Kind::ClaimRefused) >= 298, "every node waited for the dead one");
    // The record is loaded by all nodes within a second.
    let loads = 300 * Kind::Load.statements();
    assert!(statements < loads + 300, "{statements} statements in the second {at:?}");
}

#[test]
fn outage_of_ten_minutes_expires_no_token_of_an_hour() {
    let outage = Some((20 * MINUTE, 30 * MINUTE));
    for (nodes, grants) in [(1, 20_000), (20, 1_000)] {
        run(&Scenario { outage, span: 45 * MINUTE, ..Scenario::new(nodes, grants) });
    }
}

#[test]
fn fleet_recovers_from_an_outage_of_the_database() {
    let figures = run(&outage());
    assert!(figures.failed_calls > 0, "the database was down");
    let older = Duration::from_micros(figures.longest_older);
    assert!(older < Duration::from_secs(20), "a node served an older token for {older:?}");
    let refused = figures.calls(Kind::ClaimRefused);
    assert!(refused < 1_000, "{refused} claims in vain for {} refreshes", figures.refreshes);
}
