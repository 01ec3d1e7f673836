//! The client as people and programs use it: the real binary against the real daemon.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod ask;
// What a process shows to others is read from Linux's /proc.
#[cfg(target_os = "linux")]
mod child;
mod hostile;
mod login;
mod service;
mod stand_in;
mod verbs;

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use authd_sandbox::{
    Account, Config, Sandbox,
    house::{House, HouseConfig},
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin, Command},
};

/// The client's binary.
const AUTHCTL: &str = env!("CARGO_BIN_EXE_authctl");

/// The daemon's binary, which lies beside the client's, as it does where they are installed.
fn authd() -> PathBuf {
    let path = Path::new(AUTHCTL).with_file_name("authd");
    assert!(path.is_file(), "build the daemon first: cargo build --bin authd");
    path
}

/// A sandbox with all accounts, and a daemon.
async fn household() -> (Sandbox, House) {
    let sandbox = Sandbox::start(Config::with_accounts(Account::presets())).await.unwrap();
    let house = House::start(HouseConfig::new(authd(), &sandbox)).await;
    (sandbox, house)
}

/// What one call of the client came to.
struct Said {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Said {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The same, which must have worked.
    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// The same, which must have failed so.
    #[track_caller]
    fn failed(self, code: i32, words: &str) -> Self {
        assert_eq!(self.code, code, "{self}");
        assert!(self.stderr.contains(words), "no {words:?} in {self}");
        self
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// The client, with the environment of the house and nothing else.
fn command(house: &House, args: &[&str]) -> Command {
    let mut command = Command::new(AUTHCTL);
    command.args(args).env_clear().envs(house.env().iter().cloned()).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(house: &House, args: &[&str]) -> Said {
    command(house, args).output().await.unwrap().into()
}

/// A client that waits for its person.
struct Waiting {
    child: Child,
    stdin: ChildStdin,
    stderr: Lines<BufReader<ChildStderr>>,
    heard: String,
}

impl Waiting {
    fn start(house: &House, args: &[&str]) -> Self {
        let mut command = command(house, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdin, stderr) = (child.stdin.take().unwrap(), child.stderr.take().unwrap());
        Self { child, stdin, stderr: BufReader::new(stderr).lines(), heard: String::new() }
    }

    /// The first word that begins so.
    async fn hear(&mut self, beginning: &str) -> String {
        while let Some(line) = self.stderr.next_line().await.unwrap() {
            self.heard += &line;
            self.heard.push('\n');
            if let Some(word) = line.split_whitespace().find(|word| word.starts_with(beginning)) {
                return word.to_owned();
            }
        }
        panic!("no {beginning:?} in {}", self.heard);
    }

    async fn type_in(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn interrupt(&self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    }

    async fn end(mut self) -> Said {
        while let Some(line) = self.stderr.next_line().await.unwrap() {
            self.heard += &line;
            self.heard.push('\n');
        }
        let mut said = Said::from(self.child.wait_with_output().await.unwrap());
        said.stderr = self.heard;
        said
    }
}
