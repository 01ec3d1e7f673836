//! Reading the headers of a valid token: one client, 64 clients, and a client that connects each
//! time. The baseline is an axum server with one route and a response of the same length.

use std::time::Duration;

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    connection::{Connection, first_exchanges, last_core, latencies, on_core, percentile, throughput},
    metric::{Metric, Samples, Target},
    program::{Baseline, pin_process},
};

const PATH: &str = "/v1/profiles/-/headers";
const ROUNDS: usize = 9;
const CLIENTS: usize = 64;
const SPAN: Duration = Duration::from_millis(400);

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Metric>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let daemon = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, &sandbox)).await;
    daemon.sign_in("default", "plus").await;
    let response = daemon.request("GET", PATH, &[], "").await;
    let baseline =
        Baseline::start(&binaries.baselines.join("baseline-axum"), &[response.body.len().to_string()])?;
    pin_process(daemon.pid().unwrap_or_default(), 0);
    pin_process(baseline.pid(), 0);
    let sockets = [daemon.socket(), baseline.socket()];

    let mut single = [Samples::default(), Samples::default()];
    let mut concurrent = [Samples::default(), Samples::default()];
    let mut reconnecting = [Samples::default(), Samples::default()];
    for _ in 0..ROUNDS {
        for (index, socket) in sockets.iter().enumerate() {
            let times = on_core(0, || latencies(&mut [Connection::open(socket, PATH)?], 10_000))?;
            single[index].push(percentile(&times, 50));
            let times = on_core(0, || first_exchanges(socket, PATH, 2_000))?;
            reconnecting[index].push(percentile(&times, 50));
            let rate = on_core(last_core(), || throughput(CLIENTS, SPAN, || Connection::open(socket, PATH)))?;
            concurrent[index].push(rate);
        }
    }
    let length = response.body.len();
    let compared = |name: String, unit, [authd, axum]: [Samples; 2], target| {
        Metric::compared(name, unit, authd, ("plain axum", axum), target)
    };
    Ok(vec![
        compared(
            format!("headers ({length} bytes), one client, one connection, same core: p50"),
            "µs",
            single,
            Target::RatioAtMost(1.25),
        ),
        compared(
            format!("the same, {CLIENTS} clients on another core"),
            "responses/s",
            concurrent,
            Target::RatioAtLeast(0.85),
        ),
        compared(
            "the same, a new connection each time, same core: p50".to_owned(),
            "µs",
            reconnecting,
            Target::RatioAtMost(1.5),
        ),
    ])
}
