//! `cargo xtask bench`: how fast and how small, measured on the release build against the least that could
//! be done (`crates/floors`), in the same run and in turns. A figure that misses its target is told, and is
//! no failure: machines differ, and a figure is no test.

mod built;
mod figure;
mod herd;
mod hung;
mod idle;
mod load;
mod many;
mod processes;
mod program;
mod reads;
mod relay;
mod sizes;

use std::{fs, path::PathBuf, pin::Pin};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use self::figure::Figure;
use crate::{
    release::{Profile, static_target},
    shell::{self, note, say},
};

/// What to measure, and how to tell it.
#[derive(Args)]
pub(crate) struct Wanted {
    /// Only these scenes: reads, processes, herd, hung, idle, many, relay, sizes
    scenes: Vec<String>,
    /// Tell it as JSON
    #[arg(long)]
    json: bool,
    /// Put the table into docs/performance.md
    #[arg(long)]
    write: bool,
}

/// The binaries under measurement.
pub(crate) struct Binaries {
    /// The daemon.
    authd: PathBuf,
    /// The client, as it is shipped.
    authctl: PathBuf,
    /// Where the floors are.
    floors: PathBuf,
    /// The floor under the client, built as the client is.
    ask: PathBuf,
}

/// A scene, its name, and what it measures.
type Scene = (&'static str, for<'b> fn(&'b Binaries) -> Measuring<'b>);
type Measuring<'b> = Pin<Box<dyn Future<Output = anyhow::Result<Vec<Figure>>> + 'b>>;

const SCENES: [Scene; 8] = [
    ("reads", |binaries| Box::pin(reads::measure(binaries))),
    ("processes", |binaries| Box::pin(processes::measure(binaries))),
    ("herd", |binaries| Box::pin(herd::measure(binaries))),
    ("hung", |binaries| Box::pin(hung::measure(binaries))),
    ("many", |binaries| Box::pin(many::measure(binaries))),
    ("relay", |binaries| Box::pin(relay::measure(binaries))),
    ("sizes", |binaries| Box::pin(sizes::measure(binaries))),
    ("idle", |binaries| Box::pin(idle::measure(binaries))),
];

/// Where the table stands.
const BEGIN: &str = "<!-- cargo xtask bench --write: begin -->";
const END: &str = "<!-- end -->";

/// Measures the scenes that are named, or all.
pub(crate) fn run(wanted: &Wanted) -> anyhow::Result<()> {
    if let Some(unknown) = wanted.scenes.iter().find(|name| !SCENES.iter().any(|(scene, _)| scene == name)) {
        let known: Vec<_> = SCENES.iter().map(|(scene, _)| *scene).collect();
        bail!("there is no scene {unknown}; there are: {}", known.join(", "));
    }
    let binaries = build()?;
    let before = load_average();
    // The provider and the callers; what is measured runs in processes of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut figures = Vec::new();
    for (name, scene) in SCENES {
        if wanted.scenes.is_empty() || wanted.scenes.iter().any(|wanted| wanted == name) {
            note(&format!("… {name}"));
            figures.extend(runtime.block_on(scene(&binaries)).with_context(|| format!("scene {name}"))?);
        }
    }
    let machine = format!("{}; load average {before} before, {} after", machine(), load_average());
    let table = figure::table(&figures);
    if wanted.json {
        let figures: Vec<_> = figures.iter().map(Figure::to_json).collect();
        say(&json!({"machine": machine, "figures": figures}).to_string());
    } else {
        say(&format!("{machine}\n\n{table}"));
    }
    if wanted.write { write(&format!("{machine}.\n\n{table}")) } else { Ok(()) }
}

fn build() -> anyhow::Result<Binaries> {
    Ok(Binaries {
        authd: built::build("authd", Profile::Release, None)?.join("authd"),
        authctl: built::authctl()?,
        ask: built::build("authd-floors", Profile::Client, static_target())?.join("floor-ask"),
        floors: built::build("authd-floors", Profile::Release, None)?,
    })
}

fn write(text: &str) -> anyhow::Result<()> {
    let path = shell::root().join("docs/performance.md");
    let page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (head, rest) = page.split_once(BEGIN).context("docs/performance.md has no place for the table")?;
    let (_, tail) = rest.split_once(END).context("the table's place has no end")?;
    Ok(fs::write(path, format!("{head}{BEGIN}\n{text}\n{END}{tail}"))?)
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor that has no name", |(_, name)| name);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // What follows is whose build it is: that tells of the machine, and nothing of the figures.
    let kernel = kernel.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{model}, {cores} cores, Linux {kernel}")
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
