//! The audit log in a real systemd-journald, which runs as root in the mount namespace of the test,
//! and `authctl audit`, which reads it with the real journalctl.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    os::unix::net::UnixDatagram,
    path::Path,
    process::Stdio,
};

use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::user::binaries;

/// The program of the journal.
pub(crate) const PROGRAM: &str = "/usr/lib/systemd/systemd-journald";

/// Hides the journal of the machine, and prepares one that is kept in `/var/log` as on a booted
/// system. The log and the audit of the kernel are the machine's. A shell of root reads its
/// commands from a pipe.
pub(crate) const PREPARE: &str = r"
mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=755 tmpfs /var/log || exit
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /var/log/journal
printf '[Journal]\nReadKMsg=no\nAudit=\n' >/run/systemd/journald.conf.d/test.conf
touch /run/systemd/journal/flushed
mkfifo -m 622 /run/root
sh </run/root &
";

/// The socket that takes the entries.
const SOCKET: &str = "/run/systemd/journal/socket";

/// A systemd-journald, and the shell of root that starts it.
struct Journal(File);

impl Journal {
    fn new() -> Self {
        Self(File::options().write(true).open("/run/root").unwrap())
    }

    /// Starts the program, and returns when it accepts entries.
    async fn start(&mut self) {
        self.as_root(&format!("{PROGRAM} &"));
        while !accepts_entries() {
            tokio::task::yield_now().await;
        }
    }

    /// Kills the program, and returns when it accepts no entry any more.
    async fn kill(&mut self) {
        self.as_root("kill -KILL $!");
        while accepts_entries() {
            tokio::task::yield_now().await;
        }
    }

    /// Passes a command line to the shell of root. `$!` is the process id of the program.
    fn as_root(&mut self, line: &str) {
        writeln!(self.0, "{line}").unwrap();
    }
}

fn accepts_entries() -> bool {
    UnixDatagram::unbound().unwrap().connect(SOCKET).is_ok()
}

/// A daemon with the audit log in the journal.
async fn audited() -> (Sandbox, TestDaemon) {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let config = TestDaemonConfig::new(binaries().join("authd"), &sandbox);
    let daemon = TestDaemon::start(config.toml("[audit]\nto = 'journal'")).await;
    (sandbox, daemon)
}

fn authctl(daemon: &TestDaemon, args: &[&str]) -> Command {
    let mut command = Command::new(binaries().join("authctl"));
    command.args(args).env_clear().envs(daemon.env().iter().cloned());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs authctl, which must succeed and print nothing on stderr. Returns its process id, and its
/// output.
async fn run(daemon: &TestDaemon, args: &[&str]) -> (u32, String) {
    let child = authctl(daemon, args).spawn().unwrap();
    let pid = child.id().unwrap();
    let output = child.wait_with_output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && stderr.is_empty(), "{args:?}: {stderr}\n{}", daemon.log());
    (pid, String::from_utf8(output.stdout).unwrap())
}

/// The entries that `authctl audit` prints.
async fn entries(daemon: &TestDaemon, args: &[&str]) -> Vec<Value> {
    let (_, text) = run(daemon, &[&["audit", "--json"], args].concat()).await;
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns all entries when there are this many: the journal has an entry some time after it was
/// sent.
async fn wait_for_entries(daemon: &TestDaemon, number: usize) -> Vec<Value> {
    loop {
        let found = entries(daemon, &[]).await;
        if found.len() >= number {
            assert_eq!(found.len(), number, "{found:?}");
            return found;
        }
    }
}

fn actions(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

/// Checks the entries, what authctl selects and prints of them, and the fields of the journal.
pub(crate) async fn check_entries() {
    let mut journal = Journal::new();
    journal.start().await;
    let (_sandbox, daemon) = audited().await;
    daemon.sign_in("me", "plus").await;
    daemon.sign_in("work", "business").await;
    let (pid, _) = run(&daemon, &["token", "me"]).await;
    let found = wait_for_entries(&daemon, 5).await;
    assert_eq!(actions(&found), ["login_started", "login", "login_started", "login", "headers"]);
    assert_eq!(
        (&found[4]["process"]["command"], &found[4]["process"]["pid"]),
        (&json!("authctl"), &json!(pid))
    );
    let (_, table) = run(&daemon, &["audit"]).await;
    let lines: Vec<_> = table.lines().collect();
    assert!(lines.len() == 6 && lines[0].starts_with("TIME "), "{table}");
    assert!(lines[5].contains(&format!(" 1  me          headers          authctl {pid}")), "{table}");

    assert_eq!(entries(&daemon, &["-p", "work"]).await, found[2..4]);
    assert_eq!(entries(&daemon, &["--since", "1h"]).await, found);
    assert_eq!(entries(&daemon, &["--since", found[2]["time"].as_str().unwrap()]).await, found[2..]);
    assert!(entries(&daemon, &["--since", "2126-11-23T14:00:00Z"]).await.is_empty());

    let mut follower = authctl(&daemon, &["audit", "-f", "-p", "work", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    for expected in &found[2..4] {
        let line = lines.next_line().await.unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), *expected);
    }
    let (pid, _) = run(&daemon, &["token", "work"]).await;
    let line = lines.next_line().await.unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["process"]["pid"], pid);

    // The journal itself names the daemon as the sender of each entry.
    let uid = rustix::process::getuid().as_raw().to_string();
    let pid = daemon.pid().unwrap().to_string();
    for entry in journal_entries().await {
        assert_eq!((&entry["_PID"], &entry["_UID"]), (&json!(pid), &json!(uid)), "{entry}");
        assert_eq!((&entry["_COMM"], &entry["_TRANSPORT"]), (&json!("authd"), &json!("journal")), "{entry}");
    }
    // Another program of the user can write such a line. Only the journal's fields tell.
    let forged = r#"{"time":"2026-11-23T14:00:00Z","action":"headers","count":7,"profile":"me"}"#;
    let mut other = Command::new("systemd-cat");
    other.args(["-t", "authd-audit", "echo", forged]);
    assert!(other.status().await.unwrap().success());
    assert_eq!(wait_for_entries(&daemon, 7).await[6]["count"], 7);
    let of_others = journal_entries().await.into_iter().filter(|entry| entry["_PID"] != pid);
    assert_eq!(of_others.map(|entry| entry["MESSAGE"].clone()).collect::<Vec<_>>(), [forged]);
}

/// The entries with all their fields, as journalctl prints them.
async fn journal_entries() -> Vec<Value> {
    let mut command = Command::new("journalctl");
    command.args(["--no-pager", "-q", "-o", "json", "-t", "authd-audit"]);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Returns the error of the audit log as soon as there is one.
async fn wait_for_error(daemon: &TestDaemon) -> String {
    loop {
        if let Some(error) = daemon.get("/v1/status").await["audit"]["error"].as_str() {
            return error.to_owned();
        }
    }
}

/// Returns when the daemon writes again.
async fn wait_for_recovery(daemon: &TestDaemon) {
    while daemon.get("/v1/status").await["audit"]["error"].is_string() {}
}

/// Checks that no entry is lost while the journal is stopped, and after it was killed.
pub(crate) async fn check_interruptions() {
    let mut journal = Journal::new();
    journal.start().await;
    let (_sandbox, mut daemon) = audited().await;
    daemon.sign_in("me", "plus").await;
    daemon.get("/v1/profiles/me/headers").await;
    wait_for_entries(&daemon, 3).await;

    // The socket takes so many datagrams that the journal does not read.
    let queue = fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
    let uses = queue.trim().parse::<usize>().unwrap() + 20;
    journal.as_root("kill -STOP $!");
    for number in 0..uses {
        relay(&daemon, number).await;
    }
    let error = wait_for_error(&daemon).await;
    assert_eq!(error, format!("{SOCKET}: Resource temporarily unavailable (os error 11)"));
    daemon.post("/v1/profiles/me/refresh", json!({})).await;
    daemon.get("/v1/profiles/me/headers").await;
    assert_eq!(daemon.get("/v1/status").await["audit"]["lost"], 0);
    journal.as_root("kill -CONT $!");
    wait_for_recovery(&daemon).await;
    wait_for_entries(&daemon, 3 + uses + 2).await;

    journal.kill().await;
    relay(&daemon, uses).await;
    daemon.get("/v1/profiles/me/headers").await;
    let error = wait_for_error(&daemon).await;
    assert_eq!(error, format!("{SOCKET}: Connection refused (os error 111)"));
    let output = authctl(&daemon, &["audit"]).output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with(&format!("warning: authd cannot write the audit log: {error}")), "{stderr}");
    journal.start().await;
    wait_for_recovery(&daemon).await;
    assert_eq!(daemon.get("/v1/status").await["audit"], json!({"to": "journal", "lost": 0}));

    // The shutdown sends what was counted of the minute.
    daemon.restart().await;
    let count = |entry: &Value| entry["count"].as_u64().unwrap();
    let expected = (3 + uses + 4) as u64;
    let found = loop {
        let found = entries(&daemon, &[]).await;
        if found.iter().map(count).sum::<u64>() >= expected {
            break found;
        }
    };
    assert_eq!(found.iter().map(count).sum::<u64>(), expected, "{found:?}");
    let relayed: Vec<_> = found.iter().filter(|entry| entry["action"] == "relay").collect();
    let paths: BTreeSet<_> = relayed.iter().map(|entry| entry["path"].as_str()).collect();
    assert_eq!((relayed.len(), paths.len()), (uses + 1, uses + 1), "each is there once");
}

/// Relays a request that is a use of its own.
async fn relay(daemon: &TestDaemon, number: usize) {
    let path = format!("/v1/profiles/me/relay/use-{number}");
    assert_eq!(daemon.request("GET", &path, &[], "").await.status.as_u16(), 404);
}

/// Checks what the user is told if journald keeps no file that the user may read, as in `/run/log`.
pub(crate) async fn check_volatile_journal() {
    let mut journal = Journal::new();
    journal.as_root("rm -r /var/log/journal");
    journal.start().await;
    let (_sandbox, daemon) = audited().await;
    let machine = fs::read_to_string("/etc/machine-id").unwrap();
    while !Path::new("/run/log/journal").join(machine.trim()).exists() {
        tokio::task::yield_now().await;
    }
    let output = authctl(&daemon, &["audit", "-q"]).output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{stderr}");
    assert!(stderr.contains("authctl: cannot read the journal: journalctl: exit status: 1\n"), "{stderr}");
    assert!(stderr.contains("hint: without the group systemd-journal, a user can read only "), "{stderr}");
}
