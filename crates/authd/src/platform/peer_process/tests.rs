use std::process::{Command, Stdio};

use authd_broker::now;
use tokio::net::{UnixListener, UnixStream};

use super::{procfs::Entry, start_time::BootClock, *};

/// A process of the test's user.
fn ids(pid: u32) -> Process {
    Process::of_ids(pid.try_into().expect("a process id"), rustix::process::getuid().as_raw())
}

#[tokio::test]
async fn a_running_peer_is_described() {
    let before = now();
    let folder = tempfile::tempdir().expect("a directory");
    let listener = UnixListener::bind(folder.path().join("socket")).expect("a socket");
    let client = UnixStream::connect(folder.path().join("socket")).await.expect("a connection");
    let (server, _) = listener.accept().await.expect("a connection");

    let (reader, ids) = (ProcessReader::default(), ids(std::process::id()));
    assert_eq!(reader.read(&server, &ids), None, "the audit log is off");
    reader.set_on(true);
    let process = reader.read(&server, &ids).expect("a process");
    let own = std::env::current_exe().expect("a path");
    assert_eq!(process.executable.as_deref(), own.to_str());
    assert_eq!((process.pid, process.uid), (ids.pid, ids.uid));
    assert!(process.started_at.expect("a time") < before);
    let command = std::fs::read_to_string("/proc/self/comm").expect("a name");
    assert_eq!(process.command.as_deref(), Some(command.trim_end()));
    assert_eq!(reader.read(&server, &ids), Some(process), "a second connection is of the same process");
    drop(client);
}

#[test]
fn a_process_without_a_handle_is_described_until_it_ends() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("a process");
    let (ids, clock) = (ids(child.id()), BootClock::default());
    let entry = Entry::of_pid(ids.pid).expect("a process");
    let process = entry.describe(&ids, &clock);
    assert!(process.executable.expect("a path").contains('/'));
    assert!(process.started_at.is_some());

    drop(child.stdin.take());
    child.wait().expect("an end");
    assert_eq!(entry.describe(&ids, &clock), ids);
    assert!(Entry::of_pid(0).is_none() && Entry::of_pid(-1).is_none());
}
