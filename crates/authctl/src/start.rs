//! Starting the daemon where none runs: by the service manager if it is installed there, else as a process
//! of its own. It never stops one, and installs nothing.

use std::{
    ffi::OsStr,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use authd_api::{Client, ClientError, Paths};

use crate::{failure, failure::Failure, hardening, out::Out, private};

/// The units of the systemd user manager, the one to prefer first.
const UNITS: [&str; 2] = ["authd.socket", "authd.service"];

/// How long a daemon may take to answer. It answers in well under a second, unless the machine is just
/// starting up, or another daemon has to finish first, which has ten seconds for it.
const DEADLINE: Duration = Duration::from_secs(15);

/// The first and the longest pause between two looks at the socket.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// How much of a log's end is read to quote its last line, in bytes.
const TAIL: u64 = 8 << 10;

/// The exit code of a daemon that found another one on its socket.
const TAKEN: i32 = 69;

/// How the daemon is to be started.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// The service manager starts this unit.
    Unit(&'static str),
    /// This program is run, apart from the terminal.
    Program(PathBuf),
}

/// Starts the daemon, and returns when its socket answers. `own_socket`: the socket was named on the
/// command line.
pub(crate) async fn daemon(paths: &Paths, own_socket: bool, out: Out) -> Result<(), Failure> {
    let way = way(own_socket);
    let log = paths.state_dir.join("authd.log");
    let spawn = match &way {
        Way::Unit(unit) => {
            out.say(&format!("authd is not running: starting {unit}"));
            if !systemctl(&["start", unit]) {
                return Err(not_started(
                    format!("systemd could not start {unit}"),
                    &format!("systemctl --user status {unit}"),
                ));
            }
            None
        }
        Way::Program(program) => {
            out.say(&format!(
                "authd is not running: starting {}, which writes to {}",
                program.display(),
                log.display()
            ));
            Some(|| spawn(program, paths, &log))
        }
    };
    answered(&Client::new(&paths.socket), spawn, &log).await
}

/// The units know nothing of this shell's environment: they are for the places that everybody uses.
fn way(own_socket: bool) -> Way {
    let unit = if own_socket || moved().is_some() { None } else { installed_unit() };
    unit.map_or_else(|| Way::Program(program()), Way::Unit)
}

/// A variable of this shell that says where things are, if there is one.
pub(crate) fn moved() -> Option<&'static str> {
    let places = ["AUTHD_SOCKET", "AUTHD_CONFIG", "AUTHD_STATE_DIR"];
    places.into_iter().find(|name| std::env::var_os(name).is_some())
}

/// The unit that the service manager would start, if one is installed.
pub(crate) fn installed_unit() -> Option<&'static str> {
    let linux = cfg!(target_os = "linux");
    UNITS.into_iter().filter(|_| linux).find(|unit| systemctl(&["cat", unit]))
}

/// The `authd` beside this program, else whatever `PATH` makes of the name.
fn program() -> PathBuf {
    beside().unwrap_or_else(|| PathBuf::from("authd"))
}

/// The `authd` beside this program.
fn beside() -> Option<PathBuf> {
    std::env::current_exe().ok().map(|own| own.with_file_name("authd")).filter(|path| path.is_file())
}

/// The same from the root, for those who look from elsewhere: beside this program, else in `PATH`.
pub(crate) fn installed_program() -> Option<PathBuf> {
    beside().or_else(|| {
        let places = std::env::var_os("PATH")?;
        let mut programs = std::env::split_paths(&places).map(|place| place.join("authd"));
        std::path::absolute(programs.find(|path| path.is_file())?).ok()
    })
}

/// Whether a command of the user's service manager succeeds; it says nothing itself.
fn systemctl(args: &[&str]) -> bool {
    let mut command = Command::new("systemctl");
    command.arg("--user").args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    hardening::with_inherited_limit(|| command.status()).is_ok_and(|status| status.success())
}

/// A group of its own keeps the terminal's Ctrl-C away, and the root directory keeps no file system busy.
fn spawn(program: &Path, paths: &Paths, log: &Path) -> Result<Child, Failure> {
    let unwritable = |error: io::Error| {
        let directory = paths.state_dir.display();
        let hint = format!("make {directory} your own and private, or name another with AUTHD_STATE_DIR");
        not_started(format!("{} cannot be written: {error}", log.display()), &hint)
    };
    let log_file = private::open_log(log).map_err(unwritable)?;
    let second = log_file.try_clone().map_err(unwritable)?;
    let mut command = Command::new(program);
    command.args([OsStr::new("--socket"), paths.socket.as_os_str()]).current_dir("/").process_group(0);
    command.stdin(Stdio::null()).stdout(second).stderr(log_file);
    // A shell that `authctl exec` has started has it. The daemon has no use for it, and lives long.
    command.env_remove("OPENAI_API_KEY");
    hardening::with_inherited_limit(|| command.spawn()).map_err(|error| {
        not_started(
            format!("{} cannot be started: {error}", program.display()),
            "install authd beside authctl, or start it: authd &",
        )
    })
}

/// Returns when a daemon that somebody else has started answers.
pub(crate) async fn comes(client: &Client, log: &Path) -> Result<(), Failure> {
    answered(client, None::<fn() -> Result<Child, Failure>>, log).await
}

/// Returns when the socket answers. A daemon has no way to announce itself to us, so this looks again and
/// again.
async fn answered(
    client: &Client,
    spawn: Option<impl Fn() -> Result<Child, Failure>>,
    log: &Path,
) -> Result<(), Failure> {
    let started = Instant::now();
    let mut pause = PAUSE.0;
    let mut child = spawn.as_ref().map(|spawn| spawn()).transpose()?;
    loop {
        let ended = child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        match tokio::time::timeout(DEADLINE, client.status()).await {
            Ok(Ok(_)) => return Ok(()),
            // Waiting makes no other user's listener ours.
            Ok(Err(error @ ClientError::OtherUser { .. })) => return Err(error.into()),
            Ok(Err(_)) | Err(_) if started.elapsed() < DEADLINE => {}
            Ok(Err(error)) => {
                return Err(not_started(format!("authd does not answer: {error}"), &seen_in(log)));
            }
            Err(_) => return Err(not_started("authd does not answer".to_owned(), &seen_in(log))),
        }
        match (ended, &spawn) {
            // Another one has the socket: it was faster and answers soon, or it is about to end.
            (Some(status), Some(spawn)) if status.code() == Some(TAKEN) => child = Some(spawn()?),
            (Some(status), _) => {
                return Err(not_started(format!("authd ended at once: {status}"), &seen_in(log)));
            }
            (None, _) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Where to read on, with the last line of the log, which mostly says it all.
fn seen_in(log: &Path) -> String {
    let text = tail(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    match text.lines().rfind(|line| !line.trim().is_empty()) {
        Some(last) => format!("see {}, which ends with: {}", log.display(), crate::refusal::quote(last)),
        None => format!("see {}", log.display()),
    }
}

fn tail(log: &Path) -> io::Result<Vec<u8>> {
    let mut log = private::open_own(log)?;
    let start = log.metadata()?.len().saturating_sub(TAIL);
    log.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    log.take(TAIL).read_to_end(&mut text)?;
    Ok(text)
}

fn not_started(detail: String, hint: &str) -> Failure {
    failure::no_daemon(detail).hint(hint).into()
}
