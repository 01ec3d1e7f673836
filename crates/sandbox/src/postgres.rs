//! A PostgreSQL server of its own for a test: in a temporary directory, on a Unix socket and a
//! loopback port.

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, bail, ensure};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};
use tempfile::TempDir;

/// The superuser of the server. Connections on loopback need its password.
const SUPERUSER: &str = "postgres";
const PASSWORD: &str = "correct horse";

/// The user of the system that runs the server if the test runs as root, which PostgreSQL refuses.
const SYSTEM_USER: &str = "postgres";

/// The key of the fleet of [`TestPostgres::node_table`].
pub const FLEET_KEY: &str = "AGE-SECRET-KEY-1QYPQXPQ9QCRSSZG2PVXQ6RS0ZQG3YYC5Z5TPWXQERGD3C8G7RUSQGPQYEE";

/// A running PostgreSQL server. It ends, and its data is deleted, when this is dropped.
pub struct TestPostgres {
    programs: PathBuf,
    // Before the directory, so that the server ends first.
    server: Server,
    directory: TempDir,
    port: u16,
}

/// The server's process.
struct Server(Option<Child>);

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            // Its other processes end with it.
            signal(&child, Signal::CONT).ok();
            signal(&child, Signal::QUIT).ok();
            child.wait().ok();
        }
    }
}

impl TestPostgres {
    /// Starts a new server; `None` if PostgreSQL is not installed, which is printed. In CI it must
    /// be installed.
    pub fn start() -> anyhow::Result<Option<Self>> {
        let Some(programs) = programs() else {
            ensure!(env::var_os("CI").is_none(), "PostgreSQL is not installed");
            #[expect(clippy::print_stdout, reason = "the reason why a test is skipped")]
            {
                println!("skipped: PostgreSQL is not installed (apt-get install postgresql)");
            }
            return Ok(None);
        };
        let directory = tempfile::Builder::new().prefix("authd-pg-").tempdir()?;
        let mut postgres = Self { programs, server: Server(None), directory, port: free_port()? };
        postgres.create()?;
        postgres.launch()?;
        Ok(Some(postgres))
    }

    /// The connection string of the superuser, on loopback.
    pub fn url(&self) -> String {
        self.url_of(SUPERUSER, PASSWORD, SUPERUSER)
    }

    /// The connection string of a user for a database, on loopback.
    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        let password = password.replace(' ', "%20");
        format!("postgresql://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The connection string of the superuser, on the Unix socket.
    pub fn socket_url(&self) -> String {
        self.socket_url_of(SUPERUSER)
    }

    fn socket_url_of(&self, database: &str) -> String {
        let directory = self.directory.path().display();
        format!("host={directory} port={} user={SUPERUSER} dbname={database}", self.port)
    }

    /// The settings of a node of a fleet whose database this is, with the files that they name.
    /// They continue the table `[store]`. Calls have a long deadline, for busy machines.
    pub fn node_toml(&self, node: &str) -> anyhow::Result<String> {
        self.node_toml_of(node, SUPERUSER)
    }

    /// The same with a database of this name.
    pub fn node_toml_of(&self, node: &str, database: &str) -> anyhow::Result<String> {
        let table = self.node_table(node, &self.url_of(SUPERUSER, PASSWORD, database))?;
        Ok(format!("deadline = '20s'\n{table}"))
    }

    /// The table `[store.postgres]` of a node with this connection string, with the files that it
    /// names.
    pub fn node_table(&self, node: &str, url: &str) -> anyhow::Result<String> {
        let [url_file, key_file] =
            ["url", "key"].map(|kind| self.directory.path().join(format!("{node}.{kind}")));
        for (path, secret) in [(&url_file, url), (&key_file, FLEET_KEY)] {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(path)?.write_all(secret.as_bytes())?;
        }
        Ok(format!(
            "[store.postgres]\nurl_file = '{}'\nkey_file = '{}'\nnode = '{node}'\n",
            url_file.display(),
            key_file.display()
        ))
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the server's data and configuration.
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Runs statements as the superuser. Returns the rows, with `|` between columns.
    pub fn psql(&self, sql: &str) -> anyhow::Result<String> {
        self.psql_in(SUPERUSER, sql)
    }

    /// The same in a database of this name.
    pub fn psql_in(&self, database: &str, sql: &str) -> anyhow::Result<String> {
        let output = Command::new(self.programs.join("psql"))
            .args(["--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", sql])
            .arg(self.socket_url_of(database))
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "psql: {errors}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Stops the server in order; its clients lose their connections.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.end(Signal::INT)
    }

    /// Kills all processes of the server.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut ends = Vec::new();
        for member in self.members()? {
            // A process that has ended needs no signal.
            if let Ok(process) = pidfd_open(member, PidfdFlags::empty()) {
                ends.push(process);
            }
        }
        // First the parent, so that it cannot start others.
        self.end(Signal::KILL)?;
        for process in ends {
            pidfd_send_signal(&process, Signal::KILL).ok();
            // The next server does not start while the shared memory is in use.
            poll(&mut [PollFd::new(&process, PollFlags::IN)], None)?;
        }
        Ok(())
    }

    /// Starts the server after [`Self::stop`] or [`Self::kill`], on the same port.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        ensure!(self.server.0.is_none(), "the server runs");
        self.launch()
    }

    /// Stops all processes of the server (SIGSTOP).
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal_all(Signal::STOP)
    }

    /// Lets the processes of the server continue (SIGCONT).
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal_all(Signal::CONT)
    }

    /// Writes a file of the server's configuration, which only the server can read. It is used from
    /// the next start on.
    pub fn configure(&self, name: &str, contents: &str) -> anyhow::Result<()> {
        let path = self.data().join(name);
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(contents.as_bytes())?;
        if is_root() {
            run(Command::new("chown").arg(SYSTEM_USER).arg(&path))?;
        }
        Ok(())
    }

    fn create(&self) -> anyhow::Result<()> {
        let root = self.directory.path();
        if is_root() {
            run(Command::new("chown").arg(SYSTEM_USER).arg(root))?;
        }
        let password = root.join("password");
        fs::write(&password, PASSWORD)?;
        run(self
            .program("initdb")
            .args(["--no-sync", "--encoding=UTF8", "--locale=C", "--username", SUPERUSER])
            .args(["--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile"])
            .arg(&password)
            .arg("--pgdata")
            .arg(self.data()))
    }

    /// Starts the server, and waits until it accepts connections.
    fn launch(&mut self) -> anyhow::Result<()> {
        let child = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.directory.path())
            .args(["-p", &self.port.to_string(), "-h", "127.0.0.1", "-F", "-c", "max_connections=300"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("postgres cannot be started")?;
        self.server.0 = Some(child);
        let log = self.server.0.as_mut().and_then(|child| child.stderr.take());
        let mut lines = BufReader::new(log.context("the log of postgres is a pipe")?).lines();
        let mut seen = String::new();
        loop {
            let Some(line) = lines.next().transpose()? else { bail!("postgres ended: {seen}") };
            if line.ends_with("database system is ready to accept connections") {
                break;
            }
            seen += &format!("{line}\n");
        }
        // A full pipe would stop the server.
        thread::spawn(move || lines.for_each(drop));
        Ok(())
    }

    fn end(&mut self, with: Signal) -> anyhow::Result<()> {
        let mut child = self.server.0.take().context("the server does not run")?;
        signal(&child, with)?;
        child.wait()?;
        Ok(())
    }

    /// The server's processes besides the first one.
    fn members(&self) -> anyhow::Result<Vec<Pid>> {
        let parent = self.server.0.as_ref().context("the server does not run")?.id();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
        let parse = |pid: &str| Pid::from_raw(pid.parse()?).context("a process id is not 0");
        children.split_whitespace().map(parse).collect()
    }

    fn signal_all(&self, with: Signal) -> anyhow::Result<()> {
        // First the parent, so that it starts no others meanwhile.
        signal(self.server.0.as_ref().context("the server does not run")?, with)?;
        for member in self.members()? {
            match kill_process(member, with) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => bail!(error),
            }
        }
        Ok(())
    }

    /// A program of PostgreSQL, as a user that it accepts.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", SYSTEM_USER, "--regid", SYSTEM_USER, "--clear-groups", "--"]);
            command.arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin");
        command
    }
}

/// The directory of the newest installed version's programs.
fn programs() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((path.file_name()?.to_str()?.parse().ok()?, path.join("bin")))
        })
        .filter(|(_, path)| path.join("postgres").is_file())
        .collect();
    versions.sort();
    versions.pop().map(|(_, path)| path)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A port that is free now.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn signal(child: &Child, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(pid, signal)?)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output =
        command.output().with_context(|| format!("{}", Path::new(command.get_program()).display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
