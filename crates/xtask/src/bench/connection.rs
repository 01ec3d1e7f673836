//! The load generator: raw bytes on blocking sockets, so that it costs little. It parses of HTTP
//! only what it needs to find the end of a response.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_setaffinity};

/// A connection that sends the same request again and again.
pub(crate) struct Connection<S = UnixStream> {
    stream: S,
    request: Vec<u8>,
    buffer: Vec<u8>,
    /// Length of the response, which is always the same; 0 before the first response.
    length: usize,
}

impl Connection {
    /// Connects to a socket.
    pub(crate) fn open(socket: &Path, path: &str) -> io::Result<Self> {
        Ok(Self::over(UnixStream::connect(socket)?, path))
    }
}

impl<S: Read + Write> Connection<S> {
    /// Uses an existing stream.
    pub(crate) fn over(stream: S, path: &str) -> Self {
        Self::with_head(stream, path, "host: authd\r\n")
    }

    /// Uses an existing stream with these lines of the request's head.
    pub(crate) fn with_head(stream: S, path: &str, head: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\n{head}\r\n").into_bytes();
        Self { stream, request, buffer: vec![0; 256 << 10], length: 0 }
    }

    /// Sends the request.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request)
    }

    /// Reads the response, whose status must be 200.
    pub(crate) fn receive(&mut self) -> io::Result<()> {
        let mut read = 0;
        while self.length == 0 || read < self.length {
            match self.stream.read(&mut self.buffer[read..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
            if self.length == 0 {
                self.length = response_length(&self.buffer[..read]).unwrap_or(0);
            }
        }
        if self.buffer.starts_with(b"HTTP/1.1 200") {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&self.buffer[..read]).into_owned()))
    }

    /// Sends the request and reads the response.
    pub(crate) fn exchange(&mut self) -> io::Result<()> {
        self.send()?;
        self.receive()
    }

    /// Sends the request, and returns the time until the response contains this text. Reads the
    /// rest of the chunked response.
    pub(crate) fn time_to(&mut self, text: &[u8]) -> io::Result<Duration> {
        let started = Instant::now();
        self.send()?;
        let (mut read, mut found) = (0, None);
        loop {
            match self.stream.read(&mut self.buffer[read..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
            let received = &self.buffer[..read];
            if found.is_none() && received.windows(text.len()).any(|window| window == text) {
                found = Some(started.elapsed());
            }
            if let (Some(found), true) = (found, received.ends_with(b"\r\n0\r\n\r\n")) {
                return Ok(found);
            }
        }
    }

    /// Sends the request, and stops reading after this many bytes of the response.
    pub(crate) fn read_some(&mut self, length: u64) -> io::Result<()> {
        self.send()?;
        let mut read = 0;
        while read < length {
            match self.stream.read(&mut self.buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more as u64,
            }
        }
        Ok(())
    }

    /// Sends the request, and reads a chunked response to its end. Returns the number of bytes.
    pub(crate) fn read_all(&mut self) -> io::Result<u64> {
        self.send()?;
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

/// The length of a response, if its head is complete.
fn response_length(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&received[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    Some(head + length?)
}

/// Sorted times of single exchanges on open connections, which are used in turns.
pub(crate) fn latencies<S: Read + Write>(
    connections: &mut [Connection<S>],
    exchanges: usize,
) -> io::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(exchanges);
    for number in 0..exchanges {
        let connection = &mut connections[number % connections.len()];
        let started = Instant::now();
        connection.exchange()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times)
}

/// Sorted times of exchanges that include opening a connection.
pub(crate) fn first_exchanges(socket: &Path, path: &str, exchanges: usize) -> io::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(exchanges);
    for _ in 0..exchanges {
        let started = Instant::now();
        Connection::open(socket, path)?.exchange()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times)
}

/// Responses per second when each of many clients sends the next request after each response.
pub(crate) fn throughput(
    clients: usize,
    span: Duration,
    connect: impl Fn() -> io::Result<Connection>,
) -> io::Result<f64> {
    let mut connections = (0..clients).map(|_| connect()).collect::<io::Result<Vec<_>>>()?;
    // Each connection learns the length of the response.
    latencies(&mut connections, clients)?;
    for connection in &mut connections {
        connection.send()?;
    }
    let started = Instant::now();
    let mut responses = 0_u32;
    while started.elapsed() < span {
        for connection in &mut connections {
            connection.receive()?;
            connection.send()?;
            responses += 1;
        }
    }
    let rate = f64::from(responses) / started.elapsed().as_secs_f64();
    for connection in &mut connections {
        connection.receive()?;
    }
    Ok(rate)
}

/// The percentile of sorted times, in microseconds.
pub(crate) fn percentile(sorted: &[Duration], percent: u32) -> f64 {
    let index = sorted.len() * usize::try_from(percent).unwrap_or(50) / 100;
    sorted.get(index.min(sorted.len().saturating_sub(1))).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

/// Runs a function in a thread that is pinned to one core.
pub(crate) fn on_core<T: Send>(core: usize, work: impl FnOnce() -> T + Send) -> T {
    let pinned = || {
        pin(None, core);
        work()
    };
    std::thread::scope(|scope| match scope.spawn(pinned).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Pins a thread, this one or that of another process, to one core. An error is ignored: without
/// pinning the results only vary more.
pub(crate) fn pin(thread: Option<rustix::thread::Pid>, core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    let _ = sched_setaffinity(thread, &cores);
}

/// The last core, which the clients use. The servers use the first.
pub(crate) fn last_core() -> usize {
    std::thread::available_parallelism().map_or(0, |cores| cores.get() - 1)
}
