//! `cargo xtask test`: the steps of CI, one after another. The first failure stops the run.

use anyhow::bail;

use crate::shell::{cargo, is_installed, print_note, print_title, run};

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
    for (name, step) in steps {
        print_title(name);
        step()?;
    }
    print_title("all steps passed");
    Ok(())
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

/// Type-checks the programs for libFuzzer. The tests run the same functions without it.
fn fuzz() -> anyhow::Result<()> {
    run(&mut cargo(&["check", "--package", "authd-fuzz", "--features", "libfuzzer", "--bins"]))
}

fn documentation() -> anyhow::Result<()> {
    run(cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "-D warnings"))
}

fn tests() -> anyhow::Result<()> {
    // The end-to-end tests run the binaries of several packages.
    run(&mut cargo(&["build", "--workspace", "--bins"]))?;
    if is_installed("cargo-nextest") {
        run(&mut cargo(&["nextest", "run", "--workspace"]))
    } else {
        print_note("cargo-nextest is not installed; running cargo test instead, which is slower");
        run(&mut cargo(&["test", "--workspace", "--lib", "--bins", "--tests"]))
    }
}

/// Tests the units with a real systemd. Without systemd the test prints what is missing.
fn service() -> anyhow::Result<()> {
    run(&mut cargo(&["build", "-p", "authd", "-p", "authctl", "--bins"]))?;
    let only = ["--ignored", "--exact", "on_a_real_user_manager", "--nocapture"];
    run(cargo(&["test", "-p", "authd", "--test", "service", "--"]).args(only))
}

fn doctests() -> anyhow::Result<()> {
    run(&mut cargo(&["test", "--workspace", "--doc"]))
}
