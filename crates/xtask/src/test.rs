//! `cargo xtask test`: everything that CI runs, step by step; the first failure ends it.

use anyhow::bail;

use crate::shell::{cargo, has, note, run, title};

/// A step and its name.
type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: [Step; 12] = [
    ("fmt", format),
    ("rooms", crate::rooms::check),
    ("clippy", clippy),
    ("fuzz", fuzz),
    ("macos", crate::macos::check),
    ("doc", documentation),
    ("tests", tests),
    ("service", service),
    ("doctests", doctests),
    ("ways", crate::ways::check),
    ("contract", crate::contract::check),
    ("demo", crate::demo::run),
];

/// Runs all steps, or those that are named.
pub(crate) fn run_all(named: &[String]) -> anyhow::Result<()> {
    if let Some(unknown) = named.iter().find(|name| !STEPS.iter().any(|(step, _)| step == name)) {
        let known: Vec<_> = STEPS.iter().map(|(step, _)| *step).collect();
        bail!("there is no step {unknown}; there are: {}", known.join(", "));
    }
    for (name, step) in
        STEPS.iter().filter(|(step, _)| named.is_empty() || named.iter().any(|name| name == step))
    {
        title(name);
        step()?;
    }
    title("all passed");
    Ok(())
}

fn format() -> anyhow::Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// What libFuzzer links, as far as it can be told without linking: the tests run the same functions.
fn fuzz() -> anyhow::Result<()> {
    run(&mut cargo(&["check", "--package", "authd-fuzz", "--features", "libfuzzer", "--bins"]))
}

fn documentation() -> anyhow::Result<()> {
    run(cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests() -> anyhow::Result<()> {
    // The end-to-end tests run the binaries, those of other packages too.
    run(&mut cargo(&["build", "--workspace", "--bins"]))?;
    if has("cargo-nextest") {
        run(&mut cargo(&["nextest", "run", "--workspace"]))
    } else {
        note("cargo-nextest is not installed; cargo test does the same, slower");
        run(&mut cargo(&["test", "--workspace", "--lib", "--bins", "--tests"]))
    }
}

/// The units on a real service manager. The test says what is missing where there can be none.
fn service() -> anyhow::Result<()> {
    run(&mut cargo(&["build", "-p", "authd", "-p", "authctl", "--bins"]))?;
    let only = ["--ignored", "--exact", "on_a_real_user_manager", "--nocapture"];
    run(cargo(&["test", "-p", "authd", "--test", "service", "--"]).args(only))
}

fn doctests() -> anyhow::Result<()> {
    run(&mut cargo(&["test", "--workspace", "--doc"]))
}
