//! Shares, compared with the daemon's own socket: headers and relay through their doors, the memory
//! of each share, and reads on the socket while a share is used at full speed.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use anyhow::Context;
use authd_sandbox::{Sandbox, test_daemon::TestDaemon};
use serde_json::{Value, json};

use super::{
    Binaries,
    connection::{Connection, last_core, latencies, on_core, percentile},
    metric::{Metric, Samples, Target},
    program::{anonymous, pin_process},
    relay::first_events,
    upstream::Upstream,
};

const ROUNDS: usize = 7;
const READS: usize = 10_000;
const STREAM: u32 = 256 << 20;
const SHARES: u32 = 1_000;

/// A door of a daemon as a client has it.
struct Door {
    /// The path of the socket, or the address of the loopback listener.
    address: String,
    /// The key of a loopback share.
    key: Option<String>,
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

pub(crate) async fn measure(binaries: &Binaries) -> anyhow::Result<Vec<Metric>> {
    let sandbox = Sandbox::start(authd_sandbox::Config::default()).await?;
    let upstream = Upstream::start(binaries)?;
    let daemon = upstream.daemon(binaries, &sandbox).await?;
    pin_process(upstream.pid(), last_core());
    let own = Door { address: daemon.socket().display().to_string(), key: None };
    let doors = [own, share(&daemon, "socket").await?, share(&daemon, "loopback").await?];
    let mut metrics = through_doors(&daemon, &doors)?;
    metrics.extend(beside_a_busy_share(&daemon, &doors)?);
    for door in ["socket", "loopback"] {
        let daemon = upstream.daemon(binaries, &sandbox).await?;
        metrics.push(memory_of_shares(&daemon, door).await?);
    }
    Ok(metrics)
}

/// Headers and relay through each door, in turns.
fn through_doors(daemon: &TestDaemon, doors: &[Door; 3]) -> anyhow::Result<Vec<Metric>> {
    let pid = daemon.pid().context("the daemon runs")?;
    let (mut reads, mut events, mut rates) =
        (<[Samples; 3]>::default(), <[Samples; 3]>::default(), <[Samples; 3]>::default());
    for _ in 0..ROUNDS {
        for (index, door) in doors.iter().enumerate() {
            pin_process(pid, 0);
            let times = on_core(0, || latencies(&mut [door.connect("headers")?], READS))?;
            reads[index].push(percentile(&times, 50));
            let started = Instant::now();
            on_core(last_core(), || door.connect(&format!("relay/bytes/{STREAM}"))?.read_all())?;
            rates[index].push(f64::from(STREAM) / 1e6 / started.elapsed().as_secs_f64());
            pin_process(pid, last_core());
            let event = on_core(last_core(), || first_events(&mut door.connect("relay/event")?))?;
            events[index].push(event);
        }
    }
    let mut metrics = Vec::new();
    let mut compare = |what: &str, unit, samples: [Samples; 3], target| {
        let [own, socket, loopback] = samples;
        for (door, samples) in [("socket", socket), ("loopback", loopback)] {
            let name = format!("{what} through a {door} share");
            metrics.push(Metric::compared(name, unit, samples, ("own socket", own.clone()), target));
        }
    };
    compare("headers, same core: p50", "µs", reads, Target::RatioAtMost(2.0));
    compare("relay: first event of a stream, all on one core: p50", "µs", events, Target::RatioAtMost(1.1));
    compare("relay: a stream of 256 MiB", "MB/s", rates, Target::RatioAtLeast(0.9));
    Ok(metrics)
}

/// Headers on the daemon's own socket while a share is used at full speed, and while none is.
fn beside_a_busy_share(daemon: &TestDaemon, [own, _, share]: &[Door; 3]) -> anyhow::Result<Vec<Metric>> {
    pin_process(daemon.pid().context("the daemon runs")?, 0);
    let read = || on_core(0, || latencies(&mut [own.connect("headers")?], READS));
    let cases = [("reads the headers", "headers"), ("relays a stream", "relay/bytes/1048576")];
    let mut samples = <[[Samples; 2]; 2]>::default();
    for _ in 0..ROUNDS {
        for ((_, path), [busy, quiet]) in cases.iter().zip(&mut samples) {
            quiet.push(percentile(&read()?, 99));
            let stopped = AtomicBool::new(false);
            let times = std::thread::scope(|scope| {
                let load = scope.spawn(|| on_core(last_core(), || share.use_until(path, &stopped)));
                let times = read();
                stopped.store(true, Ordering::Relaxed);
                load.join().map_err(|_| io::Error::other("the load generator panicked"))??;
                times
            })?;
            busy.push(percentile(&times, 99));
        }
    }
    let metrics = cases.iter().zip(samples).map(|((what, _), [busy, quiet])| {
        let name = format!("headers on the own socket while a share {what} at full speed: p99");
        Metric::compared(name, "µs", busy, ("quiet daemon", quiet), Target::RatioAtMost(2.0))
    });
    Ok(metrics.collect())
}

/// The private memory for each share.
async fn memory_of_shares(daemon: &TestDaemon, door: &str) -> anyhow::Result<Metric> {
    // The first share opens the listener, and the buffers of a request and of the list exist.
    share(daemon, door).await?;
    let pid = daemon.pid().context("the daemon runs")?;
    let before = anonymous(pid)?;
    for _ in 0..SHARES {
        share(daemon, door).await?;
    }
    let each = (anonymous(pid)? - before) / f64::from(SHARES) / 1e3;
    Ok(Metric::single(format!("memory for each of {SHARES} {door} shares"), "kB", each.into(), 2.0))
}

/// A new share of the default profile that gives the headers.
async fn share(daemon: &TestDaemon, door: &str) -> anyhow::Result<Door> {
    let body = json!({"door": door, "allow": "headers"}).to_string();
    let reply = daemon.request("POST", "/v1/shares", &[], body).await;
    anyhow::ensure!(reply.status.is_success(), "{}", reply.text());
    let share = reply.json();
    let text = |field: &str| share.get(field).and_then(Value::as_str).map(str::to_owned);
    let address = match text("url") {
        Some(url) => url.trim_start_matches("http://").trim_end_matches("/v1").to_owned(),
        None => text("socket").context("the share has no socket")?,
    };
    Ok(Door { address, key: text("key") })
}

impl Door {
    /// Connects for requests of a path of the profile.
    fn connect(&self, path: &str) -> io::Result<Connection<Box<dyn Stream>>> {
        let path = format!("/v1/profiles/-/{path}");
        let Some(key) = &self.key else {
            return Ok(Connection::over(Box::new(UnixStream::connect(&self.address)?), &path));
        };
        let stream = TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        let head = format!("host: {}\r\nauthorization: Bearer {key}\r\n", self.address);
        Ok(Connection::with_head(Box::new(stream), &path, &head))
    }

    /// Sends requests one after the other until `stopped`.
    fn use_until(&self, path: &str, stopped: &AtomicBool) -> io::Result<()> {
        let mut connection = self.connect(path)?;
        while !stopped.load(Ordering::Relaxed) {
            if path == "headers" { connection.exchange()? } else { connection.read_all().map(drop)? }
        }
        Ok(())
    }
}
