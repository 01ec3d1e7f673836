//! Opens files that this program writes or trusts, and refuses symbolic links, pipes and files of
//! another user in their place.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::fs::{Mode, OFlags, openat};

/// Flags of every open. The open of a pipe must not block: the check of the file type comes after
/// it.
const SAFE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Opens a log for appending. Creates the file and its directory, private to this user.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Relative to the open directory, which cannot be replaced after its check.
    let directory = open_private_directory(directory)?;
    let flags = SAFE | OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
    let log = File::from(openat(directory, name, flags, Mode::RUSR | Mode::WUSR).map_err(explain)?);
    if check_file(&log)?.mode() & 0o077 != 0 {
        log.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(log)
}

/// Opens a file of this user for reading.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    let file = open(OpenOptions::new().read(true), SAFE, path)?;
    check_file(&file)?;
    Ok(file)
}

/// Creates or truncates a file that every user may read.
pub(crate) fn create_public(path: &Path) -> io::Result<File> {
    let file = open(OpenOptions::new().write(true).create(true).mode(0o644), SAFE, path)?;
    check_regular(&file.metadata()?)?;
    file.set_len(0)?;
    Ok(file)
}

/// Checks that a directory belongs to this user and grants none of these permissions.
pub(crate) fn check_own_directory(path: &Path, permissions: u32) -> io::Result<()> {
    check_directory(&fs::metadata(path)?, permissions)
}

/// Opens a directory that is closed to other users. An open one is an error and not repaired:
/// another user may have read it or put files into it already.
fn open_private_directory(path: &Path) -> io::Result<File> {
    // A link of this user is followed.
    let link = fs::symlink_metadata(path)?;
    let follow = link.is_symlink() && check_owner(&link).is_ok();
    let flags = OFlags::DIRECTORY | if follow { OFlags::CLOEXEC } else { SAFE };
    let directory = open(OpenOptions::new().read(true), flags, path)?;
    check_directory(&directory.metadata()?, 0o077)?;
    Ok(directory)
}

fn open(options: &mut OpenOptions, flags: OFlags, path: &Path) -> io::Result<File> {
    options.custom_flags(flags.bits().cast_signed()).open(path).map_err(explain)
}

fn check_directory(metadata: &fs::Metadata, permissions: u32) -> io::Result<()> {
    check_owner(metadata).map_err(|error| io::Error::other(format!("its directory {error}")))?;
    match metadata.mode() & 0o777 {
        mode if mode & permissions == 0 => Ok(()),
        mode => Err(io::Error::other(format!("its directory is open to other users (mode {mode:03o})"))),
    }
}

fn check_file(file: &File) -> io::Result<fs::Metadata> {
    let metadata = file.metadata()?;
    check_owner(&metadata)?;
    check_regular(&metadata)?;
    Ok(metadata)
}

fn check_regular(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_file() { Ok(()) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Whether this user owns a file.
pub(crate) fn is_own(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw()
}

fn check_owner(metadata: &fs::Metadata) -> io::Result<()> {
    if is_own(metadata) {
        return Ok(());
    }
    Err(io::Error::other(format!("belongs to another user (uid {})", metadata.uid())))
}

/// Replaces the system's message about a link that was not followed, "too many levels of symbolic
/// links".
fn explain(error: impl Into<io::Error>) -> io::Error {
    match error.into() {
        error if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            io::Error::other("it is a symbolic link")
        }
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        os::unix::fs::{chown, symlink},
    };

    use super::*;

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o700);
        directory
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn assert_error(result: io::Result<File>, reason: &str) {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(reason), "no {reason:?} in {error}");
    }

    #[test]
    fn log_is_appended_to_and_private() {
        let directory = directory();
        let log = directory.path().join("state/authd.log");
        open_log(&log).unwrap().write_all(b"1\n").unwrap();
        set_mode(&log, 0o644);
        open_log(&log).unwrap().write_all(b"2\n").unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"1\n2\n");
        assert_eq!(fs::metadata(&log).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(log.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        // The user may link the state directory to another place.
        symlink(directory.path().join("state"), directory.path().join("link")).unwrap();
        open_log(&directory.path().join("link/authd.log")).unwrap();
    }

    #[test]
    fn links_pipes_and_open_directories_are_errors() {
        let directory = directory();
        let (log, other) = (directory.path().join("authd.log"), directory.path().join("other"));
        fs::write(&other, "precious").unwrap();
        symlink(&other, &log).unwrap();
        for open in [open_log, open_own, create_public] {
            assert_error(open(&log), "symbolic link");
        }
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        fs::remove_file(&log).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&log).status().unwrap();
        assert!(made.success());
        assert_error(open_own(&log), "not a regular file");
        assert!(open_log(&log).is_err() && create_public(&log).is_err());
        fs::remove_file(&log).unwrap();
        set_mode(directory.path(), 0o755);
        assert_error(open_log(&log), "open to other users (mode 755)");
        assert!(!log.exists());
    }

    #[test]
    fn files_of_another_user_are_errors() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root can give files away.
        }
        let directory = directory();
        let log = directory.path().join("authd.log");
        fs::write(&log, "").unwrap();
        chown(&log, Some(65_534), None).unwrap();
        for open in [open_log, open_own] {
            assert_error(open(&log), "belongs to another user (uid 65534)");
        }
        // A link of another user is not followed, even to a directory of this user.
        let (own, link) = (directory.path().join("own"), directory.path().join("link"));
        fs::create_dir(&own).unwrap();
        set_mode(&own, 0o700);
        symlink(&own, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
        assert!(open_log(&link.join("authd.log")).is_err());
        assert!(!own.join("authd.log").exists());
        chown(&own, Some(65_534), None).unwrap();
        assert_error(open_log(&own.join("authd.log")), "directory belongs to another user");
        assert!(check_own_directory(&own, 0).is_err());
        set_mode(directory.path(), 0o777);
        assert!(check_own_directory(directory.path(), 0o022).is_err());
    }
}
