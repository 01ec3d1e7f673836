//! Five hundred deaths: authd is killed with SIGKILL at a random moment, while it signs in, refreshes and
//! saves, and started again. After each, the refresh token that the store holds must be one that the
//! provider still takes, unless the kill fell between the provider's commit of a rotation and its answer:
//! then nobody on this side has ever seen the new token. Those are counted apart; and so are the kills in
//! the fraction of a millisecond that a durable write takes, which no program can win either.
//!
//! `AUTHD_CRASHES` sets another number of kills.
#![expect(clippy::unwrap_used, reason = "a test panics where it cannot go on")]

use std::{fs, io::Write, os::unix::net::UnixStream, path::Path, time::Duration};

use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    house::{House, HouseConfig},
};
use serde_json::json;

/// How many kills, unless the environment says otherwise.
const KILLS: usize = 500;
/// So many daemons are tried at once.
const HOUSES: usize = 4;

/// What became of the logins after a kill.
#[derive(Default)]
struct Tally {
    /// The stored token was good.
    kept: usize,
    /// The provider had rotated the token, and the kill came before its answer.
    unheard: usize,
    /// The answer was there, and the kill came before it was saved.
    unsaved: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_login_is_lost_to_a_kill() {
    let kills = std::env::var("AUTHD_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let houses: Vec<_> = (0..HOUSES).map(|n| tokio::spawn(live_and_die(kills / HOUSES, n as u64))).collect();
    let mut total = Tally::default();
    for house in houses {
        let Tally { kept, unheard, unsaved } = house.await.unwrap();
        total.kept += kept;
        total.unheard += unheard;
        total.unsaved += unsaved;
    }
    let Tally { kept, unheard, unsaved } = total;
    println!(
        "{kills} kills: {kept} logins kept; {unheard} kills fell between the provider's commit and its answer, \
         {unsaved} between the answer and its save"
    );
    assert_eq!(kept + unheard + unsaved, kills / HOUSES * HOUSES);
}

/// One daemon's lives. Every kill falls at a random moment after a random wish.
async fn live_and_die(kills: usize, seed: u64) -> Tally {
    let sandbox = Sandbox::start(Config::with_accounts([Account::plus()])).await.unwrap();
    let mut house = House::start(
        HouseConfig::new(env!("CARGO_BIN_EXE_authd"), &sandbox)
            .store("file")
            .toml("[log]\nfilter = \"debug\""),
    )
    .await;
    house.sign_in("default", "plus").await;
    let mut random = Random(seed);
    let mut tally = Tally::default();
    for _ in 0..kills {
        let (committed, logged) = (sandbox.rotations(), house.log().len());
        wish_for_something(&house, &sandbox, &mut random).await;
        tokio::time::sleep(Duration::from_micros(random.below(25_000))).await;
        house.kill9().await;
        sandbox.faults().clear();
        house.start_again().await;
        let answer = house.request("POST", "/v1/profiles/default/refresh", &[], "{}").await;
        if answer.status.is_success() {
            tally.kept += 1;
        } else {
            assert_eq!(answer.json()["code"], "login_required", "{}\n{}", answer.text(), house.log());
            let (heard, saved) = answers(&house.log()[logged..]);
            let committed = sandbox.rotations() - committed;
            assert!(committed > saved, "a saved token was lost: {}\n{}", answer.text(), house.log());
            let unheard = committed > heard;
            tally.unheard += usize::from(unheard);
            tally.unsaved += usize::from(!unheard);
            house.sign_in("default", "plus").await;
        }
        assert_nothing_in_clear(&sandbox, &house.state());
    }
    tally
}

/// How many answers to a refresh a log tells of, and how many of them were saved. A save that comes after
/// a new start is another one's.
fn answers(log: &str) -> (usize, usize) {
    let (mut heard, mut saved, mut pending) = (0, 0, false);
    for line in log.lines() {
        if line.contains(": refreshed") {
            (heard, pending) = (heard + 1, true);
        } else if line.contains(": saved") {
            saved += usize::from(std::mem::take(&mut pending));
        } else if line.contains(" hardened ") {
            pending = false;
        }
    }
    (heard, saved)
}

/// A refresh, one of a provider that takes its time before or after it has made up its mind, or a sign-in
/// over the one that is there. Nobody waits for the end of it.
async fn wish_for_something(house: &House, sandbox: &Sandbox, random: &mut Random) {
    match random.below(5) {
        0 => {
            let login = house.post("/v1/logins", json!({"profile": "default"})).await;
            let url = login["authorize_url"].as_str().unwrap().to_owned();
            let browser = sandbox.browser();
            tokio::spawn(async move { browser.sign_in(&url, "plus").await });
            return;
        }
        1 => sandbox.faults().push(Route::Refresh, Fault::delay(Duration::from_micros(random.below(15_000)))),
        _ => {}
    }
    let mut stream = UnixStream::connect(house.socket()).unwrap();
    let head = "POST /v1/profiles/-/refresh HTTP/1.1\r\nHost: authd\r\nContent-Type: application/json\r\n";
    stream.write_all(format!("{head}Content-Length: 2\r\n\r\n{{}}").as_bytes()).unwrap();
}

/// No token stands in any file of the state directory.
fn assert_nothing_in_clear(sandbox: &Sandbox, state: &Path) {
    let secrets = sandbox.issued_secrets();
    let newest = &secrets[secrets.len().saturating_sub(6)..];
    let mut places = vec![state.to_path_buf()];
    while let Some(place) = places.pop() {
        if place.is_dir() {
            places.extend(fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let bytes = fs::read(&place).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!newest.iter().any(|secret| text.contains(secret.as_str())), "{}", place.display());
    }
}

/// A sequence of numbers that looks random and can be had again (`SplitMix64`).
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
