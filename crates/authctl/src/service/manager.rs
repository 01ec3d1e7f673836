//! The service manager itself: asked what is there, and told to take a step. It decides nothing.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use authd_api::{ErrorCode, Paths, Problem};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    Facts, Manager, Step, Unit, Unreachable, domain,
    files::{self, File},
    service, unit_file,
};
use crate::{failure::Failure, hardening::with_inherited_limit, private};

/// How long a daemon may take to stop: it gives what is under way ten seconds.
const STOP: Duration = Duration::from_secs(15);

/// The pause between two looks at the lock of a daemon that stops.
const PAUSE: Duration = Duration::from_millis(20);

/// Whether there is a manager to ask. systemd's word counts, not the exit code: one that is degraded says so
/// with a failure, and is there all the same.
pub(crate) fn reach(manager: Manager) -> Result<(), Unreachable> {
    let (program, args): (_, &[&str]) = match manager {
        Manager::Systemd => ("systemctl", &["--user", "is-system-running"]),
        Manager::Launchd { uid } => ("launchctl", &["print", &domain(uid)]),
    };
    let output = with_inherited_limit(|| Command::new(program).args(args).stdin(Stdio::null()).output());
    let output = output.map_err(|_| Unreachable::Missing(program))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let there = match manager {
        Manager::Systemd => !["", "offline", "unknown"].contains(&said.trim()),
        Manager::Launchd { .. } => output.status.success(),
    };
    // sd_booted(3): systemd's own sign that it runs this machine.
    let in_charge = manager != Manager::Systemd || Path::new("/run/systemd/system").is_dir();
    let why = String::from_utf8_lossy(&output.stderr);
    let why = why.lines().next().unwrap_or("it is offline");
    match there {
        true => Ok(()),
        false if !in_charge => Err(Unreachable::Idle(manager.name())),
        false => Err(Unreachable::Silent(why.to_owned())),
    }
}

/// The failure of a verb that needs a manager where there is none.
pub(crate) fn unreachable(unreachable: &Unreachable) -> Failure {
    let own = PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw()));
    let untold = std::env::var_os("XDG_RUNTIME_DIR").is_none() && own.join("systemd").is_dir();
    let (detail, hint) = unreachable.words(untold.then_some(own.as_path()));
    let problem = Problem::new(ErrorCode::ShuttingDown, detail).hint(hint);
    let kind = "urn:authd:problem:no_service_manager".to_owned();
    Failure::from(Problem { kind, title: "No service manager".to_owned(), ..problem })
}

/// The home directory.
pub(crate) fn home() -> Result<PathBuf, Failure> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    home.ok_or_else(|| Failure::new(ErrorCode::BadRequest, "no home directory: set HOME"))
}

/// Looks at everything; without a manager, at the files alone.
pub(crate) fn look(manager: Manager, reachable: bool) -> Result<Facts, Failure> {
    let directory = directory(manager, &home()?);
    let names = files::names(manager);
    let read = |name: &&'static str| {
        let text = fs::read_to_string(directory.join(name)).ok()?;
        Some(File { name, text })
    };
    let files: Vec<File> = names.iter().filter_map(read).collect();
    let all_there = |place: &PathBuf| names.iter().all(|name| place.join(name).is_file());
    let packaged = match manager {
        Manager::Systemd if reachable => ask(manager, &["show", "--property=UnitPath", "--value"])
            .split_whitespace()
            .map(PathBuf::from)
            .find(|place| *place != directory && all_there(place)),
        Manager::Systemd => None,
        Manager::Launchd { .. } => Some(PathBuf::from("/Library/LaunchAgents")).filter(all_there),
    };
    let units = match manager {
        Manager::Systemd if reachable => {
            let shown = "--property=Id,LoadState,UnitFileState,ActiveState,MainPID,StatusText";
            shown_by_systemd(&ask(manager, &["show", shown, "authd.socket", "authd.service"]))
        }
        Manager::Launchd { uid } if reachable => {
            vec![shown_by_launchd(&ask(manager, &["print", &service(uid)]))]
        }
        Manager::Systemd | Manager::Launchd { .. } => {
            manager.units().iter().map(|name| Unit { name: (*name).to_owned(), ..Unit::default() }).collect()
        }
    };
    let own = units.last().and_then(|unit| unit.pid);
    let stranger = holder(&lock()?).filter(|pid| Some(*pid) != own);
    Ok(Facts { manager, directory, files, packaged, units, stranger })
}

/// Where the person's own units belong.
fn directory(manager: Manager, home: &Path) -> PathBuf {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|place| !place.is_empty()).map(PathBuf::from);
    match manager {
        Manager::Systemd => config.unwrap_or_else(|| home.join(".config")).join("systemd/user"),
        Manager::Launchd { .. } => home.join("Library/LaunchAgents"),
    }
}

/// What the manager says; nothing, where it says that it knows nothing.
fn ask(manager: Manager, args: &[&str]) -> String {
    let output = with_inherited_limit(|| command(&manager.command(args)).output());
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn command(words: &[String]) -> Command {
    let mut command = Command::new(words.first().map(String::as_str).unwrap_or_default());
    command.args(words.iter().skip(1)).stdin(Stdio::null());
    command
}

/// The blocks of `systemctl show`, one for each unit, with an empty line between them.
fn shown_by_systemd(text: &str) -> Vec<Unit> {
    let block = |block: &str| {
        let facts: BTreeMap<&str, &str> = block.lines().filter_map(|line| line.split_once('=')).collect();
        let fact = |name: &str| facts.get(name).copied().unwrap_or_default();
        Unit {
            name: fact("Id").to_owned(),
            loaded: fact("LoadState") == "loaded",
            enabled: fact("UnitFileState") == "enabled",
            state: fact("ActiveState").to_owned(),
            pid: fact("MainPID").parse().ok().filter(|pid| *pid != 0),
            says: Some(fact("StatusText").to_owned()).filter(|text| !text.is_empty()),
        }
    };
    text.split("\n\n").map(block).collect()
}

/// What `launchctl print` says of an agent, which is nothing if there is none. Never seen on a Mac.
fn shown_by_launchd(text: &str) -> Unit {
    let fact = |name: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(" = ")).map(str::to_owned)
    };
    let loaded = !text.is_empty();
    Unit {
        name: files::LABEL.to_owned(),
        loaded,
        enabled: loaded,
        state: fact("state").unwrap_or_default(),
        pid: fact("pid").and_then(|pid| pid.parse().ok()),
        says: None,
    }
}

/// The lock of whoever serves the socket that the service has.
fn lock() -> Result<PathBuf, Failure> {
    Ok(Paths::of_service()?.socket.with_extension("lock"))
}

/// The process that holds a daemon's lock, if one does.
fn holder(lock: &Path) -> Option<i32> {
    // Another user's file would have this program stop a process of that user's choice.
    let mut file = private::open_own(lock).ok()?;
    match file.try_lock_shared() {
        Err(fs::TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text).ok()?;
            text.trim().parse().ok()
        }
        Ok(()) | Err(fs::TryLockError::Error(_)) => None,
    }
}

/// Removes the temporary files that earlier runs left, if they were killed.
pub(crate) fn remove_left_over(facts: &Facts) {
    unit_file::remove_left_over(&facts.directory, files::names(facts.manager));
}

/// Takes a step.
pub(crate) fn act(step: &Step) -> Result<(), Failure> {
    let failed = |path: &Path, error: &io::Error| {
        Failure::new(ErrorCode::BadRequest, format!("{} cannot be changed: {error}", path.display()))
    };
    match step {
        Step::Write { path, text } => unit_file::write(path, text).map_err(|error| failed(path, &error)),
        Step::Remove(path) => fs::remove_file(path).map_err(|error| failed(path, &error)),
        Step::Stop(pid) => stop(*pid),
        Step::Run(words) => run(words),
    }
}

/// Asks a daemon to stop, and returns when it has given up its lock: its process may not be ours to wait
/// for.
fn stop(pid: i32) -> Result<(), Failure> {
    let lock = lock()?;
    let process = Pid::from_raw(pid).ok_or_else(|| Failure::new(ErrorCode::Internal, "no such process"))?;
    // It may have ended by itself meanwhile: whether it goes is seen by its lock.
    kill_process(process, Signal::TERM).ok();
    let started = Instant::now();
    while holder(&lock) == Some(pid) {
        if started.elapsed() > STOP {
            let detail = format!("the authd that runs apart from the service does not stop (process {pid})");
            return Err(Problem::new(ErrorCode::Conflict, detail).hint(format!("run: kill -9 {pid}")).into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn run(words: &[String]) -> Result<(), Failure> {
    let shown = words.join(" ");
    let output = with_inherited_limit(|| command(words).output());
    let output =
        output.map_err(|error| Failure::new(ErrorCode::Internal, format!("{shown}: cannot run: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it failed without a word");
    let problem = crate::failure::no_daemon(format!("{shown}: {said}"));
    Err(problem.hint("see: authctl service logs").into())
}

/// Becomes the program that shows the log.
pub(crate) fn become_program(words: &[String]) -> Failure {
    let error = with_inherited_limit(|| command(words).exec());
    Failure::new(ErrorCode::Internal, format!("{} cannot be run: {error}", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_words_are_read() {
        let text = "Id=authd.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\n\
                    MainPID=42\nId=authd.service\nLoadState=loaded\nStatusText=listening on /s=1\n\
                    ActiveState=activating\nUnitFileState=disabled\n";
        let units = shown_by_systemd(text);
        let [socket, service] = units.as_slice() else { panic!("{units:?}") };
        assert!(socket.loaded && socket.enabled && socket.is_running() && socket.pid.is_none(), "{socket:?}");
        assert!(service.loaded && !service.enabled && !service.is_running(), "{service:?}");
        assert_eq!((service.pid, service.says.as_deref()), (Some(42), Some("listening on /s=1")));
        let unknown = shown_by_systemd("Id=authd.service\nLoadState=not-found\nMainPID=0\nStatusText=\n");
        assert_eq!(unknown, [Unit { name: "authd.service".to_owned(), ..Unit::default() }]);
    }

    #[test]
    fn launchds_words_are_read() {
        let running = shown_by_launchd("gui/501/io.authd.authd = {\n\tstate = running\n\n\tpid = 42\n}\n");
        assert!(running.loaded && running.enabled && running.is_running(), "{running:?}");
        assert_eq!(running.pid, Some(42));
        let waiting = shown_by_launchd("gui/501/io.authd.authd = {\n\tstate = not running\n}\n");
        assert!(waiting.loaded && !waiting.is_running(), "{waiting:?}");
        assert!(!shown_by_launchd("").loaded);
    }

    #[test]
    fn only_a_lock_that_is_held_names_its_holder() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("authd.lock");
        assert_eq!(holder(&path), None);
        fs::write(&path, "42\n").unwrap();
        assert_eq!(holder(&path), None);
        let held = fs::File::open(&path).unwrap();
        held.lock().unwrap();
        assert_eq!(holder(&path), Some(42));
        let link = place.path().join("link.lock");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(holder(&link), None, "a link may lead to another user's file");
    }
}
