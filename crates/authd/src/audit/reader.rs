//! Reads the files of the audit log, across rotations and while they grow.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    sync::Arc,
};

use authd_api::{AuditEntry, ProfileName};
use authd_broker::blocking;
use jiff::Timestamp;

use super::files::LogFiles;

/// Longest line, in bytes. The daemon writes no longer one.
const LONGEST_LINE: usize = 64 << 10;

/// A chunk is complete at this length, in bytes.
const CHUNK: usize = 64 << 10;

/// Which entries a reader wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Those from this time on.
    pub(crate) since: Option<Timestamp>,
    /// Those of this profile.
    pub(crate) profile: Option<ProfileName>,
}

impl Filter {
    fn matches(&self, entry: &AuditEntry) -> bool {
        self.since.is_none_or(|since| entry.time >= since)
            && self.profile.as_ref().is_none_or(|profile| entry.profile.as_ref() == Some(profile))
    }
}

/// A position in the files.
pub(crate) struct AuditReader(Option<Position>);

impl AuditReader {
    /// Starts at the oldest entry.
    pub(super) async fn open(files: Arc<LogFiles>, filter: Filter) -> io::Result<Self> {
        blocking(move || Position::open(files, filter)).await.map(|position| Self(Some(position)))
    }

    /// Reads the next lines that match; empty if there is no further one yet. An error is final.
    pub(crate) async fn next_chunk(&mut self) -> io::Result<Vec<u8>> {
        let Some(mut position) = self.0.take() else { return Ok(Vec::new()) };
        let read = blocking(move || position.next_chunk().map(|chunk| (chunk, position)));
        let (chunk, position) = read.await?;
        self.0 = Some(position);
        Ok(chunk)
    }
}

struct Position {
    files: Arc<LogFiles>,
    filter: Filter,
    /// The files that are not read to their end, the oldest first. All but the last one are full.
    open: VecDeque<BufReader<File>>,
    /// How often the files had been rotated when the last one was opened.
    rotations: u64,
    /// The beginning of a line.
    line: Vec<u8>,
}

impl Position {
    fn open(files: Arc<LogFiles>, filter: Filter) -> io::Result<Self> {
        let (open, rotations) = files.open_all()?;
        let open = open.into_iter().map(BufReader::new).collect();
        Ok(Self { files, filter, open, rotations, line: Vec::new() })
    }

    fn next_chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = Vec::new();
        while chunk.len() < CHUNK {
            if self.read_line()? {
                if serde_json::from_slice(&self.line).is_ok_and(|entry| self.filter.matches(&entry)) {
                    chunk.append(&mut self.line);
                }
                self.line.clear();
            } else if self.open.len() > 1 {
                // A full file ends with the line feed of its last line.
                self.open.pop_front();
                self.line.clear();
            } else if !self.open_newer()? {
                break;
            }
        }
        Ok(chunk)
    }

    /// Reads on to the end of a line. Returns false at the end of the file.
    fn read_line(&mut self) -> io::Result<bool> {
        let Some(file) = self.open.front_mut() else { return Ok(false) };
        let room = (LONGEST_LINE - self.line.len()) as u64;
        file.take(room).read_until(b'\n', &mut self.line)?;
        // A longer line is damaged, and its pieces do not parse.
        Ok(self.line.ends_with(b"\n") || self.line.len() == LONGEST_LINE)
    }

    /// Opens the files after the last one. The last one is read once more: it may have grown before
    /// it was full. Returns false if there are none.
    fn open_newer(&mut self) -> io::Result<bool> {
        let last = self.open.back().map(BufReader::get_ref);
        let (newer, rotations) = self.files.open_newer(last, self.rotations)?;
        self.rotations = rotations;
        let is_any = !newer.is_empty();
        self.open.extend(newer.into_iter().map(BufReader::new));
        Ok(is_any)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use authd_api::AuditAction;
    use authd_store::StateDir;

    use super::{
        super::{files::Limits, usage::Usage},
        *,
    };

    fn line(second: i64, profile: &str) -> String {
        let usage = Usage::new(AuditAction::Headers).of(&profile.parse().unwrap());
        serde_json::to_string(&usage.entry(1, Timestamp::from_second(second).unwrap(), None)).unwrap()
    }

    fn files() -> (tempfile::TempDir, Arc<LogFiles>) {
        let directory = tempfile::tempdir().unwrap();
        let state_dir = StateDir::open(directory.path().join("state")).unwrap();
        (directory, Arc::new(LogFiles::new(state_dir)))
    }

    fn seconds(reader: &mut Position) -> Vec<i64> {
        let chunk = reader.next_chunk().unwrap();
        let lines = str::from_utf8(&chunk).unwrap().lines();
        lines.map(|line| serde_json::from_str::<AuditEntry>(line).unwrap().time.as_second()).collect()
    }

    #[test]
    fn reader_follows_the_files_across_rotations() {
        let (_directory, files) = files();
        // Two lines fill a file.
        let limits = Limits { size: 2 * line(10, "me").len() as u64 + 2, files: 4 };
        let append = |from: i64, to: i64| {
            let lines: Vec<_> = (from..=to).map(|second| line(second, "me")).collect();
            files.append(&lines, limits).1.unwrap();
        };
        let mut early = Position::open(files.clone(), Filter::default()).unwrap();
        assert!(seconds(&mut early).is_empty());
        append(10, 13);
        assert_eq!(seconds(&mut early), [10, 11, 12, 13]);
        append(14, 14);
        assert_eq!(seconds(&mut early), [14]);
        append(15, 18);
        assert_eq!(seconds(&mut early), [15, 16, 17, 18]);
        assert!(seconds(&mut early).is_empty());
        // Files that were removed before they were read are gone.
        append(19, 30);
        assert_eq!(seconds(&mut early), [19, 24, 25, 26, 27, 28, 29, 30]);
        let mut late = Position::open(files.clone(), Filter::default()).unwrap();
        assert_eq!(seconds(&mut late), [24, 25, 26, 27, 28, 29, 30]);
        fs::remove_file(files.path()).unwrap();
        append(31, 33);
        assert_eq!(seconds(&mut late), [31, 32, 33]);
    }

    #[test]
    fn only_whole_lines_that_match_are_read() {
        let (_directory, files) = files();
        let mut text = [line(10, "me"), line(11, "you"), line(12, "me")].join("\n");
        text += "\ntorn\n[]\n";
        text += &"x".repeat(3 * LONGEST_LINE);
        let last = line(13, "me");
        let (begin, end) = last.split_at(20);
        fs::write(files.path(), format!("{text}\n{begin}")).unwrap();
        let since = Some(Timestamp::from_second(11).unwrap());
        let filter = Filter { since, profile: Some("me".parse().unwrap()) };
        let mut reader = Position::open(files.clone(), filter).unwrap();
        assert_eq!(seconds(&mut reader), [12]);
        assert!(seconds(&mut reader).is_empty());
        fs::write(files.path(), format!("{text}\n{begin}{end}\n")).unwrap();
        assert_eq!(seconds(&mut reader), [13]);
    }
}
