//! `cargo xtask test`: the steps of CI, one after another. The first failure stops the run.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::shell::{build_programs, cargo, is_installed, print, print_note, print_title, run};

/// The name of a step, and its function.
type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: &[Step] = &[
    ("fmt", format),
    ("layering", crate::layering::check),
    ("typos", crate::spelling::check),
    ("changelog", crate::changelog::check),
    ("dependencies", crate::dependencies::check),
    ("workflows", crate::workflows::check),
    ("clippy", clippy),
    ("msrv", crate::msrv::check),
    ("fuzz", fuzz),
    ("macos", crate::macos::check),
    ("openapi", crate::openapi::check),
    ("doc", documentation),
    ("book", crate::book::check),
    ("tests", tests),
    ("service", service),
    ("doctests", doctests),
    ("examples", crate::examples_check::check),
    ("clients", crate::clients::check),
    ("providers", crate::examples_check::check_providers),
    ("prometheus", crate::prometheus::check),
    ("contract", crate::contract::check),
    ("demo", crate::demo::run),
    ("sandbox", crate::sandbox::check),
    ("picture", crate::picture::check),
    ("recipes", crate::recipes::check),
];

/// The steps that are too long for CI, or need more than the package registries. They run only by
/// name.
const NAMED_STEPS: &[Step] = &[
    ("advisories", crate::dependencies::check_advisories),
    ("many-grants", crate::examples_check::check_many_grants),
];

/// Runs the named steps; without names, all of CI.
pub(crate) fn run_all(named: &[String]) -> anyhow::Result<()> {
    let all = || STEPS.iter().chain(NAMED_STEPS);
    let known = step_names();
    if let Some(unknown) = named.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("unknown step {unknown}; the steps are: {}", known.join(", "));
    }
    let is_named = |step: &&Step| named.iter().any(|name| name == step.0);
    let steps: Vec<_> =
        if named.is_empty() { STEPS.iter().collect() } else { all().filter(is_named).collect() };
    let mut durations = Vec::new();
    for (name, step) in steps {
        print_title(name);
        let started = Instant::now();
        step()?;
        durations.push((*name, started.elapsed()));
    }
    print_title("all steps passed");
    print(&table(&durations));
    Ok(())
}

/// The time of each step and their sum, in seconds.
fn table(durations: &[(&str, Duration)]) -> String {
    let sum = ("sum", durations.iter().map(|(_, duration)| *duration).sum());
    let lines = durations.iter().chain([&sum]);
    let lines = lines.map(|(name, duration)| format!("{name:<13}{:>7.1} s", duration.as_secs_f64()));
    lines.collect::<Vec<_>>().join("\n")
}

/// The names of all steps.
pub(crate) fn step_names() -> Vec<&'static str> {
    STEPS.iter().chain(NAMED_STEPS).map(|(name, _)| *name).collect()
}

fn format() -> anyhow::Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> anyhow::Result<()> {
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// Lints the programs for libFuzzer. The tests run the same functions without it. The command has
/// the packages of [`clippy`], so that it compiles only what the feature adds.
fn fuzz() -> anyhow::Result<()> {
    let feature = ["--features", "authd-fuzz/libfuzzer"];
    run(cargo(&["clippy", "--workspace", "--all-targets"]).args(feature).args(["--", "-D", "warnings"]))
}

fn documentation() -> anyhow::Result<()> {
    run(cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests() -> anyhow::Result<()> {
    // The end-to-end tests run the binaries of several packages.
    run(&mut cargo(&["build", "--workspace", "--bins", "--tests"]))?;
    if is_installed("cargo-nextest") {
        run(&mut cargo(&["nextest", "run", "--workspace"]))
    } else {
        print_note("cargo-nextest is not installed; running cargo test instead, which is slower");
        run(&mut cargo(&["test", "--workspace", "--lib", "--bins", "--tests"]))
    }
}

/// Tests the units with a real systemd. Without systemd the test prints what is missing.
fn service() -> anyhow::Result<()> {
    build_programs()?;
    let only = ["--ignored", "--exact", "on_a_real_user_manager", "--nocapture"];
    run(cargo(&["test", "--test", "service", "--"]).args(only))
}

fn doctests() -> anyhow::Result<()> {
    run(&mut cargo(&["test", "--workspace", "--doc"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_the_time_of_each_step_and_the_sum() {
        let durations = [("fmt", Duration::from_millis(640)), ("tests", Duration::from_secs(900))];
        let lines = ["fmt              0.6 s", "tests          900.0 s", "sum            900.6 s"];
        assert_eq!(table(&durations), lines.join("\n"));
    }
}
