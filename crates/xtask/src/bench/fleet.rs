//! A fleet on PostgreSQL: what the database adds to a refresh, whether reads need it, how soon
//! another node has a new token, and how soon it takes over from a node that died.

use std::time::{Duration, Instant};

use authd_sandbox::{
    Config, Fault, Route, Sandbox,
    postgres::TestPostgres,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};

use super::{
    Binaries,
    connection::{Connection, latencies, on_core, percentile},
    metric::{Metric, Samples, Target},
    program::pin_process,
};

const HEADERS: &str = "/v1/profiles/-/headers";
const REFRESH: &str = "/v1/profiles/-/refresh";
const ROUNDS: usize = 9;
const REFRESHES: usize = 20;
/// The time limit of a refresh in seconds. A claim is held 15 s longer.
const TIMEOUT: u64 = 5;
const LEASE: u64 = TIMEOUT + 15;

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Metric>> {
    let Some(postgres) = TestPostgres::start()? else { return Ok(Vec::new()) };
    let mut metrics = refreshes_and_reads(binaries, &postgres).await?;
    metrics.push(takeover(binaries, &postgres).await?);
    Ok(metrics)
}

async fn node(
    binaries: &Binaries,
    sandbox: &Sandbox,
    postgres: &TestPostgres,
    name: &str,
) -> anyhow::Result<TestDaemon> {
    let table = postgres.node_table(name, &postgres.url())?;
    let settings = format!("{table}local = 'file'\n\n[network]\ntimeout = '{TIMEOUT}s'\n");
    let config = TestDaemonConfig::new(&binaries.authd, sandbox).store("postgres").toml(&settings);
    Ok(TestDaemon::start(config).await)
}

async fn refreshes_and_reads(binaries: &Binaries, postgres: &TestPostgres) -> anyhow::Result<Vec<Metric>> {
    let sandbox = Sandbox::start(Config::default()).await?;
    let file = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, &sandbox).store("file")).await;
    let first = node(binaries, &sandbox, postgres, "first").await?;
    first.post("/v1/store/migrate", json!({"to": "postgres"})).await;
    let second = node(binaries, &sandbox, postgres, "second").await?;
    for daemon in [&file, &first] {
        daemon.sign_in("default", "plus").await;
    }
    wait_for(&second, |profile| profile["name"] == "default").await;
    let (mut taken, mut arrivals) = ([Samples::default(), Samples::default()], Samples::default());
    let mut reads = [Samples::default(), Samples::default()];
    for daemon in [&file, &first] {
        pin_process(daemon.pid().unwrap_or_default(), 0);
    }
    for _ in 0..ROUNDS {
        for (index, daemon) in [&first, &file].into_iter().enumerate() {
            let mut times = Vec::new();
            for _ in 0..REFRESHES {
                let started = Instant::now();
                daemon.post(REFRESH, json!({})).await;
                times.push(started.elapsed());
            }
            times.sort_unstable();
            taken[index].push(percentile(&times, 50) / 1e3);
            let socket = daemon.socket();
            let times = on_core(0, || latencies(&mut [Connection::open(&socket, HEADERS)?], 10_000))?;
            reads[index].push(percentile(&times, 50));
        }
        let started = Instant::now();
        let newest = first.post(REFRESH, json!({})).await;
        wait_for(&second, |profile| profile["expires_at"] == newest["expires_at"]).await;
        arrivals.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let [in_fleet, alone] = &taken;
    let added = Samples::from(in_fleet.median() - alone.median());
    let [fleet_reads, file_reads] = reads;
    Ok(vec![
        Metric::single("a refresh in a fleet, beyond one with files: p50", "ms", added, 25.0),
        Metric::compared(
            "headers of a valid token in a fleet, one client, same core: p50",
            "µs",
            fleet_reads,
            ("authd with files", file_reads),
            Target::RatioAtMost(1.05),
        ),
        Metric::single(
            "from the request of a refresh on one node until another node has it",
            "ms",
            arrivals,
            1_000.0,
        ),
    ])
}

/// A node dies with the answer to its refresh; the access token expires within the lease.
async fn takeover(binaries: &Binaries, postgres: &TestPostgres) -> anyhow::Result<Metric> {
    let sandbox = Sandbox::start(Config::default().with_lifetime(Duration::from_secs(70))).await?;
    let mut first = node(binaries, &sandbox, postgres, "first").await?;
    let second = node(binaries, &sandbox, postgres, "second").await?;
    first.sign_in("other", "plus").await;
    let path = "/v1/profiles/other/refresh";
    sandbox.faults().push(Route::Refresh, Fault::Stall);
    let started = Instant::now();
    tokio::select! {
        sent = first.try_request("POST", path, &[], "") => drop(sent?),
        () = sandbox.wait_for(Route::Refresh, 1) => {}
    }
    first.kill9().await;
    tokio::select! {
        reply = async {
            while second.try_request("POST", path, &[], "").await.is_ok_and(|reply| reply.status != 200) {}
        } => reply,
        () = sandbox.wait_for(Route::Refresh, 2) => {}
    }
    let seconds = Samples::from(started.elapsed().as_secs_f64());
    let limit = Duration::from_secs(LEASE + 2).as_secs_f64();
    let name =
        format!("a node dies during a refresh: time until another node refreshes (a claim lasts {LEASE} s)");
    Ok(Metric::single(name, "s", seconds, limit))
}

/// Waits until the default profile is so.
async fn wait_for(daemon: &TestDaemon, condition: impl Fn(&Value) -> bool) {
    loop {
        let reply = daemon.request("GET", "/v1/profiles/-", &[], "").await;
        if reply.status == 200 && condition(&reply.json()) {
            return;
        }
    }
}
