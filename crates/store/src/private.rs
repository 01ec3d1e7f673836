//! Private files and directories: modes 0700 and 0600 from creation, and atomic, durable writes.
//! Every error names its path.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::OFlags;
use secrecy::SecretString;

/// Permissions from a mode.
pub fn mode(mode: u32) -> Permissions {
    Permissions::from_mode(mode)
}

/// Creates a directory with mode 0700 if it does not exist. Fails if another user owns it or can
/// enter it. The mode is not corrected, because other users may have read the content already.
pub fn ensure_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| at(path, &error))?;
    let found = fs::metadata(path).map_err(|error| at(path, &error))?;
    check_private(path, &found).map_err(io::Error::other)
}

/// Fails if another user owns a directory or can enter it. The error says what to do.
pub(crate) fn check_private(path: &Path, found: &Metadata) -> Result<(), String> {
    let shown = path.display();
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!("{shown} belongs to another user (uid {})", found.uid()));
    }
    if found.mode() & 0o077 != 0 {
        return Err(format!(
            "{shown} is open to other users (mode {:03o}); run: chmod 700 {shown}",
            found.mode() & 0o777
        ));
    }
    Ok(())
}

/// Opens a file for reading and writing. Creates it with mode 0600 if it does not exist.
pub fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Reads a regular file of at most `max` bytes. Returns `None` if the path does not exist. A
/// dangling symbolic link, a pipe, a directory and a longer file are errors. Never blocks on a
/// pipe.
pub fn read_bounded(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    read_checked(path, max, |_| Ok(()))
}

/// Reads a text that must be private, like [`read_bounded`]. A file that other users can read or
/// change is an error that says what to do. A file of root may be readable for its group.
pub fn read_private(path: &Path, max: u64) -> io::Result<Option<SecretString>> {
    let Some(content) = read_checked(path, max, |found| check_private_file(path, found))? else {
        return Ok(None);
    };
    let text = String::from_utf8(content).map_err(|_| at(path, &io::Error::other("it is not UTF-8")))?;
    Ok(Some(SecretString::from(text)))
}

fn check_private_file(path: &Path, found: &Metadata) -> Result<(), String> {
    let (owner, mode) = (found.uid(), found.mode() & 0o777);
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(format!("it belongs to another user (uid {owner})"));
    }
    let (forbidden, right) = if owner == 0 { (0o037, "640") } else { (0o077, "600") };
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(format!("it is open to other users (mode {mode:03o}); run: chmod {right} {}", path.display()))
}

fn read_checked(
    path: &Path,
    max: u64,
    check: impl FnOnce(&Metadata) -> Result<(), String>,
) -> io::Result<Option<Vec<u8>>> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_absent(path)? => return Ok(None),
        Err(error) => return Err(at(path, &error)),
    };
    let found = file.metadata().map_err(|error| at(path, &error))?;
    if !found.is_file() {
        return Err(at(path, &io::Error::other("it is not a regular file")));
    }
    check(&found).map_err(|problem| at(path, &io::Error::other(problem)))?;
    // The buffer never grows: growing would leave copies of secrets in the heap.
    let mut content = Vec::with_capacity(usize::try_from(found.len().min(max)).unwrap_or_default() + 1);
    file.take(max + 1).read_to_end(&mut content).map_err(|error| at(path, &error))?;
    if content.len() as u64 > max {
        return Err(at(path, &io::Error::other(format!("it is longer than {max} bytes"))));
    }
    Ok(Some(content))
}

/// Whether a path does not exist. A dangling symbolic link, at the path or above it, is an error:
/// its target may come back later.
pub(crate) fn is_absent(path: &Path) -> io::Result<bool> {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    for name in path.ancestors() {
        match fs::symlink_metadata(name) {
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(at(name, &error)),
            Ok(found) if found.is_symlink() && fs::metadata(name).is_err_and(|error| is_missing(&error)) => {
                let dangling = io::Error::other("it is a symbolic link to something that does not exist");
                return Err(at(name, &dangling));
            }
            Ok(_) => return Ok(name != path),
        }
    }
    Ok(true)
}

/// The temporary file that replaces a file. One name is enough, because each directory has one
/// writer.
pub fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// Removes a file. Returns false if it did not exist.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(path, &error)),
    }
}

/// Replaces the content of a file durably. After a crash or an error the file holds the old content
/// or the new one, and the call can be repeated.
pub fn atomic_write(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    // This write now owns the temporary file.
    leftovers().remove(&temporary);
    remove(&temporary)?;
    let written = write_new(&temporary, content)
        .map_err(|error| at(&temporary, &error))
        .and_then(|()| replace(&temporary, path));
    if written.is_err() && remove(&temporary).is_err() {
        leftovers().insert(temporary);
    }
    written
}

/// Removes temporary files that failed writes could not remove. Returns whether none is left.
pub fn clear_leftovers() -> bool {
    let mut leftovers = leftovers();
    leftovers.retain(|path| remove(path).is_err());
    leftovers.is_empty()
}

/// Whether [`clear_leftovers`] has files to remove.
pub fn has_leftovers() -> bool {
    !leftovers().is_empty()
}

fn leftovers() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    static LEFTOVERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Durably renames a complete file to `path`.
pub(crate) fn replace(complete: &Path, path: &Path) -> io::Result<()> {
    fs::rename(complete, path).map_err(|error| at(path, &error))?;
    sync(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
}

/// Makes the content of a file, or the names in a directory, durable.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| at(path, &error))
}

/// Prefixes an error with its path.
pub(crate) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
