//! What keeps tokens in this process: no core dump, and no debugger of the same user. A child gets the
//! limit on core dumps that the user set.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit on core dumps that this process was started with.
static INHERITED: OnceLock<Rlimit> = OnceLock::new();

/// Hardens this process. Call it before any token is there. What the system refuses stays as it was.
pub(crate) fn harden() {
    let inherited = *INHERITED.get_or_init(|| getrlimit(Resource::Core));
    limit_core(Some(0), inherited);
    make_undumpable();
}

/// Starts a child with the inherited limit on core dumps. Linux makes the child dumpable by itself, in
/// execve(2); this process stays undumpable meanwhile.
pub(crate) fn with_inherited_limit<T>(start: impl FnOnce() -> T) -> T {
    let Some(inherited) = INHERITED.get().copied() else { return start() };
    limit_core(inherited.current, inherited);
    let started = start();
    limit_core(Some(0), inherited);
    started
}

/// Sets the soft limit only: a hard limit that was lowered cannot be raised again for a child.
fn limit_core(current: Option<u64>, inherited: Rlimit) {
    if inherited.current != Some(0) {
        // Nothing better is left to do, and on Linux the process is undumpable all the same.
        let _ = setrlimit(Resource::Core, Rlimit { current, maximum: inherited.maximum });
    }
}

#[cfg(target_os = "linux")]
fn make_undumpable() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

#[cfg(not(target_os = "linux"))]
fn make_undumpable() {}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use rustix::process::{DumpableBehavior, dumpable_behavior};

    use super::*;

    #[test]
    fn no_core_is_dumped_and_a_child_gets_the_limit_back() {
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
