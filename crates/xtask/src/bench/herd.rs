//! A thousand clients request headers while the token is expired and the provider is slow: the time
//! from the provider's response to the last client's response, and the number of refreshes.

use std::time::{Duration, Instant};

use authd_sandbox::{
    Account, Config, Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    connection::Connection,
    metric::{Metric, Samples},
};

const PATH: &str = "/v1/profiles/-/headers";
const ROUNDS: usize = 5;
const CLIENTS: usize = 1_000;
const LATENCY: Duration = Duration::from_millis(300);

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Metric>> {
    rustix::process::setrlimit(rustix::process::Resource::Nofile, {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum }
    })?;
    let (mut delays, mut refreshes) = (Samples::default(), Samples::default());
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
        let elapsed = tokio::task::spawn_blocking(move || request_all(&socket)).await??;
        delays.push(elapsed.saturating_sub(LATENCY).as_secs_f64() * 1e3);
        refreshes.push(f64::from(u32::try_from(sandbox.count(Route::Refresh))?));
    }
    let milliseconds = LATENCY.as_millis();
    Ok(vec![
        Metric::single(
            format!(
                "{CLIENTS} clients connect and request headers, the token is expired, the provider \
                 needs {milliseconds} ms: time from then to the last response"
            ),
            "ms",
            delays,
            50.0,
        ),
        Metric::single("refreshes for these clients", "calls", refreshes, 1.0),
    ])
}

fn request_all(socket: &std::path::Path) -> std::io::Result<Duration> {
    let started = Instant::now();
    let mut connections = Vec::with_capacity(CLIENTS);
    for _ in 0..CLIENTS {
        let mut connection = Connection::open(socket, PATH)?;
        connection.send()?;
        connections.push(connection);
    }
    for connection in &mut connections {
        connection.receive()?;
    }
    Ok(started.elapsed())
}
