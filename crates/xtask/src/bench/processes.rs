//! `authctl token` from its start to its end, beside the least program that makes the same exchange.

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    figure::{Figure, Rounds, Target},
    load::{on_core, quantile},
    program::{keep_on, run_time},
};

const ROUNDS: usize = 9;
const RUNS: usize = 60;

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Figure>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let daemon = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, &sandbox)).await;
    daemon.sign_in("default", "plus").await;
    keep_on(daemon.pid().unwrap_or_default(), 0);
    let programs: [(_, &[&str]); 2] = [(&binaries.authctl, &["token"]), (&binaries.ask, &[])];
    let mut rounds = [Rounds::default(), Rounds::default()];
    for _ in 0..ROUNDS {
        for (which, (program, args)) in programs.iter().enumerate() {
            let times: anyhow::Result<Vec<_>> =
                on_core(0, || (0..RUNS).map(|_| run_time(program, args, daemon.env())).collect());
            let mut times = times?;
            times.sort();
            rounds[which].push(quantile(&times, 50) / 1e3);
        }
    }
    let [ours, least] = rounds;
    let target = Target::RatioAtMost(1.5);
    Ok(vec![Figure::beside("authctl token, start to end", "ms", ours, ("least program", least), target)])
}
