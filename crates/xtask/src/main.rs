//! `cargo xtask`: builds, demonstrates, tests and measures authd, for work on this repository.
//! Nothing of it is installed.

// Reads /proc and sets the CPU affinity of processes, so it needs Linux.
#[cfg(target_os = "linux")]
mod bench;
mod book;
mod changelog;
mod clients;
mod contract;
mod demo;
mod dependencies;
mod dist;
mod examples_check;
mod layering;
mod macos;
mod msrv;
mod openapi;
mod picture;
mod prometheus;
mod recipes;
mod release;
mod sandbox;
mod session;
mod shell;
mod simulate;
mod spelling;
mod test;
mod tools;
mod workflows;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, demonstrate and test authd.
#[derive(Parser)]
#[command(name = "cargo xtask", about)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the main use from login to answer, without an account or internet access.
    Demo,
    /// Run the stand-in for OpenAI and a daemon until Ctrl-C, to try authd by hand.
    Sandbox,
    /// Build the documentation as a book with search.
    Book,
    /// Record the terminal session that the README shows.
    Picture,
    /// Run all checks and tests of CI.
    Test {
        /// Run only these steps, by name.
        steps: Vec<String>,
    },
    /// Build the files of a release into target/dist: packages, SBOMs and checksums.
    Dist {
        /// Also test them: build twice and compare, unpack, install in a minimal Debian, remove.
        #[arg(long)]
        check: bool,
        /// Build for another machine: aarch64-unknown-linux-gnu.
        #[arg(long, value_name = "TRIPLE")]
        target: Option<String>,
    },
    /// Build a wheel and an npm package of the clients into target/dist.
    Clients,
    /// Simulate large fleets, and print the figures of docs/fleet.md. Takes some minutes.
    Simulate {
        /// Simulate one of so many of the 100,000 grants, and multiply
        #[arg(long, default_value_t = 10)]
        sample: u32,
        /// Also write the table into docs/fleet.md
        #[arg(long)]
        write: bool,
    },
    #[cfg(target_os = "linux")]
    /// Measure the release build, and compare it with minimal programs.
    Bench(bench::BenchArgs),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Demo => demo::run(),
        Command::Sandbox => sandbox::run(),
        Command::Book => book::run(),
        Command::Picture => picture::run(),
        Command::Test { steps } => test::run_all(&steps),
        Command::Dist { check, target } => dist::run(check, target.as_deref()),
        Command::Clients => clients::run(),
        Command::Simulate { sample, write } => simulate::run(sample, write),
        #[cfg(target_os = "linux")]
        Command::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::print_note(&format!("\n{error:#}"));
            ExitCode::FAILURE
        }
    }
}
