//! The process at the other end of a Unix socket, for the audit log.
//!
//! A process id alone names no process: after its process has ended, another one may have it. On
//! Linux 6.5 and newer, `SO_PEERPIDFD` gives a handle of the process that has connected. A handle
//! that still shows a running process proves that the id belongs to it.
//!
//! Older kernels have only the id. There the daemon reads the process that has the id just after it
//! has accepted the connection.

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod printable;
#[cfg(target_os = "linux")]
mod procfs;
#[cfg(target_os = "linux")]
mod start_time;
#[cfg(target_os = "linux")]
mod stat;

use std::sync::atomic::{AtomicBool, Ordering};

use authd_api::Process;
use tokio::net::UnixStream;

/// Reads the processes behind connections while the audit log is on.
#[derive(Debug, Default)]
pub(crate) struct ProcessReader {
    is_on: AtomicBool,
    #[cfg(target_os = "linux")]
    clock: start_time::BootClock,
}

impl ProcessReader {
    /// Starts or stops reading.
    pub(crate) fn set_on(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// The process with these ids that has connected, as it is now. `None` if it has ended, if the
    /// system does not say more than the ids, or while the audit log is off. Holds no descriptor
    /// afterwards.
    pub(crate) fn read(&self, stream: &UnixStream, ids: &Process) -> Option<Process> {
        if self.is_on.load(Ordering::Relaxed) { self.describe(stream, ids) } else { None }
    }

    #[cfg(target_os = "linux")]
    fn describe(&self, stream: &UnixStream, ids: &Process) -> Option<Process> {
        use nix::{
            errno::Errno,
            sys::socket::{getsockopt, sockopt::PeerPidfd},
        };
        let entry = match getsockopt(stream, PeerPidfd) {
            Ok(handle) => procfs::Entry::of_handle(ids.pid, &handle),
            // The kernel is older than Linux 6.5.
            Err(Errno::ENOPROTOOPT) => procfs::Entry::of_pid(ids.pid),
            // The process has ended, or the daemon has no descriptor left.
            Err(_) => None,
        };
        Some(entry?.describe(ids, &self.clock))
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, reason = "Linux has a clock here")]
    fn describe(&self, _: &UnixStream, _: &Process) -> Option<Process> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
