//! What the audit log costs: reading the headers from a daemon that records each read in a file,
//! compared with one that does not. Each new connection also costs a reading of the process, and
//! each new process a line in the file; the target is about repeated reads.

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    connection::{Connection, first_exchanges, latencies, on_core, percentile},
    metric::{Metric, Samples, Target},
    program::{pin_process, run_time},
};

const PATH: &str = "/v1/profiles/-/headers";
const ROUNDS: usize = 9;
const RUNS: usize = 60;

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Metric>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let config = TestDaemonConfig::new(&binaries.authd, &sandbox);
    let on = TestDaemon::start(config.clone().toml("[audit]\nto = 'file'")).await;
    let off = TestDaemon::start(config).await;
    let daemons = [on, off];
    for daemon in &daemons {
        daemon.sign_in("default", "plus").await;
        pin_process(daemon.pid().unwrap_or_default(), 0);
    }
    let mut single = [Samples::default(), Samples::default()];
    let mut reconnecting = [Samples::default(), Samples::default()];
    let mut tokens = [Samples::default(), Samples::default()];
    for _ in 0..ROUNDS {
        for (index, daemon) in daemons.iter().enumerate() {
            let socket = daemon.socket();
            let times = on_core(0, || latencies(&mut [Connection::open(&socket, PATH)?], 10_000))?;
            single[index].push(percentile(&times, 50));
            let times = on_core(0, || first_exchanges(&socket, PATH, 2_000))?;
            reconnecting[index].push(percentile(&times, 50));
            let times: anyhow::Result<Vec<_>> = on_core(0, || {
                (0..RUNS).map(|_| run_time(&binaries.authctl, &["token"], daemon.env())).collect()
            });
            let mut times = times?;
            times.sort();
            tokens[index].push(percentile(&times, 50) / 1e3);
        }
    }
    let compared = |name: &str, unit, [on, off]: [Samples; 2], target| {
        Metric::compared(name, unit, on, ("without the audit log", off), target)
    };
    Ok(vec![
        compared(
            "headers with the audit log in a file, one client, one connection, same core: p50",
            "µs",
            single,
            Target::RatioAtMost(1.05),
        ),
        compared("the same, a new connection each time: p50", "µs", reconnecting, Target::Informative),
        compared("authctl token with the audit log, start to exit", "ms", tokens, Target::Informative),
    ])
}
