//! Private files and directories: mode 0700 and 0600 from the moment of creation, and atomic, durable
//! writes. Every error names its path. All file system calls go through `std`.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::fs::OFlags;

/// Permissions from a mode.
pub fn mode(mode: u32) -> Permissions {
    Permissions::from_mode(mode)
}

/// Creates a directory with mode 0700 if it does not exist, and refuses one that another user owns or can
/// enter. Such a mode is not corrected: the content may have been read already.
pub fn ensure_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| at(path, &error))?;
    let found = fs::metadata(path).map_err(|error| at(path, &error))?;
    check_private(path, &found).map_err(io::Error::other)
}

/// Whether the owner and the mode of a directory keep other users out; the error says what to do.
pub(crate) fn check_private(path: &Path, found: &Metadata) -> Result<(), String> {
    let shown = path.display();
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!("{shown} belongs to another user (uid {})", found.uid()));
    }
    if found.mode() & 0o077 != 0 {
        return Err(format!(
            "{shown} is open to other users (mode {:03o}); if that is not on purpose: chmod 700 {shown}",
            found.mode() & 0o777
        ));
    }
    Ok(())
}

/// Opens a file for reading and writing; creates it with mode 0600 if it does not exist.
pub fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The content of a regular file of at most `max` bytes, or `None` if no such path exists. A symbolic link
/// to nothing, a pipe, a directory and a longer file are errors. It never blocks on a pipe.
pub fn read_bounded(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
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
    // Room for the whole content: a buffer that grows leaves copies of secrets behind.
    let mut content = Vec::with_capacity(usize::try_from(found.len().min(max)).unwrap_or_default() + 1);
    file.take(max + 1).read_to_end(&mut content).map_err(|error| at(path, &error))?;
    if content.len() as u64 > max {
        return Err(at(path, &io::Error::other(format!("it is longer than {max} bytes"))));
    }
    Ok(Some(content))
}

/// Whether nothing has this name. "Not found" because of a symbolic link to nothing, at the path or above
/// it, is an error: what it points to may be back later.
pub fn is_absent(path: &Path) -> io::Result<bool> {
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

/// Where the next content of a file is written before it replaces the file. One name is enough, because
/// each directory has one writer.
pub fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// Removes a file; false if it did not exist.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(path, &error)),
    }
}

/// Replaces the content of a file, durably: a crash at any moment leaves the old content or the new. After
/// an error the file holds one of the two as well, and the call can be repeated.
pub fn atomic_write(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    // From here on the file is this write's.
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

/// Removes the temporary files of writes that failed on a disk that let nothing be removed either. Whether none is left.
pub fn clear_leftovers() -> bool {
    let mut leftovers = leftovers();
    leftovers.retain(|path| remove(path).is_err());
    leftovers.is_empty()
}

/// Whether there are temporary files to remove.
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

/// Renames a file that is written completely onto another, durably.
pub(crate) fn replace(complete: &Path, path: &Path) -> io::Result<()> {
    fs::rename(complete, path).map_err(|error| at(path, &error))?;
    sync_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
}

/// Makes what was created, renamed or removed in a directory durable.
pub fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(|error| at(directory, &error))
}

/// The error with its path in front.
pub(crate) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
