//! The relay: latency added to the first event of a stream, throughput, and memory. The baseline is
//! a reverse proxy of plain hyper with the same upstream.

use std::{
    net::TcpStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use authd_sandbox::Sandbox;

use super::{
    Binaries,
    connection::{Connection, last_core, on_core, percentile},
    metric::{Metric, Samples, Target},
    program::{Baseline, anonymous, peak_during, pin_process},
    upstream::Upstream,
};

const ROUNDS: usize = 5;
const EVENTS: usize = 1_000;
const SHORT: u32 = 16 << 20;
const LONG: u32 = 1 << 30;
const STREAMS: u32 = 64;

/// Time for the buffers to fill after the client has stopped reading.
const FILL_TIME: Duration = Duration::from_millis(500);

/// A measured relay, and the path prefix of the upstream.
pub(crate) struct RelayTarget {
    pub(crate) pid: u32,
    pub(crate) socket: PathBuf,
    pub(crate) base: &'static str,
}

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Metric>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let upstream = Upstream::start(binaries)?;
    let daemon = upstream.daemon(binaries, &sandbox).await?;
    let address = &*upstream.address;
    let proxy =
        Baseline::start(&binaries.baselines.join("baseline-proxy"), std::slice::from_ref(&upstream.address))?;
    let pid = daemon.pid().context("the daemon runs")?;
    pin_process(upstream.pid(), last_core());
    let targets = [
        RelayTarget { pid, socket: daemon.socket(), base: "/v1/profiles/-/relay" },
        RelayTarget { pid: proxy.pid(), socket: proxy.socket(), base: "/v1" },
    ];

    let (mut same_core, mut other_core) = (<[Samples; 2]>::default(), <[Samples; 2]>::default());
    let mut rates = <[Samples; 2]>::default();
    let (mut growth, mut stalled) = (<[Samples; 2]>::default(), <[Samples; 2]>::default());
    for _ in 0..ROUNDS {
        let direct = on_core(last_core(), || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            first_events(&mut Connection::over(stream, "/v1/event"))
        })?;
        for (index, target) in targets.iter().enumerate() {
            let first = || on_core(last_core(), || first_events(&mut target.connect("event")?));
            pin_process(target.pid, last_core());
            same_core[index].push(first()? - direct);
            pin_process(target.pid, 0);
            other_core[index].push(first()? - direct);
            let short = peak_during(target.pid, || target.stream(SHORT))?;
            let started = Instant::now();
            let long = peak_during(target.pid, || target.stream(LONG))?;
            rates[index].push(f64::from(LONG) / 1e6 / started.elapsed().as_secs_f64());
            growth[index].push((long - short) / 1e6);
        }
    }
    for (samples, target) in stalled.iter_mut().zip(&targets) {
        samples.push(target.memory_for_each_stream()? / 1e3);
    }
    let ([same_core, plain_same_core], [other_core, plain_other_core]) = (same_core, other_core);
    let [rate, plain_rate] = rates;
    let ([growth, _], [stalled, plain_stalled]) = (growth, stalled);
    Ok(vec![
        Metric::compared(
            "relay: added to the first event of a stream, all on one core: p50",
            "µs",
            same_core,
            ("plain hyper", plain_same_core),
            Target::AtMost(200.0),
        ),
        // This includes waking a processor four times, which depends on the machine.
        Metric::compared(
            "the same, the relay on another core than client and upstream",
            "µs",
            other_core,
            ("plain hyper", plain_other_core),
            Target::AtMost(200.0),
        )
        .informative(),
        Metric::compared(
            "relay: a stream of 1 GiB",
            "MB/s",
            rate,
            ("plain hyper", plain_rate),
            Target::RatioAtLeast(0.8),
        ),
        Metric::single("relay: growth of peak memory from a stream of 16 MiB to 1 GiB", "MB", growth, 0.1),
        Metric::compared(
            format!("relay: memory for each of {STREAMS} streams whose client stops reading"),
            "kB",
            stalled,
            ("plain hyper", plain_stalled),
            Target::RatioAtMost(1.0),
        ),
    ])
}

impl RelayTarget {
    pub(crate) fn connect(&self, path: &str) -> std::io::Result<Connection> {
        Connection::open(&self.socket, &format!("{}/{path}", self.base))
    }

    /// Reads a stream of this length to its end.
    pub(crate) fn stream(&self, length: u32) -> anyhow::Result<()> {
        let bytes = on_core(last_core(), || self.connect(&format!("bytes/{length}"))?.read_all())?;
        anyhow::ensure!(bytes > u64::from(length), "the stream has only {bytes} bytes");
        Ok(())
    }

    /// Private memory for each stream when all buffers are full, because no client reads.
    fn memory_for_each_stream(&self) -> anyhow::Result<f64> {
        let before = anonymous(self.pid)?;
        let mut streams = Vec::new();
        for _ in 0..STREAMS {
            let mut stream = self.connect(&format!("bytes/{LONG}"))?;
            stream.read_some(SHORT.into())?;
            streams.push(stream);
        }
        std::thread::sleep(FILL_TIME);
        Ok((anonymous(self.pid)? - before) / f64::from(STREAMS))
    }
}

/// The median time from a request to the first event of its response, in microseconds.
pub(crate) fn first_events<S: std::io::Read + std::io::Write>(
    connection: &mut Connection<S>,
) -> std::io::Result<f64> {
    let times: Result<Vec<_>, _> = (0..EVENTS).map(|_| connection.time_to(b"data:")).collect();
    let mut times = times?;
    times.sort();
    Ok(percentile(&times, 50))
}
