//! Reading the headers of a valid token: one client, sixty-four, and one that connects each time; beside
//! a bare axum whose answer has the same length.

use std::time::Duration;

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    figure::{Figure, Rounds, Target},
    load::{Link, first_exchanges, last_core, latencies, on_core, quantile, throughput},
    program::{Floor, keep_on},
};

const PATH: &str = "/v1/profiles/-/headers";
const ROUNDS: usize = 9;
const CLIENTS: usize = 64;
const SPAN: Duration = Duration::from_millis(400);

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Figure>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let daemon = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, &sandbox)).await;
    daemon.sign_in("default", "plus").await;
    let answer = daemon.request("GET", PATH, &[], "").await;
    let floor = Floor::start(&binaries.floors.join("floor-answer"), &[answer.body.len().to_string()])?;
    keep_on(daemon.pid().unwrap_or_default(), 0);
    keep_on(floor.child.id(), 0);
    let sockets = [daemon.socket(), floor.socket()];

    let mut kept = [Rounds::default(), Rounds::default()];
    let mut crowd = [Rounds::default(), Rounds::default()];
    let mut fresh = [Rounds::default(), Rounds::default()];
    for _ in 0..ROUNDS {
        for (which, socket) in sockets.iter().enumerate() {
            let times = on_core(0, || latencies(&mut [Link::open(socket, PATH)?], 10_000))?;
            kept[which].push(quantile(&times, 50));
            let times = on_core(0, || first_exchanges(socket, PATH, 2_000))?;
            fresh[which].push(quantile(&times, 50));
            let rate = on_core(last_core(), || {
                let links: Result<Vec<_>, _> = (0..CLIENTS).map(|_| Link::open(socket, PATH)).collect();
                let mut links = links?;
                // Lets every link learn how long the answer is.
                latencies(&mut links, CLIENTS)?;
                throughput(&mut links, SPAN)
            })?;
            crowd[which].push(rate);
        }
    }
    let length = answer.body.len();
    let figure = |what: String, unit, [ours, bare]: [Rounds; 2], target| {
        Figure::beside(what, unit, ours, ("bare axum", bare), target)
    };
    Ok(vec![
        figure(
            format!("headers ({length} bytes), one client on a kept connection, same core: p50"),
            "µs",
            kept,
            Target::RatioAtMost(1.3),
        ),
        figure(
            format!("the same, {CLIENTS} clients, the callers on another core"),
            "answers/s",
            crowd,
            Target::RatioAtLeast(0.8),
        ),
        figure(
            "the same, a new connection each time, same core: p50".to_owned(),
            "µs",
            fresh,
            Target::RatioAtMost(1.5),
        ),
    ])
}
