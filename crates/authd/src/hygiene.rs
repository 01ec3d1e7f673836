//! What keeps secrets in this process: no core dump, no debugger of the same user, private files by
//! default, and no swap where the system allows that much locked memory. It does not harden what the
//! service manager can: that is in the unit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Below this limit, in bytes, memory is not locked. Once it is, every mapping counts against the limit
/// in full, also what is only reserved, and a daemon that meets the limit dies of it.
#[cfg(target_os = "linux")]
const ENOUGH_TO_LOCK: u64 = 512 << 20;

/// What was done. It is for the log: nothing here stops the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hygiene {
    /// No debugger and no core dump by the kernel's own rule.
    pub undumpable: bool,
    /// No core dump by limit.
    pub no_core: bool,
    /// Whether memory can be swapped out.
    pub memory: Memory,
}

/// Whether memory can be swapped out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// It cannot.
    Locked,
    /// It can: locking it would be dangerous below this limit on locked memory, in bytes.
    LimitTooLow(u64),
    /// It can: the system refused.
    Refused,
    /// It can: locking is not tried on this system.
    NotTried,
}

/// Hardens this process. To be called before any secret is there.
pub fn harden() -> Hygiene {
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    Hygiene {
        undumpable: make_undumpable(),
        no_core: setrlimit(Resource::Core, none).is_ok(),
        memory: lock_memory(),
    }
}

/// Keeps the pages that hold a secret out of swap, where the limit allows. They stay locked when it is
/// gone: its pages are used again for the next one.
pub(crate) fn keep_out_of_swap(secret: &[u8]) {
    match region::lock(secret.as_ptr(), secret.len()) {
        Ok(guard) => std::mem::forget(guard),
        Err(error) => tracing::debug!(%error, "a secret's pages are not locked in memory"),
    }
}

/// Raises the limit on open files as far as it goes: every connection is one.
pub(crate) fn raise_open_files() {
    raise(Resource::Nofile);
}

/// How many files this process may have open.
pub(crate) fn open_file_limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Raises a limit as far as this process may, and says how far that is; nothing means without end.
fn raise(resource: Resource) -> Option<u64> {
    let maximum = getrlimit(resource).maximum;
    // macOS says that open files have no end, and then takes no more than its OPEN_MAX.
    let most = if cfg!(target_os = "macos") { Some(maximum.unwrap_or(10_240)) } else { maximum };
    // What cannot be raised stays as it was, and is read again below.
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
fn lock_memory() -> Memory {
    use rustix::mm::{MlockAllFlags, mlockall};
    match raise(Resource::Memlock) {
        Some(limit) if limit < ENOUGH_TO_LOCK => Memory::LimitTooLow(limit),
        // A page is locked when it is first used, so that what is only reserved costs nothing.
        _ => match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
            Ok(()) => Memory::Locked,
            Err(_) => Memory::Refused,
        },
    }
}

#[cfg(not(target_os = "linux"))]
fn lock_memory() -> Memory {
    Memory::NotTried
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// The state of this process, as the kernel tells it.
    fn status(field: &str) -> u64 {
        let text = fs::read_to_string("/proc/self/status").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_told_is_what_the_kernel_says() {
        let hygiene = harden();
        assert!(hygiene.undumpable && hygiene.no_core);
        assert_eq!(rustix::process::dumpable_behavior(), Ok(rustix::process::DumpableBehavior::NotDumpable));
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
        match hygiene.memory {
            Memory::Locked => assert!(status("VmLck") > 0),
            Memory::LimitTooLow(limit) => assert!(limit < ENOUGH_TO_LOCK && status("VmLck") == 0),
            Memory::Refused | Memory::NotTried => assert_eq!(status("VmLck"), 0),
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_limit_is_raised_to_where_it_ends() {
        let most = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raise(Resource::Nofile), most);
    }
}
