//! Processes of the benchmark: starting a baseline, and reading what /proc says about a process.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::connection::pin;

/// Longest time until a baseline listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// A running program. Dropping it kills the process.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_owned();
        Ok(Self(command.spawn().with_context(|| program.display().to_string())?))
    }

    /// Starts a baseline that prints its address. Also returns this line.
    pub(crate) fn with_address(program: &Path) -> anyhow::Result<(Self, String)> {
        let mut running = Self::start(Command::new(program).stdout(Stdio::piped()))?;
        let mut address = String::new();
        BufReader::new(running.0.stdout.take().context("no stdout")?).read_line(&mut address)?;
        Ok((running, address.trim_end().to_owned()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // An error means that the process has already exited.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Waits until a program accepts connections on its socket.
pub(crate) fn wait_for_socket(socket: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    while UnixStream::connect(socket).is_err() {
        if Instant::now() > deadline {
            bail!("no program listens on {}", socket.display());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// A running baseline that serves a Unix socket.
pub(crate) struct Baseline {
    process: Running,
    dir: TempDir,
}

impl Baseline {
    /// Starts the program, and returns when its socket accepts connections.
    pub(crate) fn start(program: &Path, args: &[String]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("socket");
        let process = Running::start(Command::new(program).arg(&socket).args(args))?;
        wait_for_socket(&socket)?;
        Ok(Self { process, dir })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }
}

/// Pins all threads of a process to one core.
pub(crate) fn pin_process(pid: u32, core: usize) {
    for (_, thread) in threads(pid).unwrap_or_default() {
        pin(rustix::thread::Pid::from_raw(thread), core);
    }
}

/// The resident memory of a process (RSS), in bytes.
pub(crate) fn resident(pid: u32) -> anyhow::Result<f64> {
    kib(pid, "VmRSS:")
}

/// The resident anonymous memory: heap, stacks and buffers, in bytes.
pub(crate) fn anonymous(pid: u32) -> anyhow::Result<f64> {
    kib(pid, "RssAnon:")
}

/// The peak of the resident memory while `work` runs, in bytes.
pub(crate) fn peak_during(pid: u32, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    // Resets the peak to the current value (proc_pid_clear_refs(5)).
    fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
    work()?;
    kib(pid, "VmHWM:")
}

fn kib(pid: u32, key: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(number(&status, key).with_context(|| format!("no {key}"))? * 1024.0)
}

/// The memory of a process, in bytes. Pages that processes share are divided among them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Heap, stacks and buffers.
    pub(crate) own: f64,
    /// Parts of the program and its libraries.
    pub(crate) files: f64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let kib = |key: &str| anyhow::Ok(number(&rollup, key).with_context(|| format!("no {key}"))? * 1024.0);
        Ok(Self { own: kib("Pss_Anon:")?, files: kib("Pss_File:")? })
    }
}

impl std::iter::Sum for Memory {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self { own: sum.own + one.own, files: sum.files + one.files })
    }
}

/// Kills a process.
pub(crate) fn kill(pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("a process id")?;
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
}

/// The number of voluntary context switches of all threads, and their processor time in
/// nanoseconds.
pub(crate) fn activity(pid: u32) -> anyhow::Result<(f64, f64)> {
    let (mut switches, mut nanoseconds) = (0.0, 0.0);
    for (path, _) in threads(pid)? {
        let status = fs::read_to_string(path.join("status"))?;
        switches += number(&status, "voluntary_ctxt_switches:").context("no context switches")?;
        let schedstat = fs::read_to_string(path.join("schedstat"))?;
        nanoseconds += schedstat.split(' ').next().context("no processor time")?.parse::<f64>()?;
    }
    Ok((switches, nanoseconds))
}

fn threads(pid: u32) -> io::Result<Vec<(PathBuf, i32)>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
    Ok(entries.filter_map(|entry| Some((entry.path(), entry.file_name().to_str()?.parse().ok()?))).collect())
}

fn number(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Runs a program, which must succeed, and returns the time from its start to its exit.
pub(crate) fn run_time(program: &Path, args: &[&str], env: &[(String, String)]) -> anyhow::Result<Duration> {
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(env.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::null());
    let started = Instant::now();
    let status = command.status().with_context(|| program.display().to_string())?;
    let elapsed = started.elapsed();
    if status.success() { Ok(elapsed) } else { bail!("{} failed: {status}", program.display()) }
}
