//! Network namespaces of their own for nodes. A node in one reaches only the servers for which this
//! process listens there, and its network can be taken away.
#![expect(clippy::print_stdout, reason = "the reason why a test leaves something out")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A namespace. It ends with its processes when this is dropped.
pub(crate) struct Namespace {
    holder: Child,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.holder.kill().ok();
        self.holder.wait().ok();
    }
}

impl Namespace {
    /// `None` if only root may make one here, which is printed.
    pub(crate) fn create() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("not root: the nodes run without network namespaces");
            return None;
        }
        let script = "ip link set lo up && echo ready && exec cat";
        let mut command = Command::new("unshare");
        command.args(["--net", "--", "sh", "-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "a network namespace cannot be made (unshare, ip)");
        Some(Self { holder })
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    /// Listens on a port of its loopback address.
    pub(crate) fn listen(&self, port: u16) -> TcpListener {
        let namespace = fs::File::open(self.path()).unwrap();
        let listens = move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            TcpListener::bind(("127.0.0.1", port)).unwrap()
        };
        // The namespace of a socket is that of the thread which made it.
        thread::spawn(listens).join().unwrap()
    }

    /// A program that executes another in the namespace.
    pub(crate) fn wrap(&self, program: &str, directory: &Path) -> PathBuf {
        let path = directory.join(format!("in-{}", self.holder.id()));
        let script = format!("#!/bin/sh\nexec nsenter --net={} -- '{program}' \"$@\"\n", self.path());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path
    }

    /// Takes the network away, or gives it back. Packets are lost meanwhile.
    pub(crate) fn set_network(&self, is_up: bool) {
        let state = if is_up { "up" } else { "down" };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).args(["--", "ip", "link", "set", "lo", state]);
        assert!(command.status().unwrap().success());
    }
}

/// The environment of a node whose clock is wrong by so many seconds. `None` if the library is not
/// installed, which is printed. In CI it must be.
pub(crate) fn wrong_clock(seconds: i32) -> Option<[(&'static str, String); 3]> {
    let library = Path::new("/usr/lib")
        .join(format!("{}-linux-gnu", env::consts::ARCH))
        .join("faketime/libfaketimeMT.so.1");
    if !library.exists() {
        assert!(env::var_os("CI").is_none(), "libfaketime is not installed");
        println!("libfaketime is not installed: the clocks of all nodes agree");
        return None;
    }
    Some([
        ("LD_PRELOAD", library.to_str().unwrap().to_owned()),
        ("FAKETIME", format!("{seconds:+}s")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ])
}
