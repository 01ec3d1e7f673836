//! The process that the audit log names for a client in isolation, compared with what podman and
//! the kernel say about it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    surroundings::{Mounts, bubblewrap, podman},
    user::binaries,
};

/// The name of the container.
const NAME: &str = "authd-identity-test";

/// Makes the shell that reads it the client: it takes a false name, requests the headers, prints a
/// line after the response, and stays until stdin ends.
const CLIENT: &str = r#"exec /usr/bin/python3 -c '
import socket, sys
open("/proc/self/comm", "w").write("authctl")
s = socket.socket(socket.AF_UNIX)
s.connect("/run/authd/authd.sock")
s.sendall(b"GET /v1/profiles/-/headers HTTP/1.1\r\nHost: authd\r\nX-Pid: 1\r\n\r\n")
assert s.recv(65536).startswith(b"HTTP/1.1 200 ")
print("received", flush=True); sys.stdin.read()
'
"#;

/// A client in isolation, after its response.
struct Client {
    process: Child,
    daemon: TestDaemon,
    _sandbox: Sandbox,
    share: Value,
}

impl Client {
    /// Starts a shell with a share, and makes it the client.
    async fn start(shell: impl FnOnce(&Mounts) -> Command) -> Self {
        let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
        let config = TestDaemonConfig::new(binaries().join("authd"), &sandbox);
        let daemon = TestDaemon::start(config.toml("[audit]\nto = 'file'")).await;
        daemon.sign_in("me", "plus").await;
        let share = daemon.post("/v1/shares", json!({"profile": "me", "allow": "headers"})).await;
        let relay = daemon.post("/v1/shares", json!({"profile": "me"})).await;
        let shares = [(directory(&share), "/run/authd"), (directory(&relay), "/run/relay")];
        let mut command = shell(&Mounts { binaries: binaries(), shares });
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        process.stdin.as_mut().unwrap().write_all(CLIENT.as_bytes()).await.unwrap();
        let line = BufReader::new(process.stdout.as_mut().unwrap()).lines().next_line().await;
        assert_eq!(line.unwrap().as_deref(), Some("received"));
        Self { process, daemon, _sandbox: sandbox, share }
    }

    /// Checks that the only entry through the share is about this process, and of this container.
    async fn is_named(&self, pid: u32, container: Option<&str>) {
        let text = self.daemon.request("GET", "/v1/audit", &[], "").await.text();
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let entries: Vec<_> = entries.filter(|entry| entry["action"] == "headers").collect();
        let [entry] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((&entry["share"], &entry["count"]), (&self.share["id"], &json!(1)));
        let process = &entry["process"];
        let path = PathBuf::from(format!("/proc/{pid}"));
        assert_eq!(process["pid"], pid, "{process}");
        assert_eq!(process["executable"], fs::read_link(path.join("exe")).unwrap().to_str().unwrap());
        assert_eq!(process["command"], "authctl", "a process may change its own name");
        assert_eq!(process["container"].as_str(), container);
    }

    /// Ends the client.
    async fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().await.unwrap().success());
    }
}

/// Checks a client in a container. Podman says which process and which container it is.
pub(crate) async fn check_podman(args: &[&str]) {
    let name = format!("--name={NAME}");
    let client = Client::start(|mounts| podman(mounts, &[&[&*name], args].concat())).await;
    let mut inspect = Command::new("podman");
    inspect.args(["--cgroup-manager=cgroupfs", "inspect", "--format", "{{.State.Pid}} {{.Id}}", NAME]);
    let shown = String::from_utf8(inspect.output().await.unwrap().stdout).unwrap();
    let (pid, id) = shown.trim().split_once(' ').unwrap_or_else(|| panic!("{inspect:?}: {shown}"));
    // An ordinary user has only cgroups of version 2, and only where the system delegates some.
    let has_cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap().contains(id);
    assert!(has_cgroup || !rustix::process::geteuid().is_root());
    client.is_named(pid.parse().unwrap(), has_cgroup.then_some(id)).await;
    client.end().await;
}

/// Checks a client in a sandbox. The kernel says which process it is.
pub(crate) async fn check_bubblewrap() {
    let client = Client::start(bubblewrap).await;
    client.is_named(last_descendant(client.process.id().unwrap()), None).await;
    client.end().await;
}

/// The process at the end of a chain of processes that have one child each.
fn last_descendant(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    match children.split_whitespace().collect::<Vec<_>>()[..] {
        [] => pid,
        [child] => last_descendant(child.parse().unwrap()),
        _ => panic!("{pid} has the children {children}"),
    }
}

/// The directory of a share.
fn directory(share: &Value) -> PathBuf {
    Path::new(share["socket"].as_str().unwrap()).parent().unwrap().to_owned()
}
