//! Reading a valid token while a refresh gets no response, the store hangs, and two hundred
//! connections stay in the middle of a request head. The baseline is an idle daemon.

use std::{io::Write, os::unix::net::UnixStream};

use authd_sandbox::{
    Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    connection::{Connection, latencies, on_core, percentile},
    metric::{Metric, Samples, Target},
    program::pin_process,
};

const PATH: &str = "/v1/profiles/-/headers";
const ROUNDS: usize = 9;
const HALF_OPEN: usize = 200;

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Metric>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let idle = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, &sandbox)).await;
    let control_dir = tempfile::tempdir()?;
    let control_file = control_dir.path().join("control");
    let timeouts =
        "[socket]\nheader_timeout = \"2m\"\n[refresh]\nwait = \"2m\"\n[network]\ntimeout = \"2m\"\n";
    let config = TestDaemonConfig::new(&binaries.authd, &sandbox).toml(timeouts);
    let daemon = TestDaemon::start(config).await;
    // The test daemon writes the [store] table itself, and has no option for this key.
    let text = std::fs::read_to_string(daemon.config())?;
    let line = format!("kind = \"memory\"\nmemory_control = \"{}\"", control_file.display());
    std::fs::write(daemon.config(), text.replace("kind = \"memory\"", &line))?;
    let mut daemon = daemon;
    daemon.restart().await;
    for target in [&idle, &daemon] {
        target.sign_in("default", "plus").await;
        pin_process(target.pid().unwrap_or_default(), 0);
    }
    sandbox.faults().push_times(Route::Refresh, Fault::Stall, usize::MAX);
    let refresh = async {
        let result = daemon.try_request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
        anyhow::bail!("the refresh ended: {result:?}")
    };
    let measured = async {
        // The daemon writes an intent to the store before a refresh, so the store may hang only
        // later.
        sandbox.wait_for(Route::Refresh, 1).await;
        std::fs::write(&control_file, "hang")?;
        // A save of another profile blocks the store.
        let body = r#"{"api_key": "sk-of-ones-own", "check": false}"#;
        let save = daemon.open("PUT", "/v1/profiles/other/api-key", &[], body);
        let save = tokio::time::timeout(std::time::Duration::from_millis(200), save).await;
        anyhow::ensure!(save.is_err(), "the store does not hang");
        let half_open: Result<Vec<_>, _> = (0..HALF_OPEN)
            .map(|_| {
                let mut stream = UnixStream::connect(daemon.socket())?;
                stream.write_all(b"GET /v1/prof")?;
                Ok::<_, std::io::Error>(stream)
            })
            .collect();
        let half_open = half_open?;
        let mut rounds = [Samples::default(), Samples::default()];
        for _ in 0..ROUNDS {
            for (index, target) in [&daemon, &idle].into_iter().enumerate() {
                let socket = target.socket();
                let times = on_core(0, || latencies(&mut [Connection::open(&socket, PATH)?], 20_000))?;
                rounds[index].push(percentile(&times, 99));
            }
        }
        drop(half_open);
        Ok(rounds)
    };
    let [busy, idle] = tokio::select! {
        rounds = measured => rounds?,
        ended = refresh => ended?,
    };
    let name = format!(
        "headers while a refresh hangs, the store hangs and {HALF_OPEN} requests are incomplete: p99"
    );
    Ok(vec![Metric::compared(name, "µs", busy, ("idle daemon", idle), Target::RatioAtMost(2.0))])
}
