//! `cargo xtask test dependencies`: checks `Cargo.lock` with cargo-deny and `deny.toml`: licences,
//! sources, second versions of a crate, crates that must not come in, and yanked versions.
//! `cargo xtask test advisories` compares it with the `RustSec` database. That is not a part of all
//! steps, because the database comes from GitHub, and not every machine can reach it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, bail, ensure};

use crate::{
    shell::{cargo, root},
    tools::{CargoTool, run_quiet, skip},
};

/// The workflows install the same version.
pub(crate) const CARGO_DENY: CargoTool = CargoTool { name: "cargo-deny", version: "0.20.2", options: &[] };
/// Each check of cargo-deny, and its bit in the exit code.
const CHECKS: [(&str, i32); 4] = [("advisories", 1), ("bans", 2), ("licenses", 4), ("sources", 8)];
/// The variable in `deny.toml` for the directory of the databases.
const DATABASES: &str = "ADVISORY_DBS";
/// The directory of the `RustSec` database there. cargo-deny makes the name from its URL.
const DATABASE: &str = "advisory-db-3157b0e258782691";
/// An advisory for a crate that does not exist, because cargo-deny refuses an empty database.
const ADVISORY: &str = r#"```toml
[advisory]
id = "RUSTSEC-2000-0001"
package = "authd-no-such-crate"
date = "2000-01-01"

[versions]
patched = []
```

# Placeholder

Made by cargo xtask test dependencies.
"#;

/// Checks everything that needs crates.io only.
pub(crate) fn check() -> anyhow::Result<()> {
    let program = match CARGO_DENY.install() {
        Ok(program) => program,
        Err(reason) => return skip("dependencies", &reason),
    };
    // An exception that no longer applies is an error too.
    let stale = ["-D", "unmatched-skip", "-D", "unnecessary-skip", "-D", "unused-wrapper"];
    let mut rules = deny(&program);
    judge(rules.args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]).args(stale))?;
    check_yanked(&program)
}

/// Compares the dependencies with the `RustSec` database.
pub(crate) fn check_advisories() -> anyhow::Result<()> {
    // A failed download has the exit code of a vulnerability.
    let hint = "a vulnerable dependency, or no access to the database on GitHub: see the output above";
    judge(deny(&CARGO_DENY.install()?).args(["check", "advisories"])).context(hint)
}

/// Checks for yanked versions. cargo-deny reads what cargo knows of each crate, which
/// `cargo update` brings up to date, and does this together with the advisories.
fn check_yanked(program: &Path) -> anyhow::Result<()> {
    if let Err(reason) = run_quiet(&mut cargo(&["update", "--dry-run"])) {
        return skip("yanked versions", &reason.context("cannot update the index of crates.io"));
    }
    let databases = tempfile::tempdir()?;
    write_database(&databases.path().join(DATABASE))?;
    let unknown = ["-D", "index-failure", "-D", "index-cache-load-failure"];
    let mut yanked = deny(program);
    yanked.env(DATABASES, databases.path()).args(["--offline", "check", "advisories"]).args(unknown);
    judge(&mut yanked)
}

/// Makes a database with one advisory. cargo-deny reads its age from the commit.
fn write_database(path: &Path) -> anyhow::Result<()> {
    let directory = path.join("crates/authd-no-such-crate");
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("RUSTSEC-2000-0001.md"), ADVISORY)?;
    let git = |args: &[&str]| {
        run_quiet(Command::new("git").current_dir(path).args(["-c", "user.name=xtask"]).args(args))
    };
    git(&["init", "--quiet"])?;
    git(&["-c", "user.email=xtask@localhost", "commit", "--quiet", "--allow-empty", "--message", "made"])
}

fn deny(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).args(["--workspace", "--locked"]);
    command
}

/// Runs cargo-deny, and names the checks that failed.
fn judge(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    let failed = failed_checks(status.code())?;
    ensure!(
        failed.is_empty(),
        "{} failed: change the dependency, or add an exception with a reason to deny.toml",
        failed.join(", ")
    );
    Ok(())
}

/// The checks that failed, from the exit code of cargo-deny. It has a bit for each.
fn failed_checks(code: Option<i32>) -> anyhow::Result<Vec<&'static str>> {
    match code {
        Some(code @ 0..=15) => {
            Ok(CHECKS.iter().filter(|(_, bit)| code & bit != 0).map(|(name, _)| *name).collect())
        }
        _ => bail!("cargo-deny ended with {code:?}: see its output"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::stdout_of;

    #[test]
    fn exit_code_names_the_failed_checks() {
        assert_eq!(failed_checks(Some(0)).unwrap(), [""; 0]);
        assert_eq!(failed_checks(Some(1)).unwrap(), ["advisories"]);
        assert_eq!(failed_checks(Some(6)).unwrap(), ["bans", "licenses"]);
        assert_eq!(failed_checks(Some(15)).unwrap().len(), 4);
        for code in [Some(16), Some(101), None] {
            assert!(failed_checks(code).is_err(), "{code:?}");
        }
    }

    #[test]
    fn database_has_an_advisory_and_an_age() {
        let directory = tempfile::tempdir().unwrap();
        write_database(directory.path()).unwrap();
        assert!(directory.path().join("crates/authd-no-such-crate/RUSTSEC-2000-0001.md").is_file());
        let age = ["show", "--no-patch", "--format=%ct", "HEAD"];
        let age = stdout_of(Command::new("git").current_dir(directory.path()).args(age)).unwrap();
        assert!(age.trim().parse::<u64>().is_ok(), "{age}");
    }

    #[test]
    fn directory_of_the_databases_can_be_named() {
        let rules = fs::read_to_string(root().join("deny.toml")).unwrap();
        assert!(rules.contains(&format!("db-path = \"${{{DATABASES}:-")), "deny.toml");
    }
}
