//! `cargo xtask bench`: measures the release build, and minimal programs (`crates/baselines`) in
//! the same run, in turns. A missed target is shown in the table. It is not an error, because
//! machines differ.

mod audit;
mod build;
mod connection;
mod fleet;
mod herd;
mod hung;
mod idle;
mod many;
mod metric;
mod peers;
mod processes;
mod program;
mod reads;
mod relay;
mod shares;
mod sizes;
mod upstream;

use std::{fs, path::PathBuf, pin::Pin};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use self::{build::build, metric::Metric};
use crate::{
    release::{host, static_target},
    shell::{self, print, print_note},
};

/// The arguments of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Run only these: reads, audit, processes, herd, hung, many, relay, shares, fleet, sizes, idle
    benchmarks: Vec<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Also write the table into docs/performance.md, with --peers into docs/comparison.md
    #[arg(long)]
    write: bool,
    /// Compare with oidc-agent and nginx, which must be installed, instead
    #[arg(long, conflicts_with = "benchmarks")]
    peers: bool,
    /// With --peers: compare with this program of pizauth, too
    #[arg(long, value_name = "PROGRAM", requires = "peers")]
    pizauth: Option<PathBuf>,
}

/// The programs that are measured.
pub(crate) struct Binaries {
    authd: PathBuf,
    /// The client, for the target of a release.
    authctl: PathBuf,
    /// The directory of the baselines.
    baselines: PathBuf,
    /// The baseline of `authctl token`, for the same target as `authctl`.
    token_baseline: PathBuf,
}

/// The name of a benchmark, and its function.
type Benchmark = (&'static str, for<'b> fn(&'b Binaries) -> BenchmarkFuture<'b>);
type BenchmarkFuture<'b> = Pin<Box<dyn Future<Output = anyhow::Result<Vec<Metric>>> + 'b>>;

const BENCHMARKS: [Benchmark; 11] = [
    ("reads", |binaries| Box::pin(reads::measure(binaries))),
    ("audit", |binaries| Box::pin(audit::measure(binaries))),
    ("processes", |binaries| Box::pin(processes::measure(binaries))),
    ("herd", |binaries| Box::pin(herd::measure(binaries))),
    ("hung", |binaries| Box::pin(hung::measure(binaries))),
    ("many", |binaries| Box::pin(many::measure(binaries))),
    ("relay", |binaries| Box::pin(relay::measure(binaries))),
    ("shares", |binaries| Box::pin(shares::measure(binaries))),
    ("fleet", |binaries| Box::pin(fleet::measure(binaries))),
    ("sizes", |binaries| Box::pin(sizes::measure(binaries))),
    ("idle", |binaries| Box::pin(idle::measure(binaries))),
];

/// The lines of docs/performance.md before and after the table.
const BEGIN: &str = "<!-- cargo xtask bench --write: begin -->";
const END: &str = "<!-- end -->";

/// Runs the named benchmarks; without names, all.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let known: Vec<_> = BENCHMARKS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = args.benchmarks.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("unknown benchmark {unknown}; the benchmarks are: {}", known.join(", "));
    }
    let binaries = build_all()?;
    // Runs the sandbox and the clients. The measured programs are separate processes.
    let runtime = shell::runtime()?;
    if args.peers {
        return runtime.block_on(peers::run(&binaries, args.pizauth.as_deref(), args.json, args.write));
    }
    let before = load_average();
    let mut metrics = Vec::new();
    for (name, measure) in BENCHMARKS {
        if args.benchmarks.is_empty() || args.benchmarks.iter().any(|selected| selected == name) {
            print_note(&format!("… {name}"));
            metrics
                .extend(runtime.block_on(measure(&binaries)).with_context(|| format!("benchmark {name}"))?);
        }
    }
    let machine = format!("{}; load average {before} before, {} after", machine(), load_average());
    let table = metric::table(&metrics);
    if args.json {
        let metrics: Vec<_> = metrics.iter().map(Metric::to_json).collect();
        print(&json!({"machine": machine, "figures": metrics}).to_string());
    } else {
        print(&format!("{machine}\n\n{table}"));
    }
    if !args.write {
        return Ok(());
    }
    shell::replace_between("docs/performance.md", (BEGIN, END), &format!("{machine}.\n\n{table}"))
}

fn build_all() -> anyhow::Result<Binaries> {
    let static_target = static_target(&host()?);
    Ok(Binaries {
        authd: build("authd", None)?.join("authd"),
        authctl: build("authctl", static_target)?.join("authctl"),
        token_baseline: build("authd-baselines", static_target)?.join("baseline-token"),
        baselines: build("authd-baselines", None)?,
    })
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Only the version: the rest names the build of the kernel.
    let kernel = kernel.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{model}, {cores} cores, Linux {kernel}")
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
