//! Many refreshes, while everything breaks.

use std::{env, time::Duration};

use authd_sandbox::Config;
use futures_util::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::{
    nodes::{TIMEOUT, TestFleet},
    proxy::Link,
};

const NODES: usize = 5;
const PROFILES: usize = 20;
/// The number of refreshes, unless the environment sets it.
const REFRESHES: usize = 300;
/// Longer than a claim is held: the call's limit of 5 s, and 15 s.
const BEYOND_LEASE: Duration = Duration::from_secs(21);

/// What breaks in a round.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    NodeKilled,
    NodePaused(Duration),
    NetworkDown,
    LinkCut(Link),
    DatabaseKilled,
    DatabasePaused,
}

const TROUBLES: [Trouble; 9] = [
    Trouble::None,
    Trouble::NodeKilled,
    Trouble::NodePaused(Duration::from_secs(1)),
    Trouble::LinkCut(Link::Closed),
    Trouble::NodeKilled,
    Trouble::LinkCut(Link::Silent),
    Trouble::NetworkDown,
    Trouble::DatabaseKilled,
    Trouble::DatabasePaused,
];

#[tokio::test(flavor = "multi_thread")]
async fn no_refresh_token_is_sent_twice_whatever_breaks() {
    let Some(mut fleet) = TestFleet::start(NODES, Config::default()).await else { return };
    let refreshes = env::var("AUTHD_FLEET_REFRESHES").map_or(REFRESHES, |count| count.parse().unwrap());
    let seed = rand::random::<u64>();
    let mut random = StdRng::seed_from_u64(seed);
    let profiles: Vec<String> = (0..PROFILES).map(|number| format!("p{number}")).collect();
    for profile in &profiles {
        fleet.nodes[0].daemon.sign_in(profile, "plus").await;
    }
    for profile in &profiles {
        fleet.agreed_token(profile).await;
    }
    fleet.check_clocks().await;
    let (mut lost, mut kills, mut round) = (0, 0, 0);
    while fleet.sandbox.rotations() < refreshes {
        let trouble = match round % 20 {
            19 => Trouble::NodePaused(BEYOND_LEASE),
            _ => TROUBLES[round % TROUBLES.len()],
        };
        let victim = random.random_range(0..NODES);
        let mut chosen = profiles.clone();
        chosen.shuffle(&mut random);
        let work: Vec<(usize, String)> =
            chosen.into_iter().take(10).map(|profile| (random.random_range(0..NODES), profile)).collect();
        let after = Duration::from_micros(random.random_range(0..25_000));
        let lost_here = run_round(&mut fleet, trouble, victim, &work, after).await;
        kills += usize::from(matches!(trouble, Trouble::NodeKilled));
        round += 1;
        // Every node that can reach its memory serves a token that the provider accepts.
        for (node, profile) in work.iter().take(3) {
            let token = fleet.token(*node, profile).await.unwrap_or_default();
            let info = fleet.sandbox.token_info(&token);
            assert!(
                info.is_some_and(|info| info.valid),
                "seed {seed}, {trouble:?}: {profile} on node {node}"
            );
        }
        // The answer may be lost with a killed node. Its user signs in again.
        lost += lost_here.len();
        for profile in lost_here {
            fleet.nodes[0].daemon.sign_in(&profile, "plus").await;
        }
    }
    for profile in &profiles {
        fleet.agreed_token(profile).await;
    }
    let sent = fleet.sent();
    let twice = sent.values().filter(|times| **times > 1).count();
    assert_eq!(twice, 0, "seed {seed}: tokens sent twice");
    println!("{refreshes} refreshes in {round} rounds with {kills} kills: {lost} answers lost, seed {seed}");
}

/// Refreshes profiles on nodes, and lets something break meanwhile. Everything works afterwards.
/// Returns the profiles whose claim belonged to a killed process: its answer may be lost.
async fn run_round(
    fleet: &mut TestFleet,
    trouble: Trouble,
    victim: usize,
    work: &[(usize, String)],
    after: Duration,
) -> Vec<String> {
    let pid = fleet.nodes[victim].daemon.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).unwrap();
    let TestFleet { nodes, postgres, .. } = &mut *fleet;
    let refreshes = join_all(work.iter().map(|(node, profile)| {
        let daemon = &nodes[*node].daemon;
        async move {
            let path = format!("/v1/profiles/{profile}/refresh");
            // It fails if the node is killed, or cannot reach the database.
            tokio::time::timeout(Duration::from_secs(30), daemon.try_request("POST", &path, &[], ""))
                .await
                .ok()
        }
    }));
    let breaks = async {
        sleep(after).await;
        match trouble {
            Trouble::None => {}
            Trouble::NodeKilled => kill_process(pid, Signal::KILL).unwrap(),
            Trouble::NodePaused(pause) => {
                kill_process(pid, Signal::STOP).unwrap();
                sleep(pause).await;
                kill_process(pid, Signal::CONT).unwrap();
            }
            Trouble::NetworkDown => {
                nodes[victim].set_network(false);
                sleep(Duration::from_secs(1)).await;
                nodes[victim].set_network(true);
            }
            Trouble::LinkCut(link) => {
                nodes[victim].proxy.set(link);
                sleep(Duration::from_secs(1)).await;
                nodes[victim].proxy.set(Link::Works);
            }
            Trouble::DatabaseKilled => {
                postgres.kill().unwrap();
                sleep(Duration::from_millis(500)).await;
                postgres.restart().unwrap();
            }
            Trouble::DatabasePaused => {
                postgres.pause().unwrap();
                sleep(Duration::from_secs(1)).await;
                postgres.resume().unwrap();
            }
        }
    };
    tokio::join!(refreshes, breaks);
    if !matches!(trouble, Trouble::NodeKilled) {
        return Vec::new();
    }
    let daemon = &mut nodes[victim].daemon;
    daemon.wait().await;
    let claims = format!("SELECT name FROM authd.record WHERE claim_node = 'node-{victim}' ORDER BY name");
    let lost = postgres.psql(&claims).unwrap();
    daemon.start_again().await;
    // A node that starts has no token before it has read the records.
    let started = tokio::time::timeout(TIMEOUT, async { while fleet.token(victim, "p0").await.is_none() {} });
    started.await.expect("the node reads the records");
    lost.lines().map(str::to_owned).collect()
}
