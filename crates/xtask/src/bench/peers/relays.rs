//! The same upstream behind two relays: authd and nginx.

use std::time::{Duration, Instant};

use anyhow::Context;
use authd_sandbox::Sandbox;

use super::{
    nginx::{self, Nginx},
    table::{Better, Figure, Line},
};
use crate::bench::{
    Binaries,
    connection::{last_core, latencies, on_core, percentile, throughput},
    metric::Samples,
    program::{Memory, pin_process},
    relay::{RelayTarget, first_events},
    upstream::Upstream,
};

const ROUNDS: usize = 9;
const EXCHANGES: usize = 5_000;
const CLIENTS: usize = 64;
const SPAN: Duration = Duration::from_millis(400);
const STREAM: u32 = 256 << 20;

fn small_answer(relay: &RelayTarget) -> anyhow::Result<f64> {
    pin_process(relay.pid, last_core());
    let times = on_core(last_core(), || latencies(&mut [relay.connect("small")?], EXCHANGES))?;
    Ok(percentile(&times, 50))
}

fn small_answers(relay: &RelayTarget) -> anyhow::Result<f64> {
    pin_process(relay.pid, 0);
    Ok(on_core(last_core(), || throughput(CLIENTS, SPAN, || relay.connect("small")))?)
}

fn first_event(relay: &RelayTarget) -> anyhow::Result<f64> {
    pin_process(relay.pid, last_core());
    Ok(on_core(last_core(), || first_events(&mut relay.connect("event")?))?)
}

fn stream(relay: &RelayTarget) -> anyhow::Result<f64> {
    pin_process(relay.pid, 0);
    let started = Instant::now();
    relay.stream(STREAM)?;
    Ok(f64::from(STREAM) / 1e6 / started.elapsed().as_secs_f64())
}

/// What a line of the table measures.
type Measure = fn(&RelayTarget) -> anyhow::Result<f64>;

/// The lines, and the version of nginx. The columns are authd and nginx.
pub(super) async fn measure(binaries: &Binaries) -> anyhow::Result<(Vec<Line>, String)> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let upstream = Upstream::start(binaries)?;
    let daemon = upstream.daemon(binaries, &sandbox).await?;
    let nginx = Nginx::start(&upstream.address)?;
    pin_process(upstream.pid(), last_core());
    let pid = daemon.pid().context("the daemon runs")?;
    let relays = [
        RelayTarget { pid, socket: daemon.socket(), base: "/v1/profiles/-/relay" },
        RelayTarget { pid: nginx.pid(), socket: nginx.socket(), base: "/v1" },
    ];
    let small = format!("the same, {CLIENTS} clients, the relay on another core than clients and upstream");
    let long = format!("a stream of {} MiB, likewise", STREAM >> 20);
    let work: [(&str, &str, Better, Measure); 4] = [
        ("small answer, one client, all on one core: p50", "µs", Better::Lower, small_answer),
        (&small, "answers/s", Better::Higher, small_answers),
        ("first event of a stream, all on one core: p50", "µs", Better::Lower, first_event),
        (&long, "MB/s", Better::Higher, stream),
    ];
    let mut figures = vec![vec![Samples::default(); relays.len()]; work.len()];
    for _ in 0..ROUNDS {
        for ((name, .., measure), samples) in work.iter().zip(&mut figures) {
            for (relay, samples) in relays.iter().zip(samples) {
                samples.push(measure(relay).with_context(|| (*name).to_owned())?);
            }
        }
    }
    let mut lines: Vec<_> = work
        .iter()
        .zip(figures)
        .map(|((name, unit, better, _), samples)| Line {
            name: (*name).to_owned(),
            unit,
            better: *better,
            figures: samples.into_iter().map(Figure::Measured).collect(),
        })
        .collect();
    let memories = relays.iter().map(|relay| Memory::of(relay.pid)).collect::<Result<Vec<_>, _>>()?;
    lines.push(Line {
        name: "private memory (heap, stacks) after this".to_owned(),
        unit: "MB",
        better: Better::Lower,
        figures: memories.iter().map(|memory| Figure::Measured(Samples::from(memory.own / 1e6))).collect(),
    });
    Ok((lines, nginx::version()?))
}
