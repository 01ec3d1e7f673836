//! Kills authd with SIGKILL at a random moment of a random operation, starts it again, and checks
//! the invariants (`tests/invariants`). It kills 100 times; `AUTHD_CRASHES` sets another number,
//! and the nightly run has 1,000.
//!
//! Two kinds of kill cost a login, and are counted separately. Between the provider's commit of a
//! rotation and its response, the new token was never on this machine. Between the response and its
//! save, it was only in memory.
#![expect(clippy::unwrap_used, reason = "a test panics where it cannot continue")]

#[expect(dead_code, reason = "each target uses a part of it")]
#[path = "../authorization_server/mod.rs"]
mod authorization_server;
#[path = "../invariants/mod.rs"]
mod invariants;
mod requests;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use authd_sandbox::{
    Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::json;

use crate::{
    authorization_server::{AuthorizationServer, callback_ports},
    invariants::{CheckContext, Outcome, Reply, Snapshot, codex_home, verify},
    requests::{Model, Request, accounts},
};

/// Number of kills, unless the environment sets it.
const KILLS: usize = 100;
/// Number of daemons that run at the same time.
const DAEMONS: usize = 4;
/// Longest time between a request and the kill, in microseconds.
const LATEST: u64 = 40_000;

/// The number of kills by their effect.
#[derive(Default)]
struct KillCounts {
    /// Every login was good, and the operation was complete.
    finished: usize,
    /// Every login was good, and the operation had no effect.
    rolled_back: usize,
    /// The provider had rotated the token, and its response did not arrive.
    response_lost: usize,
    /// The response had arrived, and was not saved.
    unsaved: usize,
    /// The violated invariants, with the requests that were killed.
    failed: BTreeMap<String, Vec<String>>,
}

impl KillCounts {
    fn record_failure(&mut self, failure: String, request: &Request, before: &Model, after: &Model) {
        let (before, after) = (&before.now, &after.now);
        self.failed.entry(failure).or_default().push(format!("{request} (before: {before}; after: {after})"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_login_is_lost_to_a_kill() {
    let kills = std::env::var("AUTHD_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let daemons: Vec<_> =
        (0..DAEMONS).map(|n| tokio::spawn(kill_repeatedly(kills / DAEMONS, n as u64))).collect();
    let mut total = KillCounts::default();
    for daemon in daemons {
        let counts = daemon.await.unwrap();
        total.finished += counts.finished;
        total.rolled_back += counts.rolled_back;
        total.response_lost += counts.response_lost;
        total.unsaved += counts.unsaved;
        for (failure, requests) in counts.failed {
            total.failed.entry(failure).or_default().extend(requests);
        }
    }
    let KillCounts { finished, rolled_back, response_lost, unsaved, failed } = total;
    println!(
        "{kills} kills: {} without a lost login ({finished} operations complete, {rolled_back} without effect); \
         {response_lost} between the provider's commit and its response, {unsaved} between the response and its save",
        finished + rolled_back
    );
    for (failure, requests) in &failed {
        println!("  {failure}\n    {}", requests.join("\n    "));
    }
    assert!(failed.is_empty(), "see above");
    assert_eq!(finished + rolled_back + response_lost + unsaved, kills / DAEMONS * DAEMONS);
}

/// Kills one daemon again and again, each time at a random moment after a random request.
async fn kill_repeatedly(kills: usize, seed: u64) -> KillCounts {
    let mut random = Random(seed);
    let mut counts = KillCounts::default();
    let (mut sandbox, mut server, mut daemon, mut model) = new_daemon().await;
    for _ in 0..kills {
        let (committed, logged) = (sandbox.rotations() + server.rotations(), daemon.log().len());
        let request = model.request(&mut random);
        let after = model.after(&request);
        let moment = tokio::time::sleep(Duration::from_micros(random.below(LATEST)));
        let reply = tokio::select! {
            reply = request.send(&daemon, &sandbox, &mut random) => reply,
            () = moment => Reply::NoAnswer,
        };
        daemon.kill9().await;
        sandbox.faults().clear();
        daemon.start_again().await;
        let context = CheckContext {
            daemon: &daemon,
            sandbox: &sandbox,
            server: &server,
            keychain: None,
            before: &model.now,
            after: &after.now,
            may_be_lost: true,
        };
        // The log of the killed daemon only: the checks cause refreshes, too.
        let (received, saved) = count_responses(&daemon.log()[logged..]);
        let outcome = verify(context, reply).await;
        let committed = match outcome {
            Ok(Outcome::Lost(_)) | Err(_) => sandbox.rotations() + server.rotations() - committed,
            Ok(_) => 0,
        };
        match outcome {
            Ok(Outcome::Lost(_)) if committed > saved && committed > received => counts.response_lost += 1,
            Ok(Outcome::Lost(_)) if committed > saved => counts.unsaved += 1,
            Ok(Outcome::Lost(_)) => {
                counts.record_failure("login lost: a saved token".to_owned(), &request, &model, &after);
            }
            // A refresh request of the killed daemon reached the provider after that of the new
            // daemon. A defined provider's refusal is not final while the access token is valid.
            Err(failure)
                if (failure.contains("login_required") || failure.contains("provider_refused"))
                    && committed > received =>
            {
                counts.response_lost += 1;
            }
            Err(failure) => counts.record_failure(failure, &request, &model, &after),
            Ok(outcome) => {
                counts.finished += usize::from(outcome == Outcome::Finished);
                counts.rolled_back += usize::from(outcome != Outcome::Finished);
                if outcome == Outcome::Finished {
                    model = after;
                }
                assert_no_token_in_clear(&sandbox, &daemon.state());
                continue;
            }
        }
        (sandbox, server, daemon, model) = new_daemon().await;
    }
    counts
}

/// A daemon with two logins, and a defined provider.
async fn new_daemon() -> (Sandbox, AuthorizationServer, TestDaemon, Model) {
    let sandbox = Sandbox::start(Config::with_accounts(accounts())).await.unwrap();
    let server = AuthorizationServer::start(json!({})).await;
    let daemon = TestDaemon::start(
        TestDaemonConfig::new(env!("CARGO_BIN_EXE_authd"), &sandbox)
            .store("file")
            .toml(&server.definition())
            .toml("[log]\nfilter = \"debug\"")
            .callback(&callback_ports()),
    )
    .await;
    fs::create_dir(codex_home(&daemon)).unwrap();
    daemon.sign_in("default", "plus").await;
    daemon.sign_in("work", "business").await;
    let nothing = Snapshot::default();
    let context = CheckContext {
        daemon: &daemon,
        sandbox: &sandbox,
        server: &server,
        keychain: None,
        before: &nothing,
        after: &nothing,
        may_be_lost: false,
    };
    let mut now = Snapshot::take(context).await.unwrap();
    now.profiles.values_mut().for_each(|user| user.family = None);
    now.files.clear();
    let original = now.codex.clone();
    (sandbox, server, daemon, Model { now, original })
}

/// The number of refresh responses in a log, and the number of saves of them. A save after a new
/// start belongs to another refresh.
fn count_responses(log: &str) -> (usize, usize) {
    let (mut received, mut saved, mut pending) = (0, 0, false);
    for line in log.lines() {
        if line.contains(": refreshed") {
            (received, pending) = (received + 1, true);
        } else if line.contains(": saved") {
            saved += usize::from(std::mem::take(&mut pending));
        } else if line.contains(" hardened ") {
            pending = false;
        }
    }
    (received, saved)
}

/// Checks that no file of the state directory contains a token in clear text.
fn assert_no_token_in_clear(sandbox: &Sandbox, state: &Path) {
    let secrets = sandbox.issued_secrets();
    let newest = &secrets[secrets.len().saturating_sub(6)..];
    let mut paths = vec![state.to_path_buf()];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!newest.iter().any(|secret| text.contains(secret.as_str())), "{}", path.display());
    }
}

/// A pseudo-random sequence that can be repeated (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ (x >> 31)) % bound
    }
}
