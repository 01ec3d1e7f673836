//! Files that this program writes to or believes, opened so that no symbolic link, pipe or file of another
//! user takes their place.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustix::fs::{Mode, OFlags, openat};

/// Flags of every open here. A pipe that is found in a file's place must not block: it is refused after.
const SAFE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Opens a log to append to, private to this user, in a directory that is. Makes both if need be.
pub(crate) fn open_log(path: &Path) -> io::Result<File> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Through the directory that was checked, so that none can take its place between the two calls.
    let directory = private_directory(directory)?;
    let flags = SAFE | OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
    let log = File::from(openat(directory, name, flags, Mode::RUSR | Mode::WUSR).map_err(in_words)?);
    if checked(&log)?.mode() & 0o077 != 0 {
        log.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(log)
}

/// Opens a file of this user to read.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(flags()).open(path).map_err(in_words)?;
    checked(&file)?;
    Ok(file)
}

/// Opens a file to write anew, readable for all: what is written has no secret in it.
pub(crate) fn create_public(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).mode(0o644).custom_flags(flags()).open(path);
    let file = file.map_err(in_words)?;
    regular(file.metadata()?)?;
    file.set_len(0)?;
    Ok(file)
}

/// Refuses a file's directory that belongs to another user, or that one of these permissions opens to others.
pub(crate) fn check_own_directory(path: &Path, permissions: u32) -> io::Result<()> {
    own_directory(&fs::metadata(path)?, permissions)
}

/// Opens a directory that only this user may look into. One that is open to others is refused, not mended:
/// it may have been read, or prepared, already.
fn private_directory(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    // A link of this user's own is followed.
    let link = fs::symlink_metadata(path)?;
    let follow = link.is_symlink() && own(&link).is_ok();
    let flags = OFlags::DIRECTORY | if follow { OFlags::CLOEXEC } else { SAFE };
    options.custom_flags(flags.bits().cast_signed());
    let directory = options.open(path).map_err(in_words)?;
    own_directory(&directory.metadata()?, 0o077)?;
    Ok(directory)
}

fn own_directory(found: &fs::Metadata, permissions: u32) -> io::Result<()> {
    own(found).map_err(|error| io::Error::other(format!("its directory {error}")))?;
    match found.mode() & 0o777 {
        mode if mode & permissions == 0 => Ok(()),
        mode => Err(io::Error::other(format!("its directory is open to other users (mode {mode:03o})"))),
    }
}

/// The facts of a file, which must be a regular one of this user.
fn checked(file: &File) -> io::Result<fs::Metadata> {
    let found = file.metadata()?;
    own(&found)?;
    regular(found)
}

fn regular(found: fs::Metadata) -> io::Result<fs::Metadata> {
    if found.is_file() { Ok(found) } else { Err(io::Error::other("it is not a regular file")) }
}

fn own(found: &fs::Metadata) -> io::Result<()> {
    let (uid, own) = (found.uid(), rustix::process::geteuid().as_raw());
    if uid == own { Ok(()) } else { Err(io::Error::other(format!("belongs to another user (uid {uid})"))) }
}

fn flags() -> i32 {
    SAFE.bits().cast_signed()
}

/// What the system says of a link that is not followed is "too many levels of symbolic links".
fn in_words(error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    match error.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => {
            io::Error::other("it is a symbolic link")
        }
        _ => error,
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

    fn refused(result: io::Result<File>, words: &str) {
        let error = result.unwrap_err().to_string();
        assert!(error.contains(words), "no {words:?} in {error}");
    }

    #[test]
    fn a_log_is_appended_to_and_private() {
        let directory = directory();
        let log = directory.path().join("state/authd.log");
        open_log(&log).unwrap().write_all(b"1\n").unwrap();
        set_mode(&log, 0o644);
        open_log(&log).unwrap().write_all(b"2\n").unwrap();
        assert_eq!(fs::read(&log).unwrap(), b"1\n2\n");
        assert_eq!(fs::metadata(&log).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(log.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        // A state directory that the user has put elsewhere is followed.
        symlink(directory.path().join("state"), directory.path().join("link")).unwrap();
        open_log(&directory.path().join("link/authd.log")).unwrap();
    }

    #[test]
    fn no_link_pipe_or_open_directory_is_written_to() {
        let directory = directory();
        let (log, other) = (directory.path().join("authd.log"), directory.path().join("other"));
        fs::write(&other, "precious").unwrap();
        symlink(&other, &log).unwrap();
        for open in [open_log, open_own, create_public] {
            refused(open(&log), "symbolic link");
        }
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        fs::remove_file(&log).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&log).status().unwrap();
        assert!(made.success());
        refused(open_own(&log), "not a regular file");
        assert!(open_log(&log).is_err() && create_public(&log).is_err());
        fs::remove_file(&log).unwrap();
        set_mode(directory.path(), 0o755);
        refused(open_log(&log), "open to other users (mode 755)");
        assert!(!log.exists());
    }

    #[test]
    fn nothing_of_another_user_is_used() {
        if !rustix::process::geteuid().is_root() {
            return; // Only root can give files away.
        }
        let directory = directory();
        let log = directory.path().join("authd.log");
        fs::write(&log, "").unwrap();
        chown(&log, Some(65_534), None).unwrap();
        for open in [open_log, open_own] {
            refused(open(&log), "belongs to another user (uid 65534)");
        }
        // Nor is a link of theirs followed, even to a directory of our own.
        let (own, link) = (directory.path().join("own"), directory.path().join("link"));
        fs::create_dir(&own).unwrap();
        set_mode(&own, 0o700);
        symlink(&own, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(65_534), None).unwrap();
        assert!(open_log(&link.join("authd.log")).is_err());
        assert!(!own.join("authd.log").exists());
        chown(&own, Some(65_534), None).unwrap();
        refused(open_log(&own.join("authd.log")), "directory belongs to another user");
        assert!(check_own_directory(&own, 0).is_err());
        set_mode(directory.path(), 0o777);
        assert!(check_own_directory(directory.path(), 0o022).is_err());
    }
}
