//! A fake daemon with fixed responses, for those that the real daemon does not send.

use std::{
    fs::Permissions,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::Stdio,
    thread,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// A directory with a socket, on which a thread answers until the test ends.
pub(crate) struct FakeDaemon {
    dir: TempDir,
}

impl FakeDaemon {
    /// Answers a request with the first response whose key, method and path, it begins with. A
    /// response with a number as its `status` is a problem.
    pub(crate) fn start(responses: Vec<(&'static str, Value)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        let listener = UnixListener::bind(dir.path().join("authd.sock")).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &responses);
            }
        });
        Self { dir }
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The client, in an environment with this daemon.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        self.command_of(Path::new(crate::AUTHCTL), args)
    }

    /// The same for a copy of the client.
    pub(crate) fn command_of(&self, client: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(client);
        command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        for (name, file) in [
            ("HOME", "home"),
            ("AUTHD_SOCKET", "authd.sock"),
            ("AUTHD_CONFIG", "authd.toml"),
            ("AUTHD_STATE_DIR", "state"),
        ] {
            command.env(name, self.path(file));
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

fn answer(mut stream: UnixStream, responses: &[(&str, Value)]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let found = responses.iter().find(|(prefix, _)| request.starts_with(prefix));
    let (status, body) = found.map_or((404, "{}".to_owned()), |(_, body)| {
        (body["status"].as_u64().unwrap_or(200), body.to_string())
    });
    let head = format!("HTTP/1.1 {status}\r\nauthd-version: 1\r\nconnection: close");
    // The client may have ended already.
    drop(write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
}
