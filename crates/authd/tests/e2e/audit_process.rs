//! The process in the entries of the audit log: clients that end, that execute another program, and
//! that get the process id of an earlier one.

use std::{fs, path::Path, process::Stdio};

use authd_sandbox::test_daemon::TestDaemon;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, waitid};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    audit::{audited, entries, relay_different_uses},
    helpers::sandbox,
    namespaces::in_own_namespaces,
};

/// Sends a request on a connection `s` to the socket of the first argument.
const CONNECT: &str = "
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
REQUEST = b'GET /v1/profiles/me/headers HTTP/1.1\\r\\nHost: authd\\r\\n\\r\\n'
";

/// Prints a line after the response, and stays until stdin ends.
const STAY: &str = "
s.sendall(REQUEST); s.recv(1)
print('received', flush=True); sys.stdin.read()
";

/// Ends, and leaves the connection to a new process, which does what `STAY` does.
const LEAVE: &str = "
if os.fork(): os._exit(0)
";

/// Executes a shell that sends a request on the same connection, prints a line after the response,
/// and stays until stdin ends.
pub(crate) const EXECUTE: &str = r#"
os.dup2(s.fileno(), 7)
os.execv("/bin/sh", ["sh", "-c", f"printf '{REQUEST.decode()}' >&7; head -c 1 <&7 >/dev/null; echo received; cat"])
"#;

/// The arguments of python3 for a program with a connection to the daemon.
pub(crate) fn python_args(daemon: &TestDaemon, program: &[&str]) -> [String; 3] {
    let program = [&[CONNECT], program].concat().concat();
    ["-c".to_owned(), program, daemon.socket().display().to_string()]
}

/// A running client.
struct Client(Child);

impl Client {
    /// Starts a Python program with the socket of the daemon.
    fn start(daemon: &TestDaemon, program: &[&str]) -> Self {
        let mut command = Command::new("python3");
        command.args(python_args(daemon, program));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        Self(command.spawn().expect("python3 is installed"))
    }

    fn pid(&self) -> u32 {
        self.0.id().unwrap()
    }

    /// Returns when the client has received its response.
    async fn received(&mut self) {
        let line = BufReader::new(self.0.stdout.as_mut().unwrap()).lines().next_line().await;
        assert_eq!(line.unwrap().as_deref(), Some("received"));
    }

    /// Returns when the process that has connected has ended.
    async fn ended(&mut self) {
        assert!(self.0.wait().await.unwrap().success());
    }
}

/// Stops a process, and returns when all its threads have stopped.
fn stop(daemon: &TestDaemon) {
    daemon.signal(Signal::STOP);
    let pid = Pid::from_raw(daemon.pid().unwrap().cast_signed()).unwrap();
    waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT).unwrap();
}

/// The entries about the headers that a process has taken.
async fn headers_of(daemon: &TestDaemon, pid: u32) -> Vec<Value> {
    let mut entries = entries(daemon, "").await;
    entries.retain(|entry| entry["action"] == "headers" && entry["process"]["pid"] == pid);
    entries
}

/// A process of which only the ids are known.
fn ids(pid: u32) -> Value {
    json!({"pid": pid, "uid": rustix::process::getuid().as_raw()})
}

/// The start of a process, in seconds since 1970, as ps(1) computes it.
fn started(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let ticks: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
    let system = fs::read_to_string("/proc/stat").unwrap();
    let boot = system.lines().find_map(|line| line.strip_prefix("btime ")).unwrap();
    boot.parse::<u64>().unwrap() + ticks / rustix::param::clock_ticks_per_second()
}

#[tokio::test]
async fn running_client_is_described_and_no_descriptor_is_held() {
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let mut client = Client::start(&daemon, &[STAY]);
    client.received().await;
    let pid = client.pid();
    let found = headers_of(&daemon, pid).await;
    let [entry] = &found[..] else { panic!("{found:?}") };
    let process = &entry["process"];
    let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(process["executable"], executable.to_str().unwrap());
    assert_eq!(process["command"], "python3");
    assert_eq!(process["uid"], ids(pid)["uid"]);
    let time: jiff::Timestamp = process["started_at"].as_str().unwrap().parse().unwrap();
    let difference = time.as_second() - started(pid).cast_signed();
    assert!((-1..=1).contains(&difference), "{time}: {difference} s");
    // Another connection of the process would be the same process to the last digit.
    let own = headers_of(&daemon, std::process::id()).await;
    assert!(own.is_empty());
    for _ in 0..3 {
        daemon.get("/v1/profiles/me/headers").await;
    }
    let own = headers_of(&daemon, std::process::id()).await;
    assert!(own.iter().all(|entry| entry["process"] == own[0]["process"]), "{own:?}");
    // Only root may look at the descriptors of the daemon, which is not dumpable.
    if rustix::process::geteuid().is_root() {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.pid().unwrap())).unwrap();
        // A descriptor that is closed after the listing is not held.
        let links: Vec<_> = descriptors.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok()).collect();
        let is_handle = |link: &Path| link.to_string_lossy().contains("pidfd") || link.starts_with("/proc");
        assert!(!links.is_empty() && !links.iter().any(|link| is_handle(link)), "{links:?}");
    }
}

#[tokio::test]
async fn client_that_has_ended_is_named_by_its_ids() {
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    stop(&daemon);
    let mut gone = Client::start(&daemon, &["s.sendall(REQUEST)"]);
    let mut left = Client::start(&daemon, &[LEAVE, STAY]);
    let pids = [gone.pid(), left.pid()];
    gone.ended().await;
    left.ended().await;
    daemon.signal(Signal::CONT);
    left.received().await;
    // The request of a client that has closed its connection may be dropped before it is handled.
    let of_gone = headers_of(&daemon, pids[0]).await;
    assert!(
        of_gone.len() <= 1 && of_gone.iter().all(|entry| entry["process"] == ids(pids[0])),
        "{of_gone:?}"
    );
    let found = headers_of(&daemon, pids[1]).await;
    assert_eq!((found.len(), &found[0]["count"], &found[0]["process"]), (1, &json!(1), &ids(pids[1])));
}

#[tokio::test]
async fn program_is_the_one_that_runs_when_the_daemon_accepts_the_connection() {
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    // The second request of the connection comes from another program of the same process.
    let mut client = Client::start(&daemon, &["s.sendall(REQUEST); s.recv(65536)", EXECUTE]);
    client.received().await;
    let found = headers_of(&daemon, client.pid()).await;
    assert_eq!(found.iter().map(|entry| entry["count"].as_u64().unwrap()).sum::<u64>(), 2);
    assert!(found.iter().all(|entry| entry["process"]["command"] == "python3"), "{found:?}");
    // This process has executed the other program before the daemon accepts its connection.
    stop(&daemon);
    let mut client = Client::start(&daemon, &[EXECUTE]);
    let shell = fs::canonicalize("/bin/sh").unwrap();
    while fs::read_link(format!("/proc/{}/exe", client.pid())).unwrap() != shell {
        tokio::task::yield_now().await;
    }
    daemon.signal(Signal::CONT);
    client.received().await;
    let found = headers_of(&daemon, client.pid()).await;
    let programs: Vec<_> = found.iter().map(|entry| entry["process"]["command"].as_str()).collect();
    assert_eq!(programs, [Some("sh")]);
    assert_eq!(found[0]["process"]["executable"], shell.to_str().unwrap());
}

#[test]
fn later_process_with_the_same_id_is_not_named() {
    in_own_namespaces("audit_process::later_process_with_the_same_id_is_not_named", async || {
        let sandbox = sandbox().await;
        let daemon = audited(&sandbox).await;
        daemon.sign_in("me", "plus").await;
        stop(&daemon);
        let mut first = Client::start(&daemon, &[LEAVE, STAY]);
        let pid = first.pid();
        first.ended().await;
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
        let mut second = Client::start(&daemon, &[STAY]);
        assert_eq!(second.pid(), pid, "the id is given again");
        daemon.signal(Signal::CONT);
        first.received().await;
        second.received().await;
        let found = headers_of(&daemon, pid).await;
        let (unnamed, named): (Vec<_>, Vec<_>) =
            found.iter().map(|entry| &entry["process"]).partition(|process| **process == ids(pid));
        assert_eq!((unnamed.len(), named.len()), (1, 1), "{found:?}");
        assert_eq!(named[0]["command"], "python3");
    });
}

/// The resident memory of the daemon, in KiB.
fn resident(daemon: &TestDaemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn thousands_of_different_uses_take_bounded_memory_and_are_all_counted() {
    const USES: usize = 6_000;
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let file = daemon.state().join("audit.jsonl");
    let counted =
        |entries: Vec<Value>| entries.iter().map(|entry| entry["count"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(counted(entries(&daemon, "").await), 2);
    // No file can be made, so the lines wait.
    fs::rename(&file, file.with_extension("before")).unwrap();
    fs::create_dir(&file).unwrap();
    let before = resident(&daemon);
    relay_different_uses(&daemon, USES).await;
    let growth = resident(&daemon).saturating_sub(before);
    assert!(growth < 32 << 10, "the daemon has grown by {growth} KiB");
    let lost = daemon.get("/v1/status").await["audit"]["lost"].as_u64().unwrap();
    assert!(lost > 0);
    fs::remove_dir(&file).unwrap();
    let found = loop {
        let found = counted(entries(&daemon, "").await);
        if found > 0 {
            break found;
        }
    };
    let lost = daemon.get("/v1/status").await["audit"]["lost"].as_u64().unwrap();
    assert_eq!(found + lost, USES as u64);
}
