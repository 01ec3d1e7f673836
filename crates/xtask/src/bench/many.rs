//! One, 100, 1,000 and 10,000 profiles: latency, memory and start. One profile is created by a
//! login or with a key. The other records are copies of its record with their own grant ids.

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
    connection::{Connection, last_core, latencies, on_core, percentile},
    metric::{Metric, Samples, Target},
    program::{anonymous, pin_process},
    sizes::Readiness,
};

const SIZES: [u32; 4] = [1, 100, 1_000, 10_000];
const KEYS: u32 = 10_000;
const ROUNDS: usize = 7;

/// Number of records that each daemon saves and deletes before its memory is measured.
const SAVES: u32 = 100;

/// Length of an API key of the provider, in characters.
const KEY_LENGTH: usize = 164;

/// The credential of the profiles.
#[derive(Clone, Copy)]
enum CredentialKind {
    /// A login: an id token, an access token and a refresh token.
    Login,
    /// An API key of the user.
    ApiKey,
}

/// A daemon with many profiles, whose headers were all read once.
struct LoadedDaemon {
    daemon: TestDaemon,
    starts: Samples,
    memory: f64,
}

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Metric>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let mut daemons = Vec::new();
    for size in SIZES {
        daemons.push(start_with(binaries, &sandbox, CredentialKind::Login, size).await?);
    }
    let mut keys = Vec::new();
    for size in [1, KEYS] {
        keys.push(start_with(binaries, &sandbox, CredentialKind::ApiKey, size).await?.memory);
    }
    let mut reads = vec![Samples::default(); daemons.len()];
    for _ in 0..ROUNDS {
        for (loaded, rounds) in daemons.iter().zip(&mut reads) {
            pin_process(loaded.daemon.pid().unwrap_or_default(), 0);
            let socket = loaded.daemon.socket();
            let times = on_core(0, || {
                latencies(&mut [Connection::open(&socket, "/v1/profiles/p0/headers")?], 5_000)
            })?;
            rounds.push(percentile(&times, 50));
        }
    }
    let mut metrics = Vec::new();
    for (n, size) in SIZES.into_iter().enumerate().skip(1) {
        let (daemon, rounds) = (&daemons[n], &reads[n]);
        let one_profile = |rounds: &Samples| ("one profile", rounds.clone());
        let flat = Target::RatioAtMost(1.2);
        metrics.push(Metric::compared(
            format!("headers with {size} profiles: p50"),
            "µs",
            rounds.clone(),
            one_profile(&reads[0]),
            flat,
        ));
        let smaller = SIZES[n - 1];
        let each = memory(
            format!("memory for each profile, from {smaller} to {size}"),
            (smaller, daemons[n - 1].memory),
            (size, daemon.memory),
        );
        // The first step contains the buffers of the store's thread, which vary.
        metrics.push(if smaller == 1 { each.informative() } else { each });
        metrics.push(Metric::compared(
            format!("start to READY with {size} profiles in files"),
            "ms",
            daemon.starts.clone(),
            one_profile(&daemons[0].starts),
            // A hundredth of the ratio that reading all records first would have.
            Target::RatioAtMost((f64::from(size) / 100.0).max(1.5)),
        ));
    }
    let name = format!("memory for each API key, from 1 to {KEYS}");
    metrics.push(memory(name, (1, keys[0]), (KEYS, keys[1])));
    Ok(metrics)
}

/// The memory for each additional profile, from two pairs of a number of profiles and a total.
fn memory(name: String, (few, less): (u32, f64), (many, more): (u32, f64)) -> Metric {
    Metric::single(name, "kB", ((more - less) / f64::from(many - few) / 1e3).into(), 14.0)
}

async fn start_with(
    binaries: &Binaries,
    sandbox: &Sandbox,
    kind: CredentialKind,
    size: u32,
) -> anyhow::Result<LoadedDaemon> {
    let readiness = Readiness::bind()?;
    let config = readiness.configure(TestDaemonConfig::new(&binaries.authd, sandbox).store("file"));
    let mut daemon = TestDaemon::start(config).await;
    match kind {
        CredentialKind::Login => {
            daemon.sign_in("p0", "plus").await;
        }
        CredentialKind::ApiKey => {
            let key = format!(r#"{{"api_key": "sk-{}", "check": false}}"#, "x".repeat(KEY_LENGTH - 3));
            let put = daemon.request("PUT", "/v1/profiles/p0/api-key", &[], key).await;
            anyhow::ensure!(put.status.is_success(), "{}", put.text());
        }
    }
    daemon.sigterm_and_wait().await;
    copy_records(&daemon, size)?;
    let mut starts = Samples::default();
    for _ in 0..ROUNDS {
        readiness.discard()?;
        let (elapsed, ()) = tokio::join!(readiness.wait(), daemon.start_again());
        starts.push(elapsed?.as_secs_f64() * 1e3);
        daemon.sigterm_and_wait().await;
    }
    daemon.start_again().await;
    let socket = daemon.socket();
    // Every daemon does the same work before the measurement, so that its buffers have the same
    // size.
    for _ in 0..SAVES {
        daemon
            .request("PUT", "/v1/profiles/spare/api-key", &[], r#"{"api_key": "sk-spare", "check": false}"#)
            .await;
        daemon.request("DELETE", "/v1/profiles/spare", &[], "").await;
    }
    let read_all = move || {
        on_core(last_core(), || {
            for number in 0..SIZES.into_iter().fold(KEYS, u32::max) {
                let name = number % size;
                let mut connection = Connection::open(&socket, &format!("/v1/profiles/p{name}/headers"))?;
                connection.send()?;
                connection.receive()?;
            }
            Ok::<_, std::io::Error>(())
        })
    };
    tokio::task::spawn_blocking(read_all).await??;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let memory = anonymous(daemon.pid().unwrap_or_default())?;
    Ok(LoadedDaemon { daemon, starts, memory })
}

/// Copies the record of `p0` until the store has `size` records. Each copy gets its own grant id,
/// because the daemon does not accept two records of one grant. The `age` program decrypts and
/// encrypts the records.
fn copy_records(daemon: &TestDaemon, size: u32) -> anyhow::Result<()> {
    let (store, key) = (daemon.state().join("store"), daemon.state().join("store.key"));
    let decrypted =
        Command::new("age").arg("-d").arg("-i").arg(&key).arg(store.join("profile.p0.age")).output()?;
    anyhow::ensure!(decrypted.status.success(), "age cannot decrypt the record");
    let mut record: Value = serde_json::from_slice(&decrypted.stdout)?;
    let keys = fs::read_to_string(&key)?;
    let public =
        keys.lines().find_map(|line| line.strip_prefix("# public key: ")).context("no public key")?;
    for number in 1..size {
        record["grant_id"] = format!("bench-{number}").into();
        record["default_rank"] = 0.into();
        if let Some(token) = record["refresh_token"].as_str() {
            let unchanged = token.len().saturating_sub(8);
            record["refresh_token"] = format!("{}{number:08}", &token[..unchanged]).into();
        }
        let mut encrypt = Command::new("age")
            .args(["-r", public, "-o"])
            .arg(store.join(format!("profile.p{number}.age")))
            .stdin(Stdio::piped())
            .spawn()?;
        serde_json::to_writer(encrypt.stdin.take().context("age has no stdin")?, &record)?;
        anyhow::ensure!(encrypt.wait()?.success(), "age cannot encrypt a record");
    }
    Ok(())
}
