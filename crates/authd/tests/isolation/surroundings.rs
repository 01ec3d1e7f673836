//! The commands that start a shell in isolation. Each sees `/usr` and the given directories, and no
//! other file of the user; none has a network.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use crate::user::home;

/// What is visible inside.
pub(crate) struct Mounts {
    /// The directory with the binaries of this workspace; `/run/bin` inside.
    pub(crate) binaries: PathBuf,
    /// The directories of shares, and where they are inside.
    pub(crate) shares: [(PathBuf, &'static str); 2],
}

/// The links of a root directory whose programs are in `/usr`.
const LINKS: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// A rootless container.
pub(crate) fn podman(mounts: &Mounts, args: &[&str]) -> Command {
    let root = home().join("root");
    for directory in ["usr", "etc", "proc", "sys", "dev", "tmp", "run"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for name in LINKS {
        symlink(format!("usr/{name}"), root.join(name)).unwrap();
    }
    let mut command = Command::new("podman");
    // crun does not run on machines with the cgroups of both versions.
    command.args(["--runtime=runc", "--cgroup-manager=cgroupfs", "--log-level=error"]);
    command.args(["run", "--rm", "--interactive", "--network=none", "--volume=/usr:/usr:ro"]).args(args);
    command.arg(format!("--volume={}:/run/bin:ro", mounts.binaries.display()));
    for (share, inside) in &mounts.shares {
        command.arg(format!("--volume={}:{inside}:ro", share.display()));
    }
    command.arg("--rootfs").arg(root).arg("sh");
    command
}

/// A sandbox with namespaces of its own.
pub(crate) fn bubblewrap(mounts: &Mounts) -> Command {
    let mut command = Command::new("bwrap");
    command.args(bubblewrap_args(&mounts.binaries));
    for (share, inside) in &mounts.shares {
        command.arg("--ro-bind").arg(share).arg(inside);
    }
    command.arg("sh");
    command
}

fn bubblewrap_args(binaries: &Path) -> Vec<String> {
    let mut args = vec!["--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr"];
    args.extend(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    let mut args: Vec<_> = args.into_iter().map(str::to_owned).collect();
    for name in LINKS {
        args.extend(["--symlink".to_owned(), format!("usr/{name}"), format!("/{name}")]);
    }
    args.extend(["--ro-bind".to_owned(), binaries.display().to_string(), "/run/bin".to_owned()]);
    args
}

/// A process whose uid is a subordinate one, as that of a container's ordinary user.
pub(crate) fn user_namespace(mounts: &Mounts) -> Command {
    // The arguments are pairs of a directory and its place inside.
    let script = r#"
        mount -t tmpfs tmpfs /run && while [ $# -gt 0 ]; do
            mkdir "$2" && mount --bind "$1" "$2" && shift 2 || exit
        done && exec setpriv --reuid=1000 --regid=1000 --clear-groups sh"#;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--map-auto", "--mount", "--net", "sh", "-c", script, "sh"]);
    command.arg(&mounts.binaries).arg("/run/bin");
    for (share, inside) in &mounts.shares {
        command.arg(share).arg(inside);
    }
    command
}

/// A shell behind a real sshd, which forwards the sockets. The sshd is in a sandbox, as if on
/// another machine, and talks to the client through a pipe.
pub(crate) fn ssh(mounts: &Mounts) -> Command {
    let directory = home().join("ssh");
    fs::create_dir(&directory).unwrap();
    for key in ["host", "user"] {
        let mut keygen = std::process::Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.join(key));
        assert!(keygen.status().unwrap().success());
    }
    let config = "HostKey /run/ssh/host\nAuthorizedKeysFile /run/ssh/user.pub\nStrictModes no\nUsePAM no\n\
        PidFile none\n";
    fs::write(directory.join("sshd_config"), config).unwrap();
    let mut server = bubblewrap_args(&mounts.binaries).join(" ");
    server += &format!(" --ro-bind /etc /etc --ro-bind {} /run/ssh", directory.display());
    let mut command = Command::new("ssh");
    command.arg("-i").arg(directory.join("user")).args(["-F", "none", "-T", "-o", "BatchMode=yes"]);
    command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
    command.args(["-o", "LogLevel=ERROR", "-o", "ExitOnForwardFailure=yes"]);
    for (share, inside) in &mounts.shares {
        server += &format!(" --dir {inside}");
        command.arg("-R").arg(format!("{inside}/authd.sock:{}/authd.sock", share.display()));
    }
    let server = format!("bwrap {server} /usr/sbin/sshd -i -f /run/ssh/sshd_config");
    command.arg("-o").arg(format!("ProxyCommand={server}")).args(["remote", "sh"]);
    command
}
