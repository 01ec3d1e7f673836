//! Protects the secrets of this process: no core dump, no debugger of the same user, private files
//! by default, and no swap where the system allows enough locked memory. The service unit does the
//! rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Smallest limit on locked memory, in bytes, with which memory is locked. Every mapping counts
/// against the limit in full, even if it is only reserved, and exceeding the limit ends the daemon.
#[cfg(target_os = "linux")]
const MIN_LOCK_LIMIT: u64 = 512 << 20;

/// The measures that took effect, for the log. A failure does not stop the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hardening {
    /// The process is not dumpable: no debugger, no core dump.
    pub undumpable: bool,
    /// The limit on core dumps is zero.
    pub no_core: bool,
    /// Whether memory can be swapped out.
    pub memory: MemoryLock,
}

/// Whether memory can be swapped out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryLock {
    /// It cannot.
    Locked,
    /// It can: the limit on locked memory, in bytes, is too low.
    LimitTooLow(u64),
    /// It can: the system refused.
    Refused,
    /// It can: this system is not supported.
    NotTried,
}

/// Hardens this process. Must run before it holds a secret.
pub fn harden() -> Hardening {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    Hardening {
        undumpable: make_undumpable(),
        no_core: setrlimit(Resource::Core, none).is_ok(),
        memory: lock_memory(),
    }
}

/// Raises the limit on open files to its maximum.
pub(crate) fn raise_open_files() {
    raise(Resource::Nofile);
}

/// The limit on open files.
pub(crate) fn open_file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Raises a limit to its maximum and returns it; `None` is unlimited.
fn raise(resource: Resource) -> Option<u64> {
    let maximum = getrlimit(resource).maximum;
    // macOS reports no maximum for open files, but accepts at most its OPEN_MAX.
    let most = if cfg!(target_os = "macos") { Some(maximum.unwrap_or(10_240)) } else { maximum };
    // The limit is read again below, because it may be unchanged.
    let _ = setrlimit(resource, Rlimit { current: most, maximum });
    getrlimit(resource).current
}

#[cfg(target_os = "linux")]
fn make_undumpable() -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn make_undumpable() -> bool {
    false
}

#[cfg(target_os = "linux")]
fn lock_memory() -> MemoryLock {
    use rustix::mm::{MlockAllFlags, mlockall};
    match raise(Resource::Memlock) {
        Some(limit) if limit < MIN_LOCK_LIMIT => MemoryLock::LimitTooLow(limit),
        // A page is locked at its first use, so that reserved memory costs nothing.
        _ => match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
            Ok(()) => MemoryLock::Locked,
            Err(_) => MemoryLock::Refused,
        },
    }
}

#[cfg(not(target_os = "linux"))]
fn lock_memory() -> MemoryLock {
    MemoryLock::NotTried
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// A field of /proc/self/status.
    fn status(field: &str) -> u64 {
        let text = fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn reported_hardening_matches_the_kernel() {
        let hardening = harden();
        assert!(hardening.undumpable && hardening.no_core);
        assert_eq!(rustix::process::dumpable_behavior(), Ok(rustix::process::DumpableBehavior::NotDumpable));
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
        match hardening.memory {
            MemoryLock::Locked => assert!(status("VmLck") > 0),
            MemoryLock::LimitTooLow(limit) => assert!(limit < MIN_LOCK_LIMIT && status("VmLck") == 0),
            MemoryLock::Refused | MemoryLock::NotTried => assert_eq!(status("VmLck"), 0),
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn limit_is_raised_to_its_maximum() {
        let most = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise(Resource::Nofile), most);
    }
}
