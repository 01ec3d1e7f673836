//! Tests of the `authctl` binary with a real daemon.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ask;
mod audit;
mod commands;
mod completions;
mod credentials;
mod directory_profile;
mod fake_daemon;
// The server of the tests is started on Linux.
#[cfg(target_os = "linux")]
mod fleet;
mod git_credential;
mod json;
mod login;
mod mcp;
mod mcp_server;
mod other_provider;
mod own_credentials;
// These tests read /proc.
#[cfg(target_os = "linux")]
mod process;
mod quota;
mod security;
mod service;
mod share;
mod share_command;
mod waybar;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use authd_sandbox::{
    Account, Config, Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, Command},
};

const AUTHCTL: &str = env!("CARGO_BIN_EXE_authctl");

/// The daemon in the directory of the client, as in an installation.
fn authd() -> PathBuf {
    let path = Path::new(AUTHCTL).with_file_name("authd");
    assert!(path.is_file(), "build the daemon first: cargo build --bin authd");
    path
}

/// A copy of the client that every user can run. The build directory may be closed to others, as
/// that of root is.
struct ClientForAll(TempDir);

impl ClientForAll {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::copy(AUTHCTL, dir.path().join("authctl")).unwrap();
        Self(dir)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("authctl")
    }
}

/// A sandbox with all accounts, and a daemon.
async fn start_daemon() -> (Sandbox, TestDaemon) {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let daemon = TestDaemon::start(TestDaemonConfig::new(authd(), &sandbox)).await;
    (sandbox, daemon)
}

/// The result of one run of the client.
struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Outcome {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Asserts success.
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// Asserts an exit code and a part of the error message.
    #[track_caller]
    fn failed(self, code: i32, message: &str) -> Self {
        assert_eq!(self.code, code, "{self}");
        assert!(self.stderr.contains(message), "no {message:?} in {self}");
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// The client, with no environment but that of the daemon.
fn command(daemon: &TestDaemon, args: &[&str]) -> Command {
    let mut command = Command::new(AUTHCTL);
    command.args(args).env_clear().envs(daemon.env().iter().cloned()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(daemon: &TestDaemon, args: &[&str]) -> Outcome {
    command(daemon, args).output().await.unwrap().into()
}

/// A client that waits for input.
struct InteractiveClient {
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: Lines<BufReader<ChildStderr>>,
    stderr_text: String,
}

impl InteractiveClient {
    fn start(daemon: &TestDaemon, args: &[&str]) -> Self {
        let mut command = command(daemon, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take().unwrap());
        Self { child, stdin, stderr: BufReader::new(stderr).lines(), stderr_text: String::new() }
    }

    /// Reads stderr until a word begins with `prefix`, and returns the word.
    async fn wait_for_word(&mut self, prefix: &str) -> String {
        while let Some(line) = self.stderr.next_line().await.unwrap() {
            self.stderr_text += &line;
            self.stderr_text.push('\n');
            if let Some(word) = line.split_whitespace().find(|word| word.starts_with(prefix)) {
                return word.to_owned();
            }
        }
        panic!("no {prefix:?} in {}", self.stderr_text);
    }

    async fn send_line(&mut self, line: &str) {
        self.stdin.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn interrupt(&self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    }

    /// Closes stdin, and waits for the end.
    async fn end(mut self) -> Outcome {
        self.stdin = None;
        self.exit().await
    }

    /// Waits for the end, with stdin open.
    async fn exit(mut self) -> Outcome {
        while let Some(line) = self.stderr.next_line().await.unwrap() {
            self.stderr_text += &line;
            self.stderr_text.push('\n');
        }
        let mut outcome = Outcome::from(self.child.wait_with_output().await.unwrap());
        outcome.stderr = self.stderr_text;
        outcome
    }
}
