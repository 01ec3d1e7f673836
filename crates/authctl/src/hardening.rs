//! Keeps tokens inside this process: no core dump, and no debugger of the same user. Children get
//! the user's own limit on core dumps back.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit on core dumps at the start of this process.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Hardens this process; must run before it holds any token. Errors of the system are ignored.
pub(crate) fn harden() {
    let inherited = *INHERITED.get_or_init(|| getrlimit(Resource::Core));
    limit_core(Some(0), inherited);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Starts a child with the inherited limit on core dumps. On Linux execve(2) makes the child
/// dumpable; this process stays undumpable.
pub(crate) fn with_inherited_limit<T>(start: impl FnOnce() -> T) -> T {
    let Some(inherited) = INHERITED.get().copied() else { return start() };
    limit_core(inherited.current, inherited);
    let started = start();
    limit_core(Some(0), inherited);
    started
}

/// Sets the soft limit only: a lowered hard limit could not be raised again for a child.
fn limit_core(current: Option<u64>, inherited: Rlimit) {
    if inherited.current != Some(0) {
        // On failure Linux still keeps the process undumpable.
        let _ = setrlimit(Resource::Core, Rlimit { current, maximum: inherited.maximum });
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior};

    use super::*;

    #[test]
    fn process_dumps_no_core_and_child_gets_the_limit_back() {
        let maximum = getrlimit(Resource::Core).maximum;
        let wanted = Rlimit { current: Some(maximum.unwrap_or(u64::MAX).min(4096)), maximum };
        setrlimit(Resource::Core, wanted).unwrap();
        harden();
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum });
        assert_eq!(with_inherited_limit(|| getrlimit(Resource::Core)), wanted);
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum });
    }
}
