//! A unit's file, written whole or not at all. The manager may read it at any time, so the text goes to a
//! temporary file first, which then takes its place.

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

use crate::private;

/// What stands between a unit's name and a process id in the name of a temporary file.
const MARK: &str = "part-";

/// Writes a unit's file. A signal that ends this program waits until no temporary file is left.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(parent)?;
    private::check_own_directory(parent, 0o002)?;
    with_signals_deferred(|| {
        let part = Part(path.with_extension(format!("{MARK}{}", std::process::id())));
        // A file with this name is of a process that was killed; or it is a link, which is not followed.
        drop(fs::remove_file(&part.0));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&part.0)?;
        // As long as it is locked, another process does not take it for one that was left.
        file.lock()?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&part.0, path)
    })
}

/// Removes the temporary files of processes that were killed, for the units with these names.
pub(super) fn remove_left_over(directory: &Path, units: &[&str]) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let is_part = path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| {
            let process = extension.strip_prefix(MARK);
            process.is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))
        });
        let of_a_unit = units.iter().any(|unit| Path::new(unit).file_stem() == path.file_stem());
        let left = || private::open_own(&path).is_ok_and(|file| file.try_lock().is_ok());
        if is_part && of_a_unit && left() {
            // Another process may be faster. If the file cannot be removed, it does no harm.
            drop(fs::remove_file(&path));
        }
    }
}

/// A temporary file, removed when this ends; after the rename there is none.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Does the work, and ends this program after it if a signal that ends it came meanwhile.
fn with_signals_deferred<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    static REGISTERED: Once = Once::new();
    static UNDEFERRED: AtomicBool = AtomicBool::new(true);
    static RECEIVED: AtomicUsize = AtomicUsize::new(0);
    REGISTERED.call_once(|| {
        for signal in [SIGINT, SIGTERM] {
            // Without them a signal ends this program at once, and the next run removes the file.
            drop(flag::register_usize(signal, &RECEIVED, usize::try_from(signal).unwrap_or(0)));
            drop(flag::register_conditional_default(signal, &UNDEFERRED));
        }
    });
    RECEIVED.store(0, Ordering::SeqCst);
    UNDEFERRED.store(false, Ordering::SeqCst);
    let done = work();
    UNDEFERRED.store(true, Ordering::SeqCst);
    match i32::try_from(RECEIVED.load(Ordering::SeqCst)) {
        Ok(0) | Err(_) => {}
        Ok(signal) => emulate_default_handler(signal)?,
    }
    done
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
    fn a_unit_is_replaced_and_no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (unit, other) = (directory.path().join("authd.service"), directory.path().join("other"));
        fs::write(&other, "precious").unwrap();
        let part = unit.with_extension(format!("{MARK}{}", std::process::id()));
        symlink(&other, &part).unwrap();
        write(&unit, "text").unwrap();
        write(&unit, "new text").unwrap();
        assert_eq!(fs::read_to_string(&unit).unwrap(), "new text");
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        assert_eq!(names(directory.path()), ["authd.service", "other"]);
        // One that cannot take its place is removed.
        fs::create_dir(directory.path().join("authd.socket")).unwrap();
        write(&directory.path().join("authd.socket"), "text").unwrap_err();
        assert_eq!(names(directory.path()), ["authd.service", "authd.socket", "other"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["authd.part-1", "authd.part-2", "authd.part-x", "other.part-1", "authd.service"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        let in_use = fs::File::open(directory.path().join("authd.part-2")).unwrap();
        in_use.lock().unwrap();
        remove_left_over(directory.path(), &["authd.service", "authd.socket"]);
        assert_eq!(
            names(directory.path()),
            ["authd.part-2", "authd.part-x", "authd.service", "other.part-1"]
        );
    }

    /// Not a test by itself: a process for the next one, which ends by a signal.
    #[test]
    #[ignore = "the test below runs it, in a process of its own"]
    fn helper_that_gets_a_signal_while_it_writes() {
        let Some(directory) = std::env::var_os("UNIT_DIRECTORY").map(PathBuf::from) else { return };
        let part = directory.join("authd.part-1");
        let written: io::Result<()> = with_signals_deferred(|| {
            let part = Part(part.clone());
            fs::write(&part.0, "")?;
            signal_hook::low_level::raise(SIGTERM)?;
            assert!(part.0.exists(), "the signal waits");
            fs::rename(&part.0, directory.join("authd.service"))
        });
        panic!("the signal ends the process before this: {written:?}");
    }

    #[test]
    fn a_signal_ends_the_program_when_no_temporary_file_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let helper = "service::unit_file::tests::helper_that_gets_a_signal_while_it_writes";
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args([helper, "--exact", "--ignored"]).env("UNIT_DIRECTORY", directory.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.signal(), Some(SIGTERM), "{output:?}");
        assert_eq!(names(directory.path()), ["authd.service"]);
    }
}
