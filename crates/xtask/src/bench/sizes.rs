//! The sizes of the programs, and the time from the start of the daemon to `READY=1`.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use tempfile::TempDir;
use tokio::net::UnixDatagram;

use super::{
    Binaries,
    metric::{Metric, Samples},
};
use crate::release::{host, static_target};

const ROUNDS: usize = 15;

/// The notification socket of a service manager, which receives `READY=1`.
pub(crate) struct Readiness {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Readiness {
    pub(crate) fn bind() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        Ok(Self { socket: UnixDatagram::bind(dir.path().join("notify"))?, dir })
    }

    /// Makes the daemon notify this socket.
    pub(crate) fn configure<'a>(&self, config: TestDaemonConfig<'a>) -> TestDaemonConfig<'a> {
        config.env("NOTIFY_SOCKET", &self.dir.path().join("notify").to_string_lossy())
    }

    /// Discards the messages that have arrived.
    pub(crate) fn discard(&self) -> io::Result<()> {
        loop {
            match self.socket.try_recv(&mut [0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for `READY=1`, and returns the time from the call.
    pub(crate) async fn wait(&self) -> io::Result<Duration> {
        let started = Instant::now();
        let mut message = [0; 4096];
        loop {
            let length = self.socket.recv(&mut message).await?;
            if message[..length].starts_with(b"READY=1") {
                return Ok(started.elapsed());
            }
        }
    }
}

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Metric>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let readiness = Readiness::bind()?;
    let mut starts = Samples::default();
    for _ in 0..ROUNDS {
        let config = readiness.configure(TestDaemonConfig::new(&binaries.authd, &sandbox).store("file"));
        let (elapsed, daemon) = tokio::join!(readiness.wait(), TestDaemon::start(config));
        starts.push(elapsed?.as_secs_f64() * 1e3);
        drop(daemon);
        readiness.discard()?;
    }
    let size = |path| -> anyhow::Result<Samples> {
        Ok(Samples::from(f64::from(u32::try_from(fs::metadata(path)?.len())?) / 1e6))
    };
    let linked = if static_target(&host()?).is_some() { "static" } else { "dynamic" };
    Ok(vec![
        Metric::single("authd, stripped", "MB", size(&binaries.authd)?, 12.0),
        Metric::single(format!("authctl, stripped, {linked}"), "MB", size(&binaries.authctl)?, 2.2),
        Metric::single("authd, start to READY (file store, warm page cache)", "ms", starts, 20.0),
    ])
}
