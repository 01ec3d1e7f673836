//! The checksums of all files for one platform, in the form of `sha256sum`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::tools::{run_quiet, stdout_of};

/// Writes the checksums of these files, which lie in the same directory.
pub(super) fn write(files: &[&PathBuf], path: &Path) -> anyhow::Result<()> {
    let mut sums = String::new();
    for file in files {
        let name = file.file_name().and_then(|name| name.to_str()).context("a file has a plain name")?;
        let directory = file.parent().context("a file lies in a directory")?;
        sums +=
            &stdout_of(Command::new("sha256sum").arg(name).current_dir(directory)).context("sha256sum")?;
    }
    Ok(fs::write(path, sums)?)
}

/// Checks the files as a user does.
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    let directory = path.parent().context("the file lies in a directory")?;
    run_quiet(Command::new("sha256sum").args(["--check", "--strict"]).arg(path).current_dir(directory))
        .context("sha256sum")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_file_fails_the_check() {
        let directory = tempfile::tempdir().unwrap();
        let [file, sums] = ["a", "a.sha256"].map(|name| directory.path().join(name));
        fs::write(&file, "abc").unwrap();
        write(&[&file], &sums).unwrap();
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fs::read_to_string(&sums).unwrap(), format!("{digest}  a\n"));
        check(&sums).unwrap();
        fs::write(&file, "abe").unwrap();
        assert!(check(&sums).is_err());
    }
}
