//! One profile, a hundred, ten thousand. One person signs in, or brings a key; the other records are made of that one,
//! each of a grant of its own, which the daemon has to open and hold.

use std::{
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::Value;

use super::{
    Binaries,
    figure::{Figure, Rounds, Target},
    load::{Link, last_core, latencies, on_core, quantile},
    program::{anonymous, keep_on},
    sizes::Readiness,
};

const SIZES: [u32; 3] = [1, 100, 10_000];
const KEYS: u32 = 10_000;
const ROUNDS: usize = 7;

/// How often each store saves a record, reads it back and forgets it, before memory is looked at.
const SAVES: u32 = 100;

/// As long as the keys are that the provider makes for a project.
const KEY_LENGTH: usize = 164;

/// What the profiles are.
#[derive(Clone, Copy)]
enum Kind {
    /// Somebody signed in: an id token, an access token and a refresh token.
    SignedIn,
    /// A key of one's own.
    Key,
}

/// A daemon with so many profiles, all of them read.
struct Populated {
    daemon: TestDaemon,
    starts: Rounds,
    memory: f64,
}

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Figure>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let mut all = Vec::new();
    for size in SIZES {
        all.push(populated(binaries, &sandbox, Kind::SignedIn, size).await?);
    }
    let mut keys = Vec::new();
    for size in [1, KEYS] {
        keys.push(populated(binaries, &sandbox, Kind::Key, size).await?.memory);
    }
    let mut reads = vec![Rounds::default(); all.len()];
    for _ in 0..ROUNDS {
        for (one, rounds) in all.iter().zip(&mut reads) {
            keep_on(one.daemon.pid().unwrap_or_default(), 0);
            let socket = one.daemon.socket();
            let times =
                on_core(0, || latencies(&mut [Link::open(&socket, "/v1/profiles/p0/headers")?], 5_000))?;
            rounds.push(quantile(&times, 50));
        }
    }
    let mut figures = Vec::new();
    for (n, size) in SIZES.into_iter().enumerate().skip(1) {
        let (one, rounds) = (&all[n], &reads[n]);
        let beside = |rounds: &Rounds| ("one profile", rounds.clone());
        let flat = Target::RatioAtMost(1.2);
        figures.push(Figure::beside(
            format!("headers of one among {size} profiles: p50"),
            "µs",
            rounds.clone(),
            beside(&reads[0]),
            flat,
        ));
        let fewer = SIZES[n - 1];
        let each = memory(
            format!("memory for each profile, from {fewer} to {size}"),
            (fewer, all[n - 1].memory),
            (size, one.memory),
        );
        // In the first hundred is what the store's thread has of its own, which is as it happens.
        figures.push(if fewer == 1 { each.only_told() } else { each });
        figures.push(Figure::beside(
            format!("start to READY with {size} profiles in files"),
            "ms",
            one.starts.clone(),
            beside(&all[0].starts),
            // A hundredth of what it would be if every record had to be read first.
            Target::RatioAtMost((f64::from(size) / 100.0).max(1.5)),
        ));
    }
    let what = format!("memory for each key of one's own, from 1 to {KEYS}");
    figures.push(memory(what, (1, keys[0]), (KEYS, keys[1])));
    Ok(figures)
}

/// What each profile takes up that there is more of: of so many, who have so much, to so many.
fn memory(what: String, (few, less): (u32, f64), (many, more): (u32, f64)) -> Figure {
    Figure::alone(what, "kB", ((more - less) / f64::from(many - few) / 1e3).into(), 4.0)
}

async fn populated(
    binaries: &Binaries,
    sandbox: &Sandbox,
    kind: Kind,
    size: u32,
) -> anyhow::Result<Populated> {
    let readiness = Readiness::listen()?;
    let config = readiness.told(TestDaemonConfig::new(&binaries.authd, sandbox).store("file"));
    let mut daemon = TestDaemon::start(config).await;
    match kind {
        Kind::SignedIn => {
            daemon.sign_in("p0", "plus").await;
        }
        Kind::Key => {
            let key = format!(r#"{{"api_key": "sk-{}"}}"#, "x".repeat(KEY_LENGTH - 3));
            let put = daemon.request("PUT", "/v1/profiles/p0/api-key", &[], key).await;
            anyhow::ensure!(put.status.is_success(), "{}", put.text());
        }
    }
    daemon.sigterm_and_wait().await;
    multiply(&daemon, size)?;
    let mut starts = Rounds::default();
    for _ in 0..ROUNDS {
        readiness.forget()?;
        let (took, ()) = tokio::join!(readiness.wait(), daemon.start_again());
        starts.push(took?.as_secs_f64() * 1e3);
        daemon.sigterm_and_wait().await;
    }
    daemon.start_again().await;
    let socket = daemon.socket();
    // All have worked as much, the server and the store: the buffers that a daemon has from then on are in none of
    // the figures.
    for _ in 0..SAVES {
        daemon.request("PUT", "/v1/profiles/spare/api-key", &[], r#"{"api_key": "sk-spare"}"#).await;
        daemon.request("DELETE", "/v1/profiles/spare", &[], "").await;
    }
    let asked = move || {
        on_core(last_core(), || {
            for number in 0..SIZES.into_iter().fold(KEYS, u32::max) {
                let name = number % size;
                let mut link = Link::open(&socket, &format!("/v1/profiles/p{name}/headers"))?;
                link.ask()?;
                link.take()?;
            }
            Ok::<_, std::io::Error>(())
        })
    };
    tokio::task::spawn_blocking(asked).await??;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let memory = anonymous(daemon.pid().unwrap_or_default())?;
    Ok(Populated { daemon, starts, memory })
}

/// Makes more records of the one that is there, each of a grant of its own: two records of one grant are not left as they
/// are. The stock `age` program opens and seals them.
fn multiply(daemon: &TestDaemon, size: u32) -> anyhow::Result<()> {
    let (store, key) = (daemon.state().join("store"), daemon.state().join("store.key"));
    let opened =
        Command::new("age").arg("-d").arg("-i").arg(&key).arg(store.join("profile.p0.age")).output()?;
    anyhow::ensure!(opened.status.success(), "age cannot open the record");
    let mut record: Value = serde_json::from_slice(&opened.stdout)?;
    let keys = fs::read_to_string(&key)?;
    let public =
        keys.lines().find_map(|line| line.strip_prefix("# public key: ")).context("no public key")?;
    for number in 1..size {
        record["grant_id"] = format!("bench-{number}").into();
        record["default_rank"] = 0.into();
        if let Some(token) = record["refresh_token"].as_str() {
            let kept = token.len().saturating_sub(8);
            record["refresh_token"] = format!("{}{number:08}", &token[..kept]).into();
        }
        let mut seal = Command::new("age")
            .args(["-r", public, "-o"])
            .arg(store.join(format!("profile.p{number}.age")))
            .stdin(Stdio::piped())
            .spawn()?;
        serde_json::to_writer(seal.stdin.take().context("a pipe was asked for")?, &record)?;
        anyhow::ensure!(seal.wait()?.success(), "age cannot seal a record");
    }
    Ok(())
}
