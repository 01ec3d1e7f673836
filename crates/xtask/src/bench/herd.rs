//! A thousand clients meet an expired token, and a provider that takes its time: how much later than the
//! provider's answer the last of them has his, and how many refreshes it cost.

use std::time::{Duration, Instant};

use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    figure::{Figure, Rounds},
    load::Link,
};

const PATH: &str = "/v1/profiles/-/headers";
const ROUNDS: usize = 5;
const CLIENTS: usize = 1_000;
const LATENCY: Duration = Duration::from_millis(300);

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Figure>> {
    rustix::process::setrlimit(rustix::process::Resource::Nofile, {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum }
    })?;
    let (mut late, mut refreshes) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        let short = [Account::plus().with_lifetime(Duration::from_secs(1))];
        let sandbox = Sandbox::start(Config::with_accounts(short)).await?;
        let daemon = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, &sandbox)).await;
        daemon.sign_in("default", "plus").await;
        sandbox.put_account(Account::plus());
        while daemon.get("/v1/profiles/-").await["state"] != "expired" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sandbox.faults().push(Route::Refresh, Fault::delay(LATENCY));
        let socket = daemon.socket();
        let took = tokio::task::spawn_blocking(move || ask_all(&socket)).await??;
        late.push(took.saturating_sub(LATENCY).as_secs_f64() * 1e3);
        refreshes.push(f64::from(u32::try_from(sandbox.count(Route::Refresh))?));
    }
    let milliseconds = LATENCY.as_millis();
    Ok(vec![
        Figure::alone(
            format!(
                "{CLIENTS} clients connect and ask with an expired token, the provider takes \
                 {milliseconds} ms: the last answer, beyond those"
            ),
            "ms",
            late,
            50.0,
        ),
        Figure::alone("refreshes that this cost", "calls", refreshes, 1.0),
    ])
}

fn ask_all(socket: &std::path::Path) -> std::io::Result<Duration> {
    let begun = Instant::now();
    let mut links = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        let mut link = Link::open(socket, PATH)?;
        link.ask()?;
        links.push(link);
    }
    for link in &mut links {
        link.take()?;
    }
    Ok(begun.elapsed())
}
