//! The relay: what it adds to the first event of a stream, how fast a gigabyte goes through it, and what
//! that costs in memory; beside a reverse proxy of plain hyper, in front of the same upstream.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpStream,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Context;
use authd_sandbox::{
    Sandbox,
    house::{House, HouseConfig},
};

use super::{
    Binaries,
    figure::{Figure, Rounds, Target},
    load::{Link, last_core, on_core, quantile},
    program::{Floor, keep_on, peak, resident},
};

const ROUNDS: usize = 5;
const EVENTS: usize = 1_000;
const LONG: u32 = 1 << 30;

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
    let mut house = House::start(HouseConfig::new(&binaries.authd, &sandbox)).await;
    let (own, there) = (sandbox.endpoints().api_base_url, format!("http://{address}/v1"));
    let text = fs::read_to_string(house.config())?;
    fs::write(house.config(), text.replace(&own, &there))?;
    house.restart().await;
    let key = r#"{"api_key": "sk-of-ones-own"}"#;
    let put = house.request("PUT", "/v1/profiles/default/api-key", &[], key).await;
    anyhow::ensure!(put.status.is_success(), "{}", put.text());
    let proxy = Floor::start(&binaries.floors.join("floor-proxy"), &[address.to_owned()])?;
    let pid = house.pid().context("the daemon runs")?;
    keep_on(pid, 0);
    keep_on(proxy.child.id(), 0);
    keep_on(upstream, last_core());
    let sockets = [house.socket(), proxy.socket()];

    let paths = ["/v1/profiles/-/relay", "/v1"];
    let (mut added, mut rates) =
        ([Rounds::default(), Rounds::default()], [Rounds::default(), Rounds::default()]);
    let mut before = 0.0;
    for _ in 0..ROUNDS {
        let direct = on_core(last_core(), || {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            first_events(&mut Link::over(stream, "/v1/event"))
        })?;
        for (which, (socket, path)) in sockets.iter().zip(paths).enumerate() {
            let first =
                on_core(last_core(), || first_events(&mut Link::open(socket, &format!("{path}/event"))?))?;
            added[which].push(first - direct);
            if before == 0.0 {
                before = resident(pid)?;
            }
            let begun = Instant::now();
            let path = format!("{path}/bytes/{LONG}");
            let bytes = on_core(last_core(), || Link::open(socket, &path)?.drain())?;
            anyhow::ensure!(bytes > u64::from(LONG), "only {bytes} bytes came");
            rates[which].push(f64::from(LONG) / 1e6 / begun.elapsed().as_secs_f64());
        }
    }
    let grown = (peak(pid)? - before) / 1e6;
    let ([ours, plain], [rate, plain_rate]) = (added, rates);
    Ok(vec![
        Figure::beside(
            "relay: added to the first event of a stream, p50",
            "µs",
            ours.clone(),
            ("plain hyper", plain),
            Target::AtMost(200.0),
        ),
        Figure::beside(
            "relay: a stream of 1 GiB",
            "MB/s",
            rate,
            ("plain hyper", plain_rate),
            Target::RatioAtLeast(0.8),
        ),
        Figure::alone("relay: the most memory that took, beyond what there was", "MB", grown.into(), 1.0),
    ])
}

fn first_events<S: std::io::Read + std::io::Write>(link: &mut Link<S>) -> std::io::Result<f64> {
    let times: Result<Vec<_>, _> = (0..EVENTS).map(|_| link.time_to(b"data:")).collect();
    let mut times = times?;
    times.sort();
    Ok(quantile(&times, 50))
}
