//! What the service manager keeps for us from one run to the next: one file without a name, sealed, so
//! that nobody who finds it can change it (`sd_notify(3)`: `FDSTORE=1`).

use std::{fs::File, io, os::fd::RawFd};

#[cfg(target_os = "linux")]
pub(crate) use self::linux::{drop_kept, is_managed, keep, kept};
#[cfg(not(target_os = "linux"))]
pub(crate) use self::nowhere::{drop_kept, is_managed, keep, kept};

#[cfg(target_os = "linux")]
mod linux {
    use std::{env, io::Write as _, os::fd::AsFd as _};

    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    use sd_notify::NotifyState;

    use super::{File, RawFd, io};

    /// The name that the service manager knows the file by.
    const NAME: &str = "authd-records";

    /// Whether there is a service manager to keep anything.
    pub(crate) fn is_managed() -> bool {
        env::var_os("NOTIFY_SOCKET").is_some()
    }

    /// Gives a text to the service manager, which keeps it until the next run, or until the service is
    /// stopped for good; one that is told to keep nothing drops it.
    pub(crate) fn keep(text: &[u8]) -> io::Result<()> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut file = File::from(memfd_create(NAME, flags)?);
        file.write_all(text)?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        let states = [NotifyState::FdStore, NotifyState::FdName(NAME)];
        sd_notify::notify_with_fds(&states, &[file.as_fd()])
    }

    /// The file behind a descriptor that the service manager passed on, and keeps until it is told not to.
    /// None, if that is no such file.
    pub(crate) fn kept(descriptor: RawFd) -> Option<File> {
        // A descriptor by number cannot be owned without a promise to the compiler. Opened once more, it
        // can be; and the number is closed.
        let file = File::open(format!("/proc/self/fd/{descriptor}"));
        nix::unistd::close(descriptor).ok();
        file.ok().filter(|file| {
            rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
        })
    }

    /// Has the service manager keep it no longer.
    pub(crate) fn drop_kept() {
        if let Err(error) = sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(NAME)]) {
            tracing::warn!(%error, "the service manager still keeps what it has passed on");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod nowhere {
    use super::{File, RawFd, io};

    /// launchd keeps nothing.
    pub(crate) fn is_managed() -> bool {
        false
    }

    /// There is nobody to keep it.
    pub(crate) fn keep(_: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Nobody has kept anything.
    pub(crate) fn kept(_: RawFd) -> Option<File> {
        None
    }

    /// As above.
    pub(crate) fn drop_kept() {}
}
