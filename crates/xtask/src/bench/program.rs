//! A process under measurement: a floor of ours, or a test daemon; what the system says of it.

use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use super::load::pin;

/// How long a floor may take to listen.
const START: Duration = Duration::from_secs(10);

/// A floor that serves a socket of its own; it ends when it is dropped.
pub(crate) struct Floor {
    pub(crate) child: Child,
    dir: TempDir,
}

impl Floor {
    /// Starts it, and returns when its socket answers.
    pub(crate) fn start(program: &Path, args: &[String]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let child = Command::new(program).arg(dir.path().join("socket")).args(args).spawn()?;
        let floor = Self { child, dir };
        let deadline = Instant::now() + START;
        while UnixStream::connect(floor.socket()).is_err() {
            if Instant::now() > deadline {
                bail!("{} does not listen", program.display());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(floor)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Keeps a process, with all its threads, on one core.
pub(crate) fn keep_on(pid: u32, core: usize) {
    for (_, thread) in threads(pid).unwrap_or_default() {
        pin(rustix::thread::Pid::from_raw(thread), core);
    }
}

/// What a process takes: pages that are its own and in memory, in bytes.
pub(crate) fn resident(pid: u32) -> anyhow::Result<f64> {
    kib(pid, "VmRSS:")
}

/// What of that is in no file: heap, stacks, buffers; in bytes.
pub(crate) fn anonymous(pid: u32) -> anyhow::Result<f64> {
    kib(pid, "RssAnon:")
}

/// The most it took while something was done, in bytes.
pub(crate) fn peak_during(pid: u32, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    // Sets the peak back to what is taken now (proc_pid_clear_refs(5)).
    fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
    work()?;
    kib(pid, "VmHWM:")
}

fn kib(pid: u32, key: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(number(&status, key).with_context(|| format!("no {key}"))? * 1024.0)
}

/// How often all threads were put on a processor, and how many nanoseconds they had there.
pub(crate) fn activity(pid: u32) -> anyhow::Result<(f64, f64)> {
    let (mut switches, mut nanoseconds) = (0.0, 0.0);
    for (path, _) in threads(pid)? {
        let status = fs::read_to_string(path.join("status"))?;
        switches += number(&status, "voluntary_ctxt_switches:").context("no switches")?;
        let spent = fs::read_to_string(path.join("schedstat"))?;
        nanoseconds += spent.split(' ').next().context("no time")?.parse::<f64>()?;
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

/// How long a program takes from its start to its end; it must end well.
pub(crate) fn run_time(program: &Path, args: &[&str], env: &[(String, String)]) -> anyhow::Result<Duration> {
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(env.iter().cloned()).stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let status = command.status().with_context(|| program.display().to_string())?;
    let took = begun.elapsed();
    if status.success() { Ok(took) } else { bail!("{} ended with {status}", program.display()) }
}
