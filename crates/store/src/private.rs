//! Private files and directories: 0700 and 0600 from the moment of creation, and writes that are there
//! whole or not at all. What is in them is not known here.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Permissions from a mode.
pub fn mode(mode: u32) -> Permissions {
    Permissions::from_mode(mode)
}

/// Makes sure that a directory is there, is ours, and is nobody else's to look into. One that is open
/// to others is refused, not mended: what is in it may have been read already.
pub fn ensure_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| told(path, "cannot be made", &error))?;
    let found = fs::metadata(path).map_err(|error| told(path, "cannot be looked at", &error))?;
    let own = rustix::process::geteuid().as_raw();
    if found.uid() != own {
        return Err(io::Error::other(format!(
            "{} belongs to another user (uid {})",
            path.display(),
            found.uid()
        )));
    }
    if found.mode() & 0o077 != 0 {
        let shown = path.display();
        return Err(io::Error::other(format!(
            "{shown} is open to other users (mode {:03o}); if that is not on purpose: chmod 700 {shown}",
            found.mode() & 0o777
        )));
    }
    Ok(())
}

/// Opens a file that only we may read, and makes it if need be.
pub fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Where a file's next content is written before it takes its place. One writer a directory, so one name
/// will do.
pub fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Replaces a file's content, durably: a crash at any moment leaves the old content or the new.
pub fn atomic_write(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = temporary(path);
    remove(&temporary)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    drop(file);
    take_place(&temporary, path)
}

/// Lets a file that is whole take the place of another, durably.
pub fn take_place(whole: &Path, path: &Path) -> io::Result<()> {
    fs::rename(whole, path)?;
    sync_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
}

/// Makes what was created, renamed or removed in a directory durable.
pub fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn told(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} {what}: {error}", path.display()))
}
