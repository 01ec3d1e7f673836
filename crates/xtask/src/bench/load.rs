//! The load generator: raw bytes on blocking sockets, so that what is measured is the server. It knows of
//! HTTP what it needs to find the end of an answer.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_setaffinity};

/// A kept connection, and the one question that is asked on it.
pub(crate) struct Link<S = UnixStream> {
    stream: S,
    request: Vec<u8>,
    buffer: Vec<u8>,
    /// How long the answer is. It is always the same.
    length: usize,
}

impl Link {
    /// Connects to a socket.
    pub(crate) fn open(socket: &Path, path: &str) -> io::Result<Self> {
        Ok(Self::over(UnixStream::connect(socket)?, path))
    }
}

impl<S: Read + Write> Link<S> {
    /// A link over a connection that is there already.
    pub(crate) fn over(stream: S, path: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nhost: authd\r\n\r\n").into_bytes();
        Self { stream, request, buffer: vec![0; 256 << 10], length: 0 }
    }

    /// Sends the question.
    pub(crate) fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request)
    }

    /// Reads the answer, which must be a good one.
    pub(crate) fn take(&mut self) -> io::Result<()> {
        let mut read = 0;
        while self.length == 0 || read < self.length {
            match self.stream.read(&mut self.buffer[read..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
            if self.length == 0 {
                self.length = whole_length(&self.buffer[..read]).unwrap_or(0);
            }
        }
        if self.buffer.starts_with(b"HTTP/1.1 200") {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&self.buffer[..read]).into_owned()))
    }

    /// Asks, and says when a piece of the answer's body was there that holds this text; then reads the rest.
    pub(crate) fn time_to(&mut self, text: &[u8]) -> io::Result<Duration> {
        let begun = Instant::now();
        self.ask()?;
        let (mut read, mut found) = (0, None);
        loop {
            match self.stream.read(&mut self.buffer[read..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
            let seen = &self.buffer[..read];
            if found.is_none() && seen.windows(text.len()).any(|window| window == text) {
                found = Some(begun.elapsed());
            }
            if let (Some(found), true) = (found, seen.ends_with(b"\r\n0\r\n\r\n")) {
                return Ok(found);
            }
        }
    }

    /// Asks, and reads so much of the answer and no more.
    pub(crate) fn sip(&mut self, length: u64) -> io::Result<()> {
        self.ask()?;
        let mut read = 0;
        while read < length {
            match self.stream.read(&mut self.buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more as u64,
            }
        }
        Ok(())
    }

    /// Asks, and reads a chunked answer of any length to its end; bytes as they came.
    pub(crate) fn drain(&mut self) -> io::Result<u64> {
        self.ask()?;
        let mut total = 0;
        loop {
            let read = self.stream.read(&mut self.buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            total += read as u64;
            if self.buffer[..read].ends_with(b"0\r\n\r\n") {
                return Ok(total);
            }
        }
    }
}

/// How long an answer with this beginning is, if its head is whole.
fn whole_length(seen: &[u8]) -> Option<usize> {
    let head = seen.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&seen[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Some(head + length?)
}

/// Times of single exchanges on kept connections, the links in turn; sorted.
pub(crate) fn latencies(links: &mut [Link], exchanges: usize) -> io::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(exchanges);
    for number in 0..exchanges {
        let link = &mut links[number % links.len()];
        let begun = Instant::now();
        link.ask()?;
        link.take()?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times)
}

/// Times of exchanges on a new connection each; sorted.
pub(crate) fn first_exchanges(socket: &Path, path: &str, exchanges: usize) -> io::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(exchanges);
    for _ in 0..exchanges {
        let begun = Instant::now();
        let mut link = Link::open(socket, path)?;
        link.ask()?;
        link.take()?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(times)
}

/// Answers per second when every link asks again as soon as it has its answer.
pub(crate) fn throughput(links: &mut [Link], span: Duration) -> io::Result<f64> {
    for link in &mut *links {
        link.ask()?;
    }
    let begun = Instant::now();
    let mut answers = 0_u32;
    while begun.elapsed() < span {
        for link in &mut *links {
            link.take()?;
            link.ask()?;
            answers += 1;
        }
    }
    let rate = f64::from(answers) / begun.elapsed().as_secs_f64();
    for link in &mut *links {
        link.take()?;
    }
    Ok(rate)
}

/// The value below which this share of sorted times lies, in microseconds.
pub(crate) fn quantile(sorted: &[Duration], share: u32) -> f64 {
    let place = sorted.len() * usize::try_from(share).unwrap_or(50) / 100;
    sorted.get(place.min(sorted.len().saturating_sub(1))).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

/// Does something in a thread that stays on one core.
pub(crate) fn on_core<T: Send>(core: usize, work: impl FnOnce() -> T + Send) -> T {
    let pinned = || {
        pin(None, core);
        work()
    };
    std::thread::scope(|scope| match scope.spawn(pinned).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Keeps a thread, this one or another process's, on one core. Where that is not allowed the figures are
/// less steady, and as true.
pub(crate) fn pin(thread: Option<rustix::thread::Pid>, core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    let _ = sched_setaffinity(thread, &cores);
}

/// The last core: the callers' when the servers have the first.
pub(crate) fn last_core() -> usize {
    std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1)
}
