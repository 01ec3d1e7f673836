//! Private files and directories: 0700 and 0600 from the moment of creation, and writes that are there
//! whole or not at all. What is in them is not known here.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::Path,
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

/// Replaces a file's content, durably: a crash at any moment leaves the old content or the new.
pub fn atomic_write(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    // One writer a directory, so one name will do; what a crash left there is written over.
    let temporary = directory.join(format!(".{name}.tmp"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_dir(directory)
}

/// Makes what was created, renamed or removed in a directory durable.
pub fn sync_dir(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn told(path: &Path, what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} {what}: {error}", path.display()))
}
