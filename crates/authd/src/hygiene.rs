//! What keeps secrets in this process: no core dump, no debugger of the same user, private files by
//! default, and no swap where the system allows that much locked memory.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Below this limit memory is not locked: a daemon that runs into the limit would die of it.
const ENOUGH_TO_LOCK: u64 = 64 << 20;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hygiene {
    /// No debugger and no core dump by the kernel's own rule.
    pub undumpable: bool,
    /// No core dump by limit.
    pub no_core: bool,
    /// Memory is never swapped out.
    pub locked: bool,
}

/// Hardens this process. To be called before any secret is there.
pub fn harden() -> Hygiene {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    Hygiene { undumpable: undumpable(), no_core: setrlimit(Resource::Core, none).is_ok(), locked: lock() }
}

/// Raises the limit on open files as far as it goes: every connection is one.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    drop(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }));
}

#[cfg(target_os = "linux")]
fn undumpable() -> bool {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn undumpable() -> bool {
    false
}

#[cfg(target_os = "linux")]
fn lock() -> bool {
    use rustix::mm::{MlockAllFlags, mlockall};
    let limit = getrlimit(Resource::Memlock);
    drop(setrlimit(Resource::Memlock, Rlimit { current: limit.maximum, maximum: limit.maximum }));
    let enough = limit.maximum.is_none_or(|most| most >= ENOUGH_TO_LOCK);
    enough && mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn lock() -> bool {
    let _ = ENOUGH_TO_LOCK;
    false
}
