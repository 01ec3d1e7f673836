//! A `systemd --user` for an ordinary user, in its own cgroups, directory and `/run`. Starting it
//! needs root. A separate shell waits for the end of this program, and then removes all processes
//! and files.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader},
    os::unix::{self, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::AUTHD;

/// An ordinary user that every system has.
const USER: u32 = 65534;

/// Set for the scenarios, which do nothing without it.
pub(crate) const INSIDE: &str = "AUTHD_SERVICE_SCENARIOS";

// These limits only end a test that hangs.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(300);

/// Prepares `/run` as on a booted system, in a new mount namespace, and prints `prepared`. At the
/// end of its input it kills all processes in the cgroups, and removes the cgroups and the
/// directory. The arguments are the user, the directory and the cgroups.
const CARETAKER: &str = r#"
user=$1; directory=$2; shift 2
mount -t tmpfs -o mode=755 tmpfs /run && cd /run &&
  mkdir -p systemd/system systemd/unit-root credentials "user/$user" &&
  chown "$user:$user" "user/$user" && chmod 700 "user/$user" && echo prepared
cat >/dev/null
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  processes=$(find "$@" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u)
  [ -n "$processes" ] || break
  kill -9 $processes 2>/dev/null; sleep 0.1
done
find "$@" -depth -type d -exec rmdir {} + 2>/dev/null
rm -rf "$directory"
"#;

/// Joins the cgroups of the arguments up to `--`, and runs the command that follows.
const JOIN: &str =
    r#"while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@""#;

/// A requirement that this machine does not meet.
pub(crate) struct Missing(pub(crate) String);

/// A running service manager. Dropping it ends it and all that it runs.
pub(crate) struct Manager {
    directory: PathBuf,
    cgroups: Vec<PathBuf>,
    caretaker: Child,
    process: Option<Child>,
}

impl Manager {
    /// Prepares the directory and the cgroups, and starts the manager.
    pub(crate) fn start() -> Result<Self, Missing> {
        let systemd = find_systemd()?;
        let name = format!("authd-service-{}.slice", std::process::id());
        let cgroups: Vec<_> = hierarchies().into_iter().map(|root| root.join(&name)).collect();
        if cgroups.is_empty() {
            return Err(Missing("there is no cgroup hierarchy in /sys/fs/cgroup".to_owned()));
        }
        for cgroup in &cgroups {
            if let Err(error) = fs::create_dir(cgroup) {
                drop(cgroups.iter().try_for_each(fs::remove_dir));
                return Err(Missing(format!("{} cannot be made: {error}", cgroup.display())));
            }
        }
        let directory = tempfile::Builder::new().prefix("authd-service-").tempdir().unwrap().keep();
        let mut caretaker = Command::new("unshare");
        caretaker.args(["--mount", "sh", "-c", CARETAKER, "caretaker", &USER.to_string()]);
        caretaker.arg(&directory).args(&cgroups).process_group(0);
        let caretaker = caretaker.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut manager = Self { directory, cgroups, caretaker, process: None };
        let mut line = String::new();
        BufReader::new(manager.caretaker.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "prepared" {
            return Err(Missing("a mount namespace cannot be made".to_owned()));
        }
        manager.prepare_home();
        for cgroup in &manager.cgroups {
            for part in [&*manager_cgroup(), "client"] {
                let part = cgroup.join(part);
                fs::create_dir(&part).unwrap();
                chown(&part);
                chown(&part.join("cgroup.procs"));
                // The file of cgroup version 1, and those of version 2.
                for file in ["tasks", "cgroup.subtree_control", "cgroup.threads"] {
                    if part.join(file).exists() {
                        chown(&part.join(file));
                    }
                }
            }
        }
        let log = fs::File::create(manager.log_path()).unwrap();
        let mut command = manager.command(&manager_cgroup(), &systemd);
        command.arg("--user").stdout(log.try_clone().unwrap()).stderr(log);
        manager.process = Some(command.spawn().unwrap());
        manager.wait();
        Ok(manager)
    }

    /// Runs the tests of this program whose names begin with this prefix, as the user.
    pub(crate) fn run(self, tests: &str) {
        let mut command = self.command("client", &self.directory.join("scenarios"));
        let only = env::var("AUTHD_SERVICE_SCENARIO").ok();
        command.args([only.as_deref().unwrap_or(tests), "--ignored", "--test-threads=1"]).env(INSIDE, "1");
        let mut scenarios = command.spawn().unwrap();
        let started = Instant::now();
        let status = loop {
            if let Some(status) = scenarios.try_wait().unwrap() {
                break status;
            }
            assert!(started.elapsed() < SCENARIO_TIMEOUT, "the scenarios do not end");
            thread::sleep(Duration::from_millis(50));
        };
        assert!(status.success(), "the scenarios ended with {status}; log of the manager:\n{}", self.log());
    }

    /// Creates the user's home, with the binaries where cargo installs them.
    fn prepare_home(&self) {
        let home = self.directory.join("home");
        let bin = home.join(".cargo/bin");
        for directory in
            [&bin, &home.join(".config/systemd/user"), &home.join(".config/authd"), &home.join(".ssh")]
        {
            fs::create_dir_all(directory).unwrap();
        }
        for (from, to) in [
            (PathBuf::from(AUTHD), bin.join("authd")),
            (Path::new(AUTHD).with_file_name("authctl"), bin.join("authctl")),
            (env::current_exe().unwrap(), self.directory.join("scenarios")),
        ] {
            fs::copy(&from, to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        }
        chown_recursively(&self.directory).unwrap();
    }

    /// A program in one of the cgroups, as the user, with a new environment.
    fn command(&self, part: &str, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &self.caretaker.id().to_string(), "sh", "-c", JOIN, "join"]);
        command.args(self.cgroups.iter().map(|cgroup| cgroup.join(part)));
        let (user, group) = (format!("--reuid={USER}"), format!("--regid={USER}"));
        command.args(["--", "setpriv", &user, &group, "--clear-groups"]).arg(program);
        let home = self.directory.join("home");
        // The units of the user, of a package, and of the system.
        let directories = [home.join(".config/systemd/user"), home.join("package/systemd/user")];
        let directories = directories.map(|directory| directory.display().to_string()).join(":");
        let units = format!("{directories}:/usr/lib/systemd/user");
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", &home);
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{USER}"));
        command.env("SYSTEMD_UNIT_PATH", units).env("SYSTEMD_LOG_TARGET", "console");
        command.stdin(Stdio::null());
        command
    }

    fn wait(&mut self) {
        let started = Instant::now();
        loop {
            let mut command = self.command("client", Path::new("systemctl"));
            let output = command.args(["--user", "is-system-running"]).output().unwrap();
            let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if ["running", "degraded"].contains(&state.as_str()) {
                return;
            }
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(
                ended.is_none() && started.elapsed() < START_TIMEOUT,
                "the service manager is {state}, {ended:?}:\n{}{}",
                String::from_utf8_lossy(&output.stderr),
                self.log(),
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("manager.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        drop(self.caretaker.stdin.take());
        drop(self.caretaker.wait());
        if let Some(process) = &mut self.process {
            drop(process.wait());
        }
    }
}

/// The cgroup of the manager. It has the name of a booted system, where this is the service that
/// runs the manager: it tells a unit of the user from one of the system.
fn manager_cgroup() -> String {
    format!("user@{USER}.service")
}

/// The path of systemd, if this machine has everything that the test needs.
fn find_systemd() -> Result<PathBuf, Missing> {
    if !rustix::process::geteuid().is_root() {
        return Err(Missing("only root can make cgroups for a service manager".to_owned()));
    }
    for program in ["systemctl", "setpriv", "unshare", "nsenter", "find"] {
        let version = Command::new(program).arg("--version").output();
        if !version.is_ok_and(|output| output.status.success()) {
            return Err(Missing(format!("{program} is not installed")));
        }
    }
    let programs = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].map(PathBuf::from);
    let found = programs.into_iter().find(|program| program.is_file());
    found.ok_or_else(|| Missing("systemd is not installed".to_owned()))
}

/// The mounted cgroup hierarchies that systemd uses: that of version 2, or its two hierarchies on a
/// system with version 1.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").is_file() {
        return vec![root.to_owned()];
    }
    ["systemd", "unified"].map(|name| root.join(name)).into_iter().filter(|path| path.is_dir()).collect()
}

fn chown(path: &Path) {
    unix::fs::chown(path, Some(USER), Some(USER))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

fn chown_recursively(path: &Path) -> io::Result<()> {
    chown(path);
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            chown_recursively(&entry?.path())?;
        }
    }
    Ok(())
}
