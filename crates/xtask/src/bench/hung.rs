//! Reading a valid token while everything else hangs: a refresh that is never answered, a store that never
//! returns, and two hundred connections that stop in the middle of a request's head; beside a quiet daemon.

use std::{io::Write, os::unix::net::UnixStream};

use authd_sandbox::{
    Fault, Route, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    figure::{Figure, Rounds, Target},
    load::{Link, latencies, on_core, quantile},
    program::keep_on,
};

const PATH: &str = "/v1/profiles/-/headers";
const ROUNDS: usize = 9;
const HALF_OPEN: usize = 200;

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Figure>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let quiet = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, &sandbox)).await;
    let moods = tempfile::tempdir()?;
    let mood = moods.path().join("mood");
    let patient =
        "[socket]\nheader_timeout = \"2m\"\n[refresh]\nwait = \"2m\"\n[network]\ntimeout = \"2m\"\n";
    let config = TestDaemonConfig::new(&binaries.authd, &sandbox).toml(patient);
    let daemon = TestDaemon::start(config).await;
    // [store] is the daemon's own table, and it has no key for this.
    let text = std::fs::read_to_string(daemon.config())?;
    let line = format!("kind = \"memory\"\nmemory_control = \"{}\"", mood.display());
    std::fs::write(daemon.config(), text.replace("kind = \"memory\"", &line))?;
    let mut daemon = daemon;
    daemon.restart().await;
    for one in [&quiet, &daemon] {
        one.sign_in("default", "plus").await;
        keep_on(one.pid().unwrap_or_default(), 0);
    }
    sandbox.faults().push_times(Route::Refresh, Fault::Stall, usize::MAX);
    let refresh = async {
        let refused = daemon.try_request("POST", "/v1/profiles/-/refresh", &[], "{}").await;
        anyhow::bail!("the refresh ended: {refused:?}")
    };
    let measured = async {
        // The daemon notes that it refreshes before it does; only then may the store hang.
        sandbox.wait_for(Route::Refresh, 1).await;
        std::fs::write(&mood, "hang")?;
        // Another sign-in's record meets the store.
        let body = r#"{"api_key": "sk-of-ones-own"}"#;
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
        let mut rounds = [Rounds::default(), Rounds::default()];
        for _ in 0..ROUNDS {
            for (which, one) in [&daemon, &quiet].into_iter().enumerate() {
                let socket = one.socket();
                let times = on_core(0, || latencies(&mut [Link::open(&socket, PATH)?], 20_000))?;
                rounds[which].push(quantile(&times, 99));
            }
        }
        drop(half_open);
        Ok(rounds)
    };
    let [ours, quiet] = tokio::select! {
        rounds = measured => rounds?,
        ended = refresh => ended?,
    };
    let what = format!(
        "headers while a refresh hangs, the store hangs and {HALF_OPEN} connections are half open: p99"
    );
    Ok(vec![Figure::beside(what, "µs", ours, ("a quiet daemon", quiet), Target::RatioAtMost(2.0))])
}
