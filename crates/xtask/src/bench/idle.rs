//! A minute in which nothing is due, with ten people signed in.

use std::time::Duration;

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    figure::Figure,
    program::{activity, resident},
};

const PROFILES: usize = 10;
const SPAN: Duration = Duration::from_secs(60);

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Figure>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, &sandbox).store("file")).await;
    for number in 0..PROFILES {
        daemon.sign_in(&format!("p{number}"), "plus").await;
    }
    // As it is every day: started with the profiles, not signed in to.
    daemon.restart().await;
    for number in 0..PROFILES {
        daemon.get(&format!("/v1/profiles/p{number}/headers")).await;
    }
    // What the first answers set off is done in a moment; that moment is not idle.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let pid = daemon.pid().unwrap_or_default();
    let (switches, nanoseconds) = activity(pid)?;
    tokio::time::sleep(SPAN).await;
    let (later, spent) = activity(pid)?;
    let seconds = SPAN.as_secs();
    Ok(vec![
        Figure::alone(
            format!("wake-ups in {seconds} s with nothing due, {PROFILES} profiles, no watchdog"),
            "times",
            (later - switches).into(),
            0.0,
        ),
        Figure::alone("processor time in that span", "ms", ((spent - nanoseconds) / 1e6).into(), 0.0),
        Figure::alone(
            format!("memory with {PROFILES} profiles (RSS)"),
            "MB",
            (resident(pid)? / 1e6).into(),
            6.5,
        ),
    ])
}
