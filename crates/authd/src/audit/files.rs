//! The files of the audit log: `audit.jsonl`, which grows, and the full ones `audit.jsonl.1`, the
//! newest, to `audit.jsonl.N`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use authd_store::{StateDir, private};
use rustix::fs::OFlags;

use crate::config::AuditConfig;

/// The file that grows.
const NAME: &str = "audit.jsonl";

/// The highest number of a file that a configuration may have left.
const MOST_FILES: usize = AuditConfig::MOST_FILES;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Longest file, in bytes. A longer line has a file of its own.
    pub(super) size: u64,
    /// How many files are kept.
    pub(super) files: usize,
}

/// The files in a state directory. The writer and the readers share them.
pub(super) struct LogFiles {
    state_dir: StateDir,
    /// How often the files were rotated. Locked during a write, so that a reader finds each file
    /// once.
    rotations: Mutex<u64>,
}

impl LogFiles {
    pub(super) fn new(state_dir: StateDir) -> Self {
        Self { state_dir, rotations: Mutex::new(0) }
    }

    /// The file that grows.
    pub(super) fn path(&self) -> PathBuf {
        self.state_dir.path().join(NAME)
    }

    /// Appends lines. After an error, the returned number of them is in the file, and nothing of
    /// the next one.
    pub(super) fn append(&self, lines: &[String], limits: Limits) -> (usize, io::Result<()>) {
        let mut written = 0;
        let result = self.append_counting(lines, limits, &mut written);
        let path = self.path();
        let with_path =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        (written, result.map_err(with_path))
    }

    fn append_counting(&self, lines: &[String], limits: Limits, written: &mut usize) -> io::Result<()> {
        let mut rotations = self.lock();
        self.state_dir.ensure()?;
        // Opened for each write: the file may have been moved or removed.
        let mut file = LogFile::open(&self.path())?;
        for line in lines {
            let line = format!("{line}\n");
            if file.length > 0 && file.length + line.len() as u64 > limits.size {
                self.rotate(limits.files)?;
                *rotations += 1;
                file = LogFile::open(&self.path())?;
            }
            file.append(&line)?;
            *written += 1;
        }
        Ok(())
    }

    /// Makes room for a new file: each file gets the next number, and the oldest ones are removed.
    fn rotate(&self, files: usize) -> io::Result<()> {
        // Left by a configuration that kept more files.
        for number in files..=MOST_FILES {
            private::remove(&self.numbered(number))?;
        }
        // After an interrupted rotation, only the files before the gap have their old numbers.
        let mut gap = files - 1;
        for number in (1..files).rev() {
            if !exists(&self.numbered(number))? {
                gap = number;
            }
        }
        private::remove(&self.numbered(gap))?;
        for number in (0..gap).rev() {
            fs::rename(self.numbered(number), self.numbered(number + 1))?;
        }
        Ok(())
    }

    /// The files that exist, the oldest first, and the number of rotations so far.
    pub(super) fn open_all(&self) -> io::Result<(Vec<File>, u64)> {
        let rotations = self.lock();
        let mut files = Vec::new();
        for number in (0..=MOST_FILES).rev() {
            files.extend(self.open(number)?);
        }
        Ok((files, *rotations))
    }

    /// The files after this one, which was the growing one after so many rotations. Returns them,
    /// the oldest first, and the number of rotations so far.
    pub(super) fn open_newer(&self, than: Option<&File>, after: u64) -> io::Result<(Vec<File>, u64)> {
        let rotations = self.lock();
        let passed = usize::try_from(*rotations - after).unwrap_or(MOST_FILES).min(MOST_FILES);
        let known = than.map(identity).transpose()?;
        let mut files = Vec::new();
        for number in (0..=passed).rev() {
            // The file may also have been removed, and another one made in its place.
            let is_new = |file: &File| Ok::<_, io::Error>(Some(identity(file)?) != known);
            if let Some(file) = self.open(number)?
                && is_new(&file)?
            {
                files.push(file);
            }
        }
        Ok((files, *rotations))
    }

    fn open(&self, number: usize) -> io::Result<Option<File>> {
        match open(OpenOptions::new().read(true), &self.numbered(number)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn numbered(&self, number: usize) -> PathBuf {
        match number {
            0 => self.path(),
            number => self.state_dir.path().join(format!("{NAME}.{number}")),
        }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.rotations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file that grows, open for a write.
struct LogFile {
    file: File,
    /// The length of its complete lines.
    length: u64,
}

impl LogFile {
    /// Opens the file, and ends a line that a crash has torn.
    fn open(path: &Path) -> io::Result<Self> {
        let file = open(OpenOptions::new().read(true).append(true).create(true).mode(0o600), path)?;
        let mut opened = Self { length: file.metadata()?.len(), file };
        let mut last = [b'\n'];
        if opened.length > 0 {
            opened.file.read_exact_at(&mut last, opened.length - 1)?;
        }
        if last != [b'\n'] {
            opened.append("\n")?;
        }
        Ok(opened)
    }

    /// Appends the whole text, or nothing.
    fn append(&mut self, text: &str) -> io::Result<()> {
        match self.file.write_all(text.as_bytes()) {
            Ok(()) => {
                self.length += text.len() as u64;
                Ok(())
            }
            Err(error) => {
                // If that fails, the next write ends the torn line.
                self.file.set_len(self.length).ok();
                Err(error)
            }
        }
    }
}

/// Opens a regular file. Never blocks on a pipe.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|found| (found.dev(), found.ino()))
}

fn exists(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LIMITS: Limits = Limits { size: 10, files: 3 };

    fn files() -> (tempfile::TempDir, LogFiles) {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path().join("state")).unwrap();
        (directory, LogFiles::new(state_dir))
    }

    fn append(files: &LogFiles, lines: &[&str], limits: Limits) {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        let (written, result) = files.append(&lines, limits);
        result.unwrap();
        assert_eq!(written, lines.len());
    }

    /// The content of each file, the growing one first.
    fn content(files: &LogFiles) -> Vec<String> {
        let read = |number| fs::read_to_string(files.numbered(number)).ok();
        (0..=MOST_FILES).map_while(read).collect()
    }

    #[test]
    fn full_files_are_rotated_and_the_oldest_is_removed() {
        let (_directory, files) = files();
        append(&files, &["1111", "2222", "3333"], LIMITS);
        assert_eq!(content(&files), ["3333\n", "1111\n2222\n"]);
        let mode = fs::metadata(files.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        append(&files, &["a line that is longer than a file", "4", "5", "666666"], LIMITS);
        assert_eq!(content(&files), ["666666\n", "4\n5\n", "a line that is longer than a file\n"]);
        append(&files, &["7777777"], Limits { files: 2, ..LIMITS });
        assert_eq!(content(&files), ["7777777\n", "666666\n"]);
        append(&files, &["8888888"], Limits { files: 1, ..LIMITS });
        assert_eq!(content(&files), ["8888888\n"]);
    }

    #[test]
    fn torn_line_is_ended_before_the_next_one() {
        let (_directory, files) = files();
        fs::write(files.path(), "whole\ntor").unwrap();
        append(&files, &["next"], Limits { size: 100, ..LIMITS });
        assert_eq!(content(&files), ["whole\ntor\nnext\n"]);
    }

    #[test]
    fn removed_file_and_directory_are_made_again() {
        let (_directory, files) = files();
        append(&files, &["1"], LIMITS);
        fs::remove_file(files.path()).unwrap();
        append(&files, &["2"], LIMITS);
        assert_eq!(content(&files), ["2\n"]);
        fs::remove_dir_all(files.state_dir.path()).unwrap();
        append(&files, &["3"], LIMITS);
        assert_eq!(content(&files), ["3\n"]);
    }

    #[test]
    fn failed_or_interrupted_rotation_loses_no_file() {
        let (_directory, files) = files();
        append(&files, &["111111", "222222"], LIMITS);
        // The oldest file cannot be removed.
        fs::create_dir(files.numbered(2)).unwrap();
        for _ in 0..5 {
            let (written, result) = files.append(&["333333".to_owned()], LIMITS);
            assert_eq!(written, 0);
            assert!(result.unwrap_err().to_string().contains("audit.jsonl: "));
        }
        fs::remove_dir(files.numbered(2)).unwrap();
        assert_eq!(content(&files), ["222222\n", "111111\n"]);
        // The rotation was interrupted before its last step.
        fs::rename(files.numbered(1), files.numbered(2)).unwrap();
        append(&files, &["333333"], LIMITS);
        assert_eq!(content(&files), ["333333\n", "222222\n", "111111\n"]);
    }

    #[test]
    fn pipe_does_not_block_the_writer() {
        let (_directory, files) = files();
        let made = std::process::Command::new("mkfifo").arg(files.path()).status().unwrap();
        assert!(made.success());
        let (_, result) = files.append(&["1".to_owned()], LIMITS);
        assert!(result.unwrap_err().to_string().ends_with("it is not a regular file"));
    }
}
