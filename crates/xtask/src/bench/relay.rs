//! The relay: what it adds to the first event of a stream, how fast a gigabyte goes through it, and what
//! that costs in memory; beside a reverse proxy of plain hyper, in front of the same upstream.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};

use super::{
    Binaries,
    figure::{Figure, Rounds, Target},
    load::{Link, last_core, on_core, quantile},
    program::{Floor, anonymous, keep_on, peak_during},
};

const ROUNDS: usize = 5;
const EVENTS: usize = 1_000;
const SHORT: u32 = 16 << 20;
const LONG: u32 = 1 << 30;
const AT_ONCE: u32 = 64;

/// How long the buffers may take to fill when nobody reads on.
const SETTLED: Duration = Duration::from_millis(500);

/// A relay under measurement, and where in it the upstream begins.
struct Side {
    pid: u32,
    socket: PathBuf,
    base: &'static str,
}

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Figure>> {
    let mut upstream = Command::new(binaries.floors.join("floor-upstream")).stdout(Stdio::piped()).spawn()?;
    let said = upstream.stdout.take().context("no stdout")?;
    let mut address = String::new();
    BufReader::new(said).read_line(&mut address)?;
    let figures = in_front_of(binaries, upstream.id(), address.trim()).await;
    upstream.kill()?;
    upstream.wait()?;
    figures
}

async fn in_front_of(binaries: &Binaries, upstream: u32, address: &str) -> anyhow::Result<Vec<Figure>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(&binaries.authd, &sandbox)).await;
    let (own, there) = (sandbox.endpoints().api_base_url, format!("http://{address}/v1"));
    let text = fs::read_to_string(daemon.config())?;
    fs::write(daemon.config(), text.replace(&own, &there))?;
    daemon.restart().await;
    let key = r#"{"api_key": "sk-of-ones-own"}"#;
    let put = daemon.request("PUT", "/v1/profiles/default/api-key", &[], key).await;
    anyhow::ensure!(put.status.is_success(), "{}", put.text());
    let proxy = Floor::start(&binaries.floors.join("floor-proxy"), &[address.to_owned()])?;
    let pid = daemon.pid().context("the daemon runs")?;
    keep_on(upstream, last_core());
    let sides = [
        Side { pid, socket: daemon.socket(), base: "/v1/profiles/-/relay" },
        Side { pid: proxy.child.id(), socket: proxy.socket(), base: "/v1" },
    ];

    let (mut added, mut across) = (<[Rounds; 2]>::default(), <[Rounds; 2]>::default());
    let mut rates = <[Rounds; 2]>::default();
    let (mut grown, mut held) = (<[Rounds; 2]>::default(), <[Rounds; 2]>::default());
    for _ in 0..ROUNDS {
        let direct = on_core(last_core(), || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            first_events(&mut Link::over(stream, "/v1/event"))
        })?;
        for (which, side) in sides.iter().enumerate() {
            let first = || on_core(last_core(), || first_events(&mut side.ask_for("event")?));
            keep_on(side.pid, last_core());
            added[which].push(first()? - direct);
            keep_on(side.pid, 0);
            across[which].push(first()? - direct);
            let short = peak_during(side.pid, || side.stream(SHORT))?;
            let begun = Instant::now();
            let long = peak_during(side.pid, || side.stream(LONG))?;
            rates[which].push(f64::from(LONG) / 1e6 / begun.elapsed().as_secs_f64());
            grown[which].push((long - short) / 1e6);
        }
    }
    for (held, side) in held.iter_mut().zip(&sides) {
        held.push(side.each_of_many()? / 1e3);
    }
    let ([ours, plain], [ours_across, plain_across]) = (added, across);
    let [rate, plain_rate] = rates;
    let ([more, _], [each, plain_each]) = (grown, held);
    Ok(vec![
        Figure::beside(
            "relay: added to the first event of a stream, all on one core: p50",
            "µs",
            ours,
            ("plain hyper", plain),
            Target::AtMost(200.0),
        ),
        // How long a processor takes to wake is in this four times, and is the machine's.
        Figure::beside(
            "the same, the relay on another core than both its sides",
            "µs",
            ours_across,
            ("plain hyper", plain_across),
            Target::AtMost(200.0),
        )
        .only_told(),
        Figure::beside(
            "relay: a stream of 1 GiB",
            "MB/s",
            rate,
            ("plain hyper", plain_rate),
            Target::RatioAtLeast(0.8),
        ),
        Figure::alone("relay: the peak of memory, 1 GiB beyond 16 MiB", "MB", more, 0.1),
        Figure::beside(
            format!("relay: memory for each of {AT_ONCE} streams that nobody reads on"),
            "kB",
            each,
            ("plain hyper", plain_each),
            Target::RatioAtMost(1.0),
        ),
    ])
}

impl Side {
    fn ask_for(&self, what: &str) -> std::io::Result<Link> {
        Link::open(&self.socket, &format!("{}/{what}", self.base))
    }

    /// A stream of this length, read to its end.
    fn stream(&self, length: u32) -> anyhow::Result<()> {
        let bytes = on_core(last_core(), || self.ask_for(&format!("bytes/{length}"))?.drain())?;
        anyhow::ensure!(bytes > u64::from(length), "only {bytes} bytes came");
        Ok(())
    }

    /// What a stream takes at most: many are under way, and nobody reads on, so that all buffers are full.
    fn each_of_many(&self) -> anyhow::Result<f64> {
        let before = anonymous(self.pid)?;
        let mut streams = Vec::new();
        for _ in 0..AT_ONCE {
            let mut stream = self.ask_for(&format!("bytes/{LONG}"))?;
            stream.sip(SHORT.into())?;
            streams.push(stream);
        }
        std::thread::sleep(SETTLED);
        Ok((anonymous(self.pid)? - before) / f64::from(AT_ONCE))
    }
}

fn first_events<S: std::io::Read + std::io::Write>(link: &mut Link<S>) -> std::io::Result<f64> {
    let times: Result<Vec<_>, _> = (0..EVENTS).map(|_| link.time_to(b"data:")).collect();
    let mut times = times?;
    times.sort();
    Ok(quantile(&times, 50))
}
