//! `cargo xtask test typos`: looks for known misspellings in all files of the repository with
//! `typos`, from `PyPI`. `typos.toml` has its exceptions.

use std::process::Command;

use anyhow::{Context, bail};

use crate::{
    shell::root,
    tools::{ToolDir, skip},
};

const TYPOS: &str = "typos==1.52.0";

/// Checks all files, if `typos` can be installed.
pub(crate) fn check() -> anyhow::Result<()> {
    let tools = ToolDir::open("lint")?;
    if let Err(reason) = tools.install_pip(TYPOS) {
        return skip("typos", &reason);
    }
    let program = tools.path().join("venv/bin/typos");
    let status = Command::new(&program).current_dir(root()).args(["--format", "brief"]).status();
    judge(status.with_context(|| program.display().to_string())?.code())
}

/// Judges the exit code: 2 stands for misspellings, and everything else but 0 for a failure of the
/// tool, for example because of its configuration.
fn judge(code: Option<i32>) -> anyhow::Result<()> {
    match code {
        Some(0) => Ok(()),
        Some(2) => bail!("misspelled words: correct them, or add an exception to typos.toml"),
        _ => bail!("typos failed: see its output, and check typos.toml"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelling_is_told_from_a_failure_of_the_tool() {
        assert!(judge(Some(0)).is_ok());
        assert!(judge(Some(2)).unwrap_err().to_string().contains("misspelled words"));
        for code in [Some(1), Some(64), Some(78), None] {
            assert!(judge(code).unwrap_err().to_string().contains("typos failed"));
        }
    }
}
