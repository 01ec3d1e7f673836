//! The drop-in of the systemd service: it allows writing to the directories of the daemon that the
//! unit would make read-only.

use std::path::{Path, PathBuf};

use authd_api::UsedPaths;

use super::{DROP_IN, UnitFile, files::systemd_path};

/// The directories below the home that the unit hides.
const HIDDEN: [&str; 2] = [".ssh", ".gnupg"];

/// A path that the service cannot use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnusablePath {
    /// It is in a directory that the unit hides.
    Hidden { path: PathBuf, directory: PathBuf },
    /// It has a control character, which a unit cannot contain.
    ControlCharacter(PathBuf),
}

impl UnusablePath {
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Hidden { path, directory } => {
                format!("the service cannot use {}: its unit hides {}", path.display(), directory.display())
            }
            Self::ControlCharacter(path) => {
                format!("a unit cannot contain the path {}", path.to_string_lossy().escape_debug())
            }
        }
    }
}

/// The drop-in for these paths; `None` if the unit suffices. `home` is without symbolic links, as
/// the paths are.
pub(crate) fn drop_in(used: &UsedPaths, home: &Path) -> Result<Option<UnitFile>, UnusablePath> {
    for path in used.reads.iter().chain(&used.writes) {
        let hidden = HIDDEN.map(|name| home.join(name));
        if let Some(directory) = hidden.into_iter().find(|directory| path.starts_with(directory)) {
            return Err(UnusablePath::Hidden { path: path.clone(), directory });
        }
    }
    let mut lines = String::new();
    for path in used.writes.iter().filter(|path| !path.starts_with(home)) {
        let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
        let text = text.ok_or_else(|| UnusablePath::ControlCharacter(path.clone()))?;
        // A directory that does not exist, such as that of a removed disk, is no error.
        lines += &format!("ReadWritePaths={}\n", systemd_path(false, &format!("-{text}")));
    }
    let heading = "# Written by authctl service install: the directories outside the home directory.";
    let file = || UnitFile { name: DROP_IN, text: format!("{heading}\n[Service]\n{lines}") };
    Ok((!lines.is_empty()).then(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(writes: &[&str], reads: &[&str]) -> UsedPaths {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        UsedPaths { writes: paths(writes), reads: paths(reads) }
    }

    fn lines(writes: &[&str]) -> Option<String> {
        let file = drop_in(&used(writes, &["/etc/ssl/ca.pem"]), Path::new("/home/me")).unwrap()?;
        let (_, lines) = file.text.split_once("\n[Service]\n").unwrap();
        Some(lines.to_owned())
    }

    #[test]
    fn only_directories_outside_the_home_are_named_and_escaped() {
        assert_eq!(lines(&["/home/me/.local/state/authd", "/home/me/.codex"]), None);
        assert_eq!(lines(&["/home/me/state", "/data/codex"]).unwrap(), "ReadWritePaths=-/data/codex\n");
        assert_eq!(
            lines(&["/home/me2/state", r#"/data/100% "mine"\it's"#]).unwrap(),
            "ReadWritePaths=-/home/me2/state\nReadWritePaths=\"-/data/100%% \\\"mine\\\"\\\\it's\"\n"
        );
    }

    #[test]
    fn path_that_cannot_work_is_named() {
        let home = Path::new("/home/me");
        for used in [used(&["/s"], &["/home/me/.ssh/ca.pem"]), used(&["/home/me/.ssh/ca.pem"], &[])] {
            let detail = drop_in(&used, home).unwrap_err().detail();
            assert_eq!(detail, "the service cannot use /home/me/.ssh/ca.pem: its unit hides /home/me/.ssh");
        }
        let detail = drop_in(&used(&["/data/a\nb"], &[]), home).unwrap_err().detail();
        assert_eq!(detail, r"a unit cannot contain the path /data/a\nb");
        let hides = HIDDEN.map(|name| format!("-%h/{name}")).join(" ");
        let unit = include_str!("../../../../systemd/authd.service");
        assert!(unit.contains(&format!("\nInaccessiblePaths={hides}\n")), "{hides}");
    }
}
