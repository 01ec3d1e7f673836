//! The process in the audit log, compared with what strace says about connect(2) and execve(2).

use std::{env, fs, path::Path, process::Stdio};

use authd_sandbox::test_daemon::TestDaemon;
use serde_json::Value;
use tokio::process::Command;

use crate::{
    audit::{audited, entries},
    audit_process::{EXECUTE, python_args},
    helpers::sandbox,
};

/// The process that has connected to the daemon, as strace says.
#[derive(Debug)]
struct Connected {
    pid: u32,
    /// The program that it ran at connect(2).
    executable: String,
    /// The programs that it has executed later.
    later: Vec<String>,
}

/// Runs a command under strace to its end. Returns the process that has connected to the daemon.
/// `None` where strace is not installed, or may not trace.
async fn trace(daemon: &TestDaemon, command: &[&str]) -> Option<Connected> {
    let directory = tempfile::tempdir().unwrap();
    let strace = |name: &str| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=execve,connect", "-e", "signal=none", "-o"]);
        strace.arg(directory.path().join(name)).stdin(Stdio::null()).stdout(Stdio::piped());
        strace
    };
    if !strace("probe").arg("true").status().await.is_ok_and(|status| status.success()) {
        assert!(env::var_os("CI").is_none(), "strace cannot trace here");
        #[expect(clippy::print_stdout, reason = "it says why the test is skipped")]
        {
            println!("skipped: strace is not installed, or may not trace");
        }
        return None;
    }
    let output = strace("trace").args(command).output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    let text = fs::read_to_string(directory.path().join("trace")).unwrap();
    Some(connected(&text, &daemon.socket()).unwrap_or_else(|| panic!("no connection in\n{text}")))
}

/// Finds the process that has connected to a socket. A line begins with the process id, and ends
/// with the result.
fn connected(trace: &str, socket: &Path) -> Option<Connected> {
    let calls = trace.lines().filter(|line| line.ends_with(" = 0")).filter_map(|line| line.split_once(' '));
    let calls: Vec<_> = calls.map(|(pid, call)| (pid, call.trim_start())).collect();
    let address = format!("sun_path=\"{}\"", socket.display());
    let is_connect = |(_, call): &(&str, &str)| call.starts_with("connect(") && call.contains(&address);
    let index = calls.iter().position(is_connect)?;
    let pid = calls[index].0;
    let programs = |calls: &[(&str, &str)]| {
        let own = calls.iter().filter(|(other, _)| *other == pid);
        let paths = own.filter_map(|(_, call)| call.strip_prefix("execve(\"")?.split_once('"'));
        // The kernel follows the links of the path.
        let resolve = |(path, _)| fs::canonicalize(path).unwrap().to_str().unwrap().to_owned();
        paths.map(resolve).collect::<Vec<_>>()
    };
    let executable = programs(&calls[..index]).pop()?;
    Some(Connected { pid: pid.parse().unwrap(), executable, later: programs(&calls[index..]) })
}

/// The entries about headers.
async fn headers(daemon: &TestDaemon) -> Vec<Value> {
    let mut entries = entries(daemon, "").await;
    entries.retain(|entry| entry["action"] == "headers");
    entries
}

#[tokio::test]
async fn process_is_the_one_that_strace_shows() {
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    let socket = daemon.socket();
    // The shell starts a process for curl, and another one.
    let line = r#"curl -sf --unix-socket "$1" http://authd/v1/profiles/me/headers && true"#;
    let Some(connected) = trace(&daemon, &["sh", "-c", line, "sh", socket.to_str().unwrap()]).await else {
        return;
    };
    let found = headers(&daemon).await;
    let [entry] = &found[..] else { panic!("{found:?}") };
    assert_eq!(entry["process"]["pid"], connected.pid, "{connected:?}");
    assert_eq!(entry["process"]["executable"], connected.executable, "{connected:?}");
    assert_eq!((&*connected.later, &entry["process"]["command"]), (&[][..], &"curl".into()));
}

#[tokio::test]
async fn program_that_a_process_executes_later_is_not_named() {
    let sandbox = sandbox().await;
    let daemon = audited(&sandbox).await;
    daemon.sign_in("me", "plus").await;
    // The second request of the connection comes from a shell.
    let args = python_args(&daemon, &["s.sendall(REQUEST); s.recv(65536)", EXECUTE]);
    let command = [&["python3"][..], &args.each_ref().map(String::as_str)].concat();
    let Some(connected) = trace(&daemon, &command).await else { return };
    assert_eq!(connected.later[0], fs::canonicalize("/bin/sh").unwrap().to_str().unwrap());
    let found = headers(&daemon).await;
    assert_eq!(found.iter().map(|entry| entry["count"].as_u64().unwrap()).sum::<u64>(), 2);
    for entry in &found {
        assert_eq!(entry["process"]["pid"], connected.pid, "{connected:?}");
        assert_eq!(entry["process"]["executable"], connected.executable, "{connected:?}");
        assert_eq!(entry["process"]["command"], "python3");
    }
}
