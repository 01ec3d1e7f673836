//! Control of the fault points: which system call of a program fails or kills it. `interpose.c`
//! runs inside the program. This module compiles it, writes its control file, and reads its trace.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Classes of calls that change files. The letters are those of `interpose.c`.
pub(crate) const CHANGING: &str = "cdfmup";
/// All classes of calls on files.
pub(crate) const ALL: &str = "cdfmuposrl";

/// An error that a call fails with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errno {
    Io,
    NoSpace,
    ReadOnly,
    TooManyFiles,
}

impl Errno {
    /// The number, which is the same on every Linux.
    fn number(self) -> i32 {
        match self {
            Self::Io => 5,
            Self::TooManyFiles => 24,
            Self::NoSpace => 28,
            Self::ReadOnly => 30,
        }
    }

    /// The calls that can fail like this.
    pub(crate) fn classes(self) -> &'static str {
        match self {
            Self::Io => ALL,
            Self::NoSpace => "cdfm",
            Self::ReadOnly => "cmup",
            Self::TooManyFiles => "co",
        }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "EIO",
            Self::NoSpace => "ENOSPC",
            Self::ReadOnly => "EROFS",
            Self::TooManyFiles => "EMFILE",
        })
    }
}

/// A fault of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Kills the daemon before a call that changes a file.
    Kill,
    /// Kills the daemon before it sends a D-Bus message, or before a call that changes a file.
    KillBeforeMessage,
    /// Kills the keychain's service before it changes a file.
    KillService,
    /// Kills the keychain's service before it sends a D-Bus message: the change is made, and the
    /// answer is lost.
    KillServiceBeforeAnswer,
    /// Kills the keychain's service before it reads from the bus.
    KillServiceBeforeMessage,
    /// Kills the daemon after a call that changes a file.
    KillAfter,
    /// Kills the daemon when half of the data of a write is in the file.
    Tear,
    /// The call fails, later ones succeed.
    Once(Errno),
    /// The call and all later ones fail.
    From(Errno),
}

impl Fault {
    /// Whether the daemon dies.
    pub(crate) fn is_kill(self) -> bool {
        matches!(self, Self::Kill | Self::KillBeforeMessage | Self::KillAfter | Self::Tear)
    }

    /// Whether the keychain's service dies.
    pub(crate) fn is_of_service(self) -> bool {
        matches!(self, Self::KillService | Self::KillServiceBeforeAnswer | Self::KillServiceBeforeMessage)
    }

    /// The calls that are counted.
    pub(crate) fn classes(self) -> &'static str {
        match self {
            Self::Kill | Self::KillAfter | Self::KillService => CHANGING,
            Self::KillBeforeMessage => "cdfmupb",
            Self::KillServiceBeforeAnswer => "b",
            Self::KillServiceBeforeMessage => "v",
            Self::Tear => "d",
            Self::Once(errno) | Self::From(errno) => errno.classes(),
        }
    }
}

/// A fault and the call that it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) fault: Fault,
    /// Index of the call among those of the fault's classes, from one.
    pub(crate) n: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.n;
        match self.fault {
            Fault::Kill | Fault::KillBeforeMessage => write!(f, "kill {n}"),
            Fault::KillService => write!(f, "service {n}"),
            Fault::KillServiceBeforeAnswer => write!(f, "service-answer {n}"),
            Fault::KillServiceBeforeMessage => write!(f, "service-message {n}"),
            Fault::KillAfter => write!(f, "kill-after {n}"),
            Fault::Tear => write!(f, "tear {n}"),
            Fault::Once(errno) => write!(f, "{errno} {n}"),
            Fault::From(errno) => write!(f, "{errno} from {n}"),
        }
    }
}

/// A system call that the program made.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) class: char,
    /// The call and its file, for messages.
    pub(crate) text: String,
    /// Whether the fault happened here.
    pub(crate) hit: bool,
}

/// The control of one program's fault points.
pub(crate) struct FaultControl {
    control: PathBuf,
    trace: PathBuf,
    /// The prefix of paths that messages leave out.
    home: String,
    runs: AtomicU64,
}

impl FaultControl {
    /// The control of a program whose control files are in this directory.
    pub(crate) fn new(dir: &Path) -> Self {
        let (control, trace) = (dir.join("faultpoints.control"), dir.join("faultpoints.trace"));
        let new = Self { control, trace, home: format!("{}/", dir.display()), runs: AtomicU64::new(1) };
        new.disarm();
        new
    }

    /// The environment of a program with fault points on the files below these directories.
    pub(crate) fn env(&self, under: &[PathBuf]) -> [(&'static str, String); 4] {
        let under: Vec<_> = under.iter().map(|path| path.display().to_string()).collect();
        [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAULTPOINTS_CONTROL", self.control.display().to_string()),
            ("FAULTPOINTS_TRACE", self.trace.display().to_string()),
            ("FAULTPOINTS_UNDER", under.join(":")),
        ]
    }

    /// Records calls of all classes, without a fault.
    pub(crate) fn count(&self) {
        self.write_control("count", "cdfmuposrlbv", 0, 0);
    }

    /// Lets the fault happen at this call.
    pub(crate) fn arm(&self, Point { fault, n }: Point) {
        let (mode, errno) = match fault {
            Fault::Kill
            | Fault::KillBeforeMessage
            | Fault::KillService
            | Fault::KillServiceBeforeAnswer
            | Fault::KillServiceBeforeMessage => ("kill", 0),
            Fault::KillAfter => ("after", 0),
            Fault::Tear => ("tear", 0),
            Fault::Once(errno) => ("error", errno.number()),
            Fault::From(errno) => ("from", errno.number()),
        };
        self.write_control(mode, fault.classes(), n, errno);
    }

    /// Ends the fault. The trace stays.
    pub(crate) fn disarm(&self) {
        self.write_control("off", ALL, 0, 0);
    }

    /// The calls since the last [`Self::count`] or [`Self::arm`].
    pub(crate) fn calls(&self) -> Vec<Call> {
        let text = fs::read_to_string(&self.trace).unwrap_or_default();
        let calls = text.lines().filter_map(|line| {
            let (line, hit) = line.strip_suffix(" !").map_or((line, false), |line| (line, true));
            let mut fields = line.splitn(4, ' ').skip(2);
            let class = fields.next()?.chars().next()?;
            Some(Call { class, text: fields.next()?.replace(&self.home, ""), hit })
        });
        calls.collect()
    }

    /// Returns when the program has made no call for this long.
    pub(crate) async fn quiet(&self, quiet: Duration) {
        let length = || fs::metadata(&self.trace).map_or(0, |found| found.len());
        let (mut since, mut last) = (Instant::now(), length());
        while since.elapsed() < quiet {
            tokio::time::sleep(Duration::from_millis(3)).await;
            if length() != last {
                (since, last) = (Instant::now(), length());
            }
        }
    }

    fn write_control(&self, mode: &str, classes: &str, n: usize, errno: i32) {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        if mode != "off" {
            drop(fs::remove_file(&self.trace));
        }
        let next = self.control.with_extension("next");
        fs::write(&next, format!("{run} {mode} {classes} {n} {errno}\n")).unwrap();
        fs::rename(&next, &self.control).unwrap();
    }
}

/// The library to preload, compiled once per test process.
pub(crate) fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faultpoints/interpose.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faultpoints.so");
        let temporary = library.with_extension(format!("{}.so", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&temporary).arg(source).arg("-ldl");
        let status = compiler.status().expect("the tests need a C compiler with the name cc");
        assert!(status.success(), "{compiler:?}");
        fs::rename(&temporary, &library).unwrap();
        library
    })
}
