//! The lock beside the socket, which the daemon holds while it runs, from before it listens until
//! its last save.

use std::{fs, io::Read as _, path::Path};

use crate::owned_file;

/// The process of the daemon that holds this lock.
pub(crate) fn owner(lock: &Path) -> Option<i32> {
    // Another user could write any process id into a file of their own.
    let mut file = owned_file::open_own(lock).ok()?;
    match file.try_lock_shared() {
        Err(fs::TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text).ok()?;
            text.trim().parse().ok()
        }
        Ok(()) | Err(fs::TryLockError::Error(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_has_an_owner_only_while_it_is_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("authd.lock");
        assert_eq!(owner(&path), None);
        fs::write(&path, "42\n").unwrap();
        assert_eq!(owner(&path), None);
        let file = fs::File::open(&path).unwrap();
        file.lock().unwrap();
        assert_eq!(owner(&path), Some(42));
        let link = directory.path().join("link.lock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(owner(&link), None, "a link may lead to another user's file");
    }
}
