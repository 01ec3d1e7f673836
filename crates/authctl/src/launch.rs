//! Starts the daemon if it does not run: as the unit of the service manager if one is installed,
//! else as a process of its own.

use std::{
    ffi::OsStr,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use authd_api::{Client, ClientError, ErrorCode, Paths, Problem, session_runtime_dir};

use crate::{
    daemon_lock, env,
    error::{CliError, CliResult},
    hardening,
    output::Output,
    owned_file,
    upstream_error::quote,
};

/// The units of the systemd user manager, in order of preference.
const UNITS: [&str; 2] = ["authd.socket", "authd.service"];

/// How long the daemon may take to answer. It needs less than a second, unless the machine is
/// starting up, or another daemon has to stop first, which may take ten seconds.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// The first and the longest pause between two attempts to reach the daemon.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// How much of the end of a log is read to quote its last line, in bytes.
const TAIL: u64 = 8 << 10;

/// The variables that move the files of the daemon.
pub(crate) const PATH_VARIABLES: [&str; 3] = ["AUTHD_SOCKET", "AUTHD_CONFIG", "AUTHD_STATE_DIR"];

/// The exit code of a daemon that found another one on its socket or in its state directory.
const UNAVAILABLE: i32 = 69;

/// Starts the daemon, and returns when its socket answers. `socket_from_args`: the command line
/// names the socket.
pub(crate) async fn start_daemon(paths: &Paths, socket_from_args: bool, out: Output) -> CliResult {
    let log = paths.state_dir.join("authd.log");
    // The units have the default paths, and do not see the environment of this shell.
    let unit = if socket_from_args || path_variable().is_some() { None } else { installed_unit() };
    let client = Client::new(&paths.socket);
    if let Some(unit) = unit {
        out.info(&format!("authd is not running: starting {unit}"));
        if !systemctl(&["start", unit]) {
            let hint = format!("systemctl --user status {unit}");
            return Err(not_started(format!("systemd could not start {unit}"), &hint));
        }
        return wait_until_ready(&client, None, &log, out).await;
    }
    let program = sibling_program().unwrap_or_else(|| PathBuf::from("authd"));
    let (program_text, log_text) = (program.display(), log.display());
    out.info(&format!("authd is not running: starting {program_text}, with the log {log_text}"));
    wait_until_ready(&client, Some(&|| spawn(&program, paths, &log)), &log, out).await
}

/// A variable of this shell that moves the files of the daemon to another place.
pub(crate) fn path_variable() -> Option<&'static str> {
    PATH_VARIABLES.into_iter().find(|name| env::var(name).is_some())
}

/// The installed unit that starts the daemon.
pub(crate) fn installed_unit() -> Option<&'static str> {
    UNITS.into_iter().find(|unit| cfg!(target_os = "linux") && systemctl(&["cat", unit]))
}

/// The `authd` in the directory of this program.
fn sibling_program() -> Option<PathBuf> {
    std::env::current_exe().ok().map(|own| own.with_file_name("authd")).filter(|path| path.is_file())
}

/// The runtime directory of this user, if `XDG_RUNTIME_DIR` does not name one.
fn missing_runtime_dir() -> Option<PathBuf> {
    if env::var("XDG_RUNTIME_DIR").is_some() { None } else { session_runtime_dir() }
}

/// How to start the daemon on this machine. `socket` is the one of the command line.
pub(crate) fn start_hint(socket: Option<&Path>) -> String {
    let is_default = socket.is_none() && path_variable().is_none();
    if let Some(unit) = is_default.then(installed_unit).flatten() {
        let runtime_dir = missing_runtime_dir().map(|path| format!("XDG_RUNTIME_DIR={} ", path.display()));
        return format!("start it: {}systemctl --user start {unit}", runtime_dir.unwrap_or_default());
    }
    let Some(program) = installed_program() else {
        return "install authd beside authctl: cargo install --path crates/authd".to_owned();
    };
    let program = if find_in_path().as_ref() == Some(&program) { "authd".into() } else { program };
    let option = socket.map(|socket| format!(" --socket {}", socket.display())).unwrap_or_default();
    let start = format!("start it: {}{option} &", program.display());
    // On Linux only a session without logind has no runtime directory.
    let has_runtime_dir = env::var("XDG_RUNTIME_DIR").is_some() || session_runtime_dir().is_some();
    if is_default && cfg!(target_os = "linux") && !has_runtime_dir {
        return format!("{start}; if it runs with an XDG_RUNTIME_DIR, set the same here");
    }
    start
}

/// The absolute path of `authd`: in the directory of this program, else in `PATH`.
pub(crate) fn installed_program() -> Option<PathBuf> {
    sibling_program().or_else(find_in_path)
}

fn find_in_path() -> Option<PathBuf> {
    let directories = std::env::var_os("PATH")?;
    let mut programs = std::env::split_paths(&directories).map(|directory| directory.join("authd"));
    std::path::absolute(programs.find(|path| path.is_file())?).ok()
}

/// Runs a command of the user's service manager without output, and returns whether it succeeded.
fn systemctl(args: &[&str]) -> bool {
    let mut command = Command::new("systemctl");
    command.arg("--user").args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.envs(missing_runtime_dir().map(|directory| ("XDG_RUNTIME_DIR", directory)));
    hardening::with_inherited_limit(|| command.status()).is_ok_and(|status| status.success())
}

/// Its own process group keeps Ctrl-C of the terminal away; the root directory keeps no file system
/// busy.
fn spawn(program: &Path, paths: &Paths, log: &Path) -> CliResult<Child> {
    let log_error = |error: io::Error| {
        let directory = paths.state_dir.display();
        let hint =
            format!("make {directory} your own and private, or set AUTHD_STATE_DIR to another directory");
        not_started(format!("cannot write {}: {error}", log.display()), &hint)
    };
    let stderr = owned_file::open_log(log).map_err(log_error)?;
    let stdout = stderr.try_clone().map_err(log_error)?;
    let mut command = Command::new(program);
    command.args([OsStr::new("--socket"), paths.socket.as_os_str()]).current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    // `authctl exec` sets it. The daemon does not use it, and would hold it for a long time.
    command.env_remove("OPENAI_API_KEY");
    hardening::with_inherited_limit(|| command.spawn()).map_err(|error| {
        let hint = "install authd beside authctl, or start it: authd &";
        not_started(format!("cannot start {}: {error}", program.display()), hint)
    })
}

/// Polls the socket until the daemon answers. `spawn` starts it; without it, the service manager
/// does.
pub(crate) async fn wait_until_ready(
    client: &Client,
    spawn: Option<&dyn Fn() -> CliResult<Child>>,
    log: &Path,
    out: Output,
) -> CliResult {
    let started = Instant::now();
    let lock = client.socket().with_extension("lock");
    let mut pause = PAUSE.0;
    let mut child = spawn.map(|spawn| spawn()).transpose()?;
    let (mut is_lock_announced, mut is_second) = (false, false);
    loop {
        let exit_status = child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        let error = match tokio::time::timeout(START_TIMEOUT, client.status()).await {
            Ok(Ok(_)) => return Ok(()),
            // Not retried: another user owns the listener, or this program cannot connect.
            Ok(Err(
                error @ (ClientError::OtherUser { .. }
                | ClientError::Forbidden { .. }
                | ClientError::Connect { .. }),
            )) => return Err(error.into()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "authd does not answer".to_owned(),
        };
        let lock_owner = exit_status.and_then(|_| daemon_lock::owner(&lock));
        if started.elapsed() >= START_TIMEOUT {
            return Err(match lock_owner {
                Some(pid) => not_started(
                    format!("another authd (process {pid}) holds {}, but: {error}", lock.display()),
                    &format!("end it, then try again: kill {pid}"),
                ),
                None => not_started(error, &format!("see {}", log.display())),
            });
        }
        match (exit_status, lock_owner, spawn) {
            (None, ..) => {}
            // It either started first and answers soon, or is about to stop.
            (Some(_), Some(pid), _) => {
                if !is_lock_announced {
                    out.info(&format!("another authd (process {pid}) has this socket; waiting for it"));
                }
                is_lock_announced = true;
            }
            // The other daemon has just ended. If the second try fails, too, another one owns the
            // state directory, and has another socket.
            (Some(status), None, Some(spawn)) if status.code() == Some(UNAVAILABLE) && !is_second => {
                is_second = true;
                child = Some(spawn()?);
            }
            (Some(status), None, _) => {
                let reason = last_line(log).unwrap_or_else(|| status.to_string());
                return Err(not_started(
                    format!("authd ended at once: {reason}"),
                    &format!("see {}", log.display()),
                ));
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// The last line of the log, in which a daemon that did not start names the reason.
fn last_line(log: &Path) -> Option<String> {
    let text = read_tail(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rfind(|line| !line.trim().is_empty())?;
    Some(quote(last.strip_prefix("authd: ").unwrap_or(last)))
}

fn read_tail(log: &Path) -> io::Result<Vec<u8>> {
    let mut log = owned_file::open_own(log)?;
    let start = log.metadata()?.len().saturating_sub(TAIL);
    log.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    log.take(TAIL).read_to_end(&mut text)?;
    Ok(text)
}

fn not_started(detail: String, hint: &str) -> CliError {
    Problem::new(ErrorCode::NoDaemon, detail).hint(hint).into()
}
