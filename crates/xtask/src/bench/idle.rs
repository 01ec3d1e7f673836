//! Wake-ups, processor time and memory in a minute without work, with ten profiles.

use std::time::Duration;

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    metric::Metric,
    program::{activity, anonymous, resident},
};

const PROFILES: usize = 10;
const SPAN: Duration = Duration::from_secs(60);

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Metric>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, &sandbox).store("auto")).await;
    for number in 0..PROFILES {
        daemon.sign_in(&format!("p{number}"), "plus").await;
    }
    // The usual case: the daemon loads the profiles at its start.
    daemon.restart().await;
    for number in 0..PROFILES {
        daemon.get(&format!("/v1/profiles/p{number}/headers")).await;
    }
    // Waits for the work after the first responses.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pid = daemon.pid().unwrap_or_default();
    let (switches, nanoseconds) = activity(pid)?;
    tokio::time::sleep(SPAN).await;
    let (later, spent) = activity(pid)?;
    let seconds = SPAN.as_secs();
    Ok(vec![
        Metric::single(
            format!("wake-ups in {seconds} s without work, {PROFILES} profiles, no watchdog"),
            "times",
            (later - switches).into(),
            0.0,
        ),
        Metric::single("processor time in these seconds", "ms", ((spent - nanoseconds) / 1e6).into(), 0.0),
        Metric::single(
            format!("memory with {PROFILES} profiles (RSS)"),
            "MB",
            (resident(pid)? / 1e6).into(),
            10.0,
        ),
        Metric::single("private memory of these (RssAnon)", "MB", (anonymous(pid)? / 1e6).into(), 1.6),
    ])
}
