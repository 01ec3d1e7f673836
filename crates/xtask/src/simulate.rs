//! `cargo xtask simulate`: the figures of large fleets (`crates/oauth/tests/fleet/simulate.rs`).

use std::process::Stdio;

use anyhow::{Context, ensure};

use crate::shell::{cargo, print, replace_between};

/// The page with the figures, and its lines before and after them.
const PAGE: &str = "docs/fleet.md";
const MARKS: (&str, &str) = ("<!-- cargo xtask simulate --write: begin -->", "<!-- end -->");

/// Runs the simulation, prints its table, and writes it into the documentation.
pub(crate) fn run(sample: u32, write: bool) -> anyhow::Result<()> {
    let mut command = cargo(&["bench", "--quiet", "--package", "authd-oauth", "--bench", "simulate"]);
    command.args(["--", &sample.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
    ensure!(output.status.success(), "the simulation failed");
    let table = String::from_utf8(output.stdout)?;
    print(&table);
    if write { replace_between(PAGE, MARKS, &table) } else { Ok(()) }
}
