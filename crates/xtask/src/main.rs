//! `cargo xtask`: builds, demonstrates and tests authd. It is for people at this repository; nothing
//! of it is installed.

// Its figures come from /proc, and its programs are kept on cores of their own.
#[cfg(target_os = "linux")]
mod bench;
mod contract;
mod demo;
mod dist;
mod macos;
mod release;
mod rooms;
mod shell;
mod test;
mod tools;
mod ways;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, demonstrate and test authd.
#[derive(Parser)]
#[command(name = "cargo xtask", about)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Show the main job end to end: no account, no internet, nothing left behind.
    Demo,
    /// Run everything that CI runs.
    Test {
        /// Only these steps, by name.
        steps: Vec<String>,
    },
    /// Make the packages of a release in target/dist: a tarball, and a Debian package.
    Dist {
        /// Try them, too: packed twice, unpacked, installed in a fresh Debian and removed again.
        #[arg(long)]
        check: bool,
    },
    #[cfg(target_os = "linux")]
    /// Measure the release build against the least that could be done.
    Bench(bench::Wanted),
}

fn main() -> ExitCode {
    let done = match Args::parse().task {
        Task::Demo => demo::run(),
        Task::Test { steps } => test::run_all(&steps),
        Task::Dist { check } => dist::run(check),
        #[cfg(target_os = "linux")]
        Task::Bench(wanted) => bench::run(&wanted),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::note(&format!("\n{error:#}"));
            ExitCode::FAILURE
        }
    }
}
