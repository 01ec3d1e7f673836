//! The profile of a directory: a file with one name, found upward from the working directory, as
//! version managers do.

use std::{
    fs, io,
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use authd_api::{ErrorCode, Problem, ProfileName};
use rustix::fs::OFlags;

use crate::{
    error::{CliError, CliResult},
    output::Output,
    owned_file::{self, is_own},
};

/// The name of the file.
const FILE_NAME: &str = ".authd-profile";

/// Longest file, in bytes: a name with whitespace around it.
const MAX_LENGTH: u64 = 256;

/// A file, and the profile that it names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProfileFile {
    pub(crate) path: PathBuf,
    pub(crate) profile: ProfileName,
}

impl ProfileFile {
    /// The nearest file in the working directory or above it. Files of other users are skipped, and
    /// directories that contain the home directory: other users may write there.
    pub(crate) fn find_here(out: Output) -> CliResult<Option<Self>> {
        // A directory that was deleted has no file.
        let Ok(directory) = std::env::current_dir() else { return Ok(None) };
        Self::find(&directory, home().as_deref(), out)
    }

    fn find(directory: &Path, home: Option<&Path>, out: Output) -> CliResult<Option<Self>> {
        for directory in searched(directory, home) {
            let path = directory.join(FILE_NAME);
            // A link counts as its owner's file, whatever it points to.
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let profile = if is_own(&metadata) { read(&path) } else { Ok(None) };
            let profile = profile.map_err(|detail| {
                Problem::new(ErrorCode::BadRequest, detail)
                    .hint("write the file anew with: authctl use PROFILE --here, or delete it")
            })?;
            if let Some(profile) = profile {
                return Ok(Some(Self { path, profile }));
            }
            out.verbose(&format!("{} is ignored: it belongs to another user", path.display()));
        }
        Ok(None)
    }

    /// Writes the file of the working directory.
    pub(crate) fn write_here(profile: &ProfileName) -> CliResult<PathBuf> {
        let directory = std::env::current_dir().map_err(|error| {
            CliError::new(ErrorCode::BadRequest, format!("the working directory cannot be read: {error}"))
        })?;
        Self::write(&directory, home().as_deref(), profile)
    }

    fn write(directory: &Path, home: Option<&Path>, profile: &ProfileName) -> CliResult<PathBuf> {
        let path = directory.join(FILE_NAME);
        let cannot = |reason: String| {
            CliError::new(ErrorCode::BadRequest, format!("cannot write {}: {reason}", path.display()))
        };
        if !searched(directory, home).any(|searched| searched == directory) {
            return Err(cannot("authctl reads no file above the home directory".to_owned()));
        }
        if fs::symlink_metadata(&path).is_ok_and(|metadata| !is_own(&metadata)) {
            return Err(cannot("it belongs to another user".to_owned()));
        }
        let written = owned_file::create_public(&path)
            .and_then(|mut file| file.write_all(format!("{profile}\n").as_bytes()));
        written.map_err(|error| cannot(error.to_string()))?;
        Ok(path)
    }
}

fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

/// The directories that are searched, the nearest first: this one and those above it, but none
/// above the home directory.
fn searched<'a>(directory: &'a Path, home: Option<&Path>) -> impl Iterator<Item = &'a Path> {
    // The working directory has no symbolic links in its path, and the home directory may have.
    let home = home.map(|home| fs::canonicalize(home).unwrap_or_else(|_| home.to_path_buf()));
    directory.ancestors().take_while(move |directory| {
        home.as_ref().is_none_or(|home| home == directory || !home.starts_with(directory))
    })
}

/// The profile that a file names; `None` if the file belongs to another user.
fn read(path: &Path) -> Result<Option<ProfileName>, String> {
    let name = path.display();
    let cannot = |error: io::Error| format!("cannot read {name}: {error}");
    // The open of a pipe must not block.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if !is_own(&metadata) {
        return Ok(None);
    }
    if !metadata.is_file() {
        return Err(format!("{name} is not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX_LENGTH + 1).read_to_string(&mut text).map_err(cannot)?;
    match text.trim() {
        "" => Err(format!("{name} names no profile")),
        text if text.contains('\n') || text.len() as u64 > MAX_LENGTH => {
            Err(format!("{name} must have one line, with the name of a profile"))
        }
        text => text.parse().map(Some).map_err(|error| format!("the text in {name} is {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_directory_above_the_home_directory_is_searched() {
        for (directory, home, expected) in [
            ("/home/me/a/b", "/home/me", &["/home/me/a/b", "/home/me/a", "/home/me"][..]),
            ("/home/me", "/home/me", &["/home/me"]),
            ("/home", "/home/me", &[]),
            ("/", "/home/me", &[]),
            ("/srv/a", "/home/me", &["/srv/a", "/srv"]),
            ("/home/other/a", "/home/me", &["/home/other/a", "/home/other"]),
            ("/a", "/", &["/a", "/"]),
        ] {
            let found: Vec<&Path> = searched(Path::new(directory), Some(Path::new(home))).collect();
            assert_eq!(found, expected.iter().map(Path::new).collect::<Vec<_>>(), "{directory}");
        }
        assert_eq!(searched(Path::new("/a"), None).count(), 2);
    }

    #[test]
    fn file_has_one_name_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        for (text, expected) in [
            ("work\n", Ok("work")),
            ("  work\r\n\n", Ok("work")),
            ("work", Ok("work")),
            ("", Err("names no profile")),
            (" \n", Err("names no profile")),
            ("a\nb\n", Err("must have one line")),
            ("No Name\n", Err("not a profile name")),
            (&"a".repeat(300), Err("must have one line")),
        ] {
            fs::write(&path, text).unwrap();
            match (read(&path), expected) {
                (Ok(Some(profile)), Ok(expected)) => assert_eq!(profile.as_str(), expected),
                (Err(error), Err(expected)) => assert!(error.contains(expected), "{error}"),
                (other, _) => panic!("{text:?}: {other:?}"),
            }
        }
        fs::write(&path, b"\xff\n").unwrap();
        assert!(read(&path).unwrap_err().contains("cannot read"));
    }
}
