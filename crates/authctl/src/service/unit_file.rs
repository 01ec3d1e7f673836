//! Writes the file of a unit atomically, through a temporary file: the service manager may read it
//! at any time.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    low_level::emulate_default_handler,
};

use crate::owned_file;

/// A temporary file has this extension, followed by the process id.
const TEMP_EXTENSION: &str = "part-";

/// Writes the file. Signals that end this program are deferred until the temporary file is gone.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(parent)?;
    owned_file::check_own_directory(parent, 0o002)?;
    with_signals_deferred(|| {
        let temp = TempFile(path.with_extension(format!("{TEMP_EXTENSION}{}", std::process::id())));
        // Left by a process that was killed, or a link, which must not be followed.
        drop(fs::remove_file(&temp.0));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temp.0)?;
        // The lock tells other processes that the file is in use.
        file.lock()?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temp.0, path)
    })
}

/// Removes the temporary files that killed processes left for these units.
pub(super) fn remove_temp_files(directory: &Path, units: &[&str]) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let is_temp = extension.strip_prefix(TEMP_EXTENSION).is_some_and(|id| id.parse::<u32>().is_ok());
        let is_of_unit = units.iter().any(|unit| Path::new(unit).file_stem() == path.file_stem());
        let is_unused = || owned_file::open_own(&path).is_ok_and(|file| file.try_lock().is_ok());
        if is_temp && is_of_unit && is_unused() {
            // Another process may have removed it. A file that stays does no harm.
            drop(fs::remove_file(&path));
        }
    }
}

/// Removes the file on drop, if it was not renamed.
struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Does the work, then ends this program if it received SIGINT or SIGTERM meanwhile.
fn with_signals_deferred<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    static REGISTERED: Once = Once::new();
    static NOT_DEFERRED: AtomicBool = AtomicBool::new(true);
    static RECEIVED: AtomicUsize = AtomicUsize::new(0);
    REGISTERED.call_once(|| {
        for signal in [SIGINT, SIGTERM] {
            // On an error a signal ends this program at once, and the next run removes the file.
            drop(flag::register_usize(signal, &RECEIVED, usize::try_from(signal).unwrap_or(0)));
            drop(flag::register_conditional_default(signal, &NOT_DEFERRED));
        }
    });
    RECEIVED.store(0, Ordering::SeqCst);
    NOT_DEFERRED.store(false, Ordering::SeqCst);
    let result = work();
    NOT_DEFERRED.store(true, Ordering::SeqCst);
    match i32::try_from(RECEIVED.load(Ordering::SeqCst)) {
        Ok(0) | Err(_) => {}
        Ok(signal) => emulate_default_handler(signal)?,
    }
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, process::ExitStatusExt as _};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn unit_file_is_replaced_and_no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (unit, other) = (directory.path().join("authd.service"), directory.path().join("other"));
        fs::write(&other, "precious").unwrap();
        let temp = unit.with_extension(format!("{TEMP_EXTENSION}{}", std::process::id()));
        symlink(&other, &temp).unwrap();
        write(&unit, "text").unwrap();
        write(&unit, "new text").unwrap();
        assert_eq!(fs::read_to_string(&unit).unwrap(), "new text");
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        assert_eq!(names(directory.path()), ["authd.service", "other"]);
        // The temporary file is removed after a failed rename, too.
        fs::create_dir(directory.path().join("authd.socket")).unwrap();
        write(&directory.path().join("authd.socket"), "text").unwrap_err();
        assert_eq!(names(directory.path()), ["authd.service", "authd.socket", "other"]);
    }

    #[test]
    fn only_temp_files_of_killed_processes_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["authd.part-1", "authd.part-2", "authd.part-x", "other.part-1", "authd.service"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let in_use = fs::File::open(directory.path().join("authd.part-2")).unwrap();
        in_use.lock().unwrap();
        remove_temp_files(directory.path(), &["authd.service", "authd.socket"]);
        assert_eq!(
            names(directory.path()),
            ["authd.part-2", "authd.part-x", "authd.service", "other.part-1"]
        );
    }

    /// The child process of the next test, which ends by a signal.
    #[test]
    #[ignore = "the next test runs it in a child process"]
    fn child_that_receives_a_signal_while_it_writes() {
        let Some(directory) = std::env::var_os("UNIT_DIRECTORY").map(PathBuf::from) else { return };
        let path = directory.join("authd.part-1");
        let result: io::Result<()> = with_signals_deferred(|| {
            let temp = TempFile(path.clone());
            fs::write(&temp.0, "")?;
            signal_hook::low_level::raise(SIGTERM)?;
            assert!(temp.0.exists(), "the signal is deferred");
            fs::rename(&temp.0, directory.join("authd.service"))
        });
        panic!("the signal ends the process before this: {result:?}");
    }

    #[test]
    fn signal_ends_the_program_after_the_temp_file_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let child = "service::unit_file::tests::child_that_receives_a_signal_while_it_writes";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args([child, "--exact", "--ignored"]).env("UNIT_DIRECTORY", directory.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.signal(), Some(SIGTERM), "{output:?}");
        assert_eq!(names(directory.path()), ["authd.service"]);
    }
}
