//! `authctl token` from start to exit. The baseline is a minimal program that makes the same
//! exchange.

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    connection::{on_core, percentile},
    metric::{Metric, Samples, Target},
    program::{pin_process, run_time},
};

const ROUNDS: usize = 9;
const RUNS: usize = 60;

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Metric>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let daemon = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, &sandbox)).await;
    daemon.sign_in("default", "plus").await;
    pin_process(daemon.pid().unwrap_or_default(), 0);
    let programs: [(_, &[&str]); 2] = [(&binaries.authctl, &["token"]), (&binaries.token_baseline, &[])];
    let mut rounds = [Samples::default(), Samples::default()];
    for _ in 0..ROUNDS {
        for (index, (program, args)) in programs.iter().enumerate() {
            let times: anyhow::Result<Vec<_>> =
                on_core(0, || (0..RUNS).map(|_| run_time(program, args, daemon.env())).collect());
            let mut times = times?;
            times.sort();
            rounds[index].push(percentile(&times, 50) / 1e3);
        }
    }
    let [authctl, baseline] = rounds;
    let target = Target::RatioAtMost(1.2);
    Ok(vec![Metric::compared(
        "authctl token, start to exit",
        "ms",
        authctl,
        ("minimal program", baseline),
        target,
    )])
}
