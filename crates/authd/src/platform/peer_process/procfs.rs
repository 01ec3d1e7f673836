//! The directory of a process in `/proc`.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
};

use authd_api::Process;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, Mode, OFlags, openat, readlinkat},
};

use super::{
    cgroup, printable,
    start_time::BootClock,
    stat::{self, Stat},
};

/// Most bytes that are read of a file. The longest legitimate one lists a path for each controller
/// of cgroup v1.
const MAX_FILE: u64 = 64 << 10;

/// Most characters of the path of an executable. The kernel names paths of up to 4,096 bytes.
const MAX_EXECUTABLE: usize = 512;

/// Most characters of a command name: the kernel keeps 15 bytes, and `\u{1b}` is one.
const MAX_COMMAND: usize = 6 * 15;

/// The directory of one process. It does not lead to a later process with the same id: reading its
/// files fails once its process has ended.
#[derive(Debug)]
pub(super) struct Entry(OwnedFd);

impl Entry {
    /// The directory of the process with this id.
    pub(super) fn of_pid(pid: i32) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, format!("/proc/{pid}"), flags, Mode::empty()).ok().map(Self)
    }

    /// The directory of the process that has this id and this handle, while it runs.
    pub(super) fn of_handle(pid: i32, handle: &OwnedFd) -> Option<Self> {
        let entry = Self::of_pid(pid)?;
        // A process keeps its id while it runs, so the directory that was opened before is its own.
        is_running(handle).then_some(entry)
    }

    /// Reads the files of the process. None of these files waits for the memory of the process, as
    /// `cmdline` and `environ` would.
    pub(super) fn describe(&self, ids: &Process, clock: &BootClock) -> Process {
        let stat = self.read("stat").unwrap_or_default();
        let stat = stat::parse(&stat);
        let groups = cgroup::parse(&self.read("cgroup").unwrap_or_default());
        let executable = readlinkat(&self.0, "exe", Vec::new()).ok();
        Process {
            pid: ids.pid,
            uid: ids.uid,
            started_at: stat.as_ref().and_then(|stat| clock.time_of(stat.start_ticks)),
            executable: executable.map(|path| printable::end(path.as_bytes(), MAX_EXECUTABLE)),
            command: stat.map(|Stat { command, .. }| printable::end(command, MAX_COMMAND)),
            unit: groups.unit,
            container: groups.container,
        }
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let file = openat(&self.0, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut content = Vec::with_capacity(1 << 10);
        File::from(file).take(MAX_FILE).read_to_end(&mut content).ok()?;
        Some(content)
    }
}

/// Whether the process of a handle runs. A handle is readable when its process has ended.
fn is_running(handle: &OwnedFd) -> bool {
    let mut ready = [PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)];
    matches!(poll(&mut ready, Some(&Timespec::default())), Ok(0))
}
