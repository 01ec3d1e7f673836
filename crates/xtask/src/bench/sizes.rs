//! How large the programs are, and how long the daemon takes from its start to its word that it is ready.

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
    figure::{Figure, Rounds},
};

const ROUNDS: usize = 15;

/// Plays the service manager that hears `READY=1`.
pub(crate) struct Readiness {
    socket: UnixDatagram,
    dir: TempDir,
}

impl Readiness {
    pub(crate) fn listen() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        Ok(Self { socket: UnixDatagram::bind(dir.path().join("notify"))?, dir })
    }

    /// The daemon that is measured.
    pub(crate) fn told<'a>(&self, config: TestDaemonConfig<'a>) -> TestDaemonConfig<'a> {
        config.env("NOTIFY_SOCKET", &self.dir.path().join("notify").to_string_lossy())
    }

    /// Forgets what was said until now.
    pub(crate) fn forget(&self) -> io::Result<()> {
        loop {
            match self.socket.try_recv(&mut [0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// How long it takes from now to the word.
    pub(crate) async fn wait(&self) -> io::Result<Duration> {
        let begun = Instant::now();
        let mut said = [0; 4096];
        loop {
            let length = self.socket.recv(&mut said).await?;
            if said[..length].starts_with(b"READY=1") {
                return Ok(begun.elapsed());
            }
        }
    }
}

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Figure>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let readiness = Readiness::listen()?;
    let mut starts = Rounds::default();
    for _ in 0..ROUNDS {
        let config = readiness.told(TestDaemonConfig::new(&binaries.authd, &sandbox).store("file"));
        let (took, daemon) = tokio::join!(readiness.wait(), TestDaemon::start(config));
        starts.push(took?.as_secs_f64() * 1e3);
        drop(daemon);
        readiness.forget()?;
    }
    let size = |path| -> anyhow::Result<Rounds> {
        Ok(Rounds::from(f64::from(u32::try_from(fs::metadata(path)?.len())?) / 1e6))
    };
    let linked = if crate::release::static_target().is_some() { "static" } else { "dynamic" };
    Ok(vec![
        Figure::alone("authd, stripped", "MB", size(&binaries.authd)?, 8.0),
        Figure::alone(format!("authctl, stripped, {linked}"), "MB", size(&binaries.authctl)?, 1.5),
        Figure::alone("authd, first start to READY (file store, warm page cache)", "ms", starts, 20.0),
    ])
}
