//! Reads the state of the service, and executes steps.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use authd_api::{ErrorCode, Paths, Problem, UsedPaths};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    DROP_IN, LABEL, ServiceManager, ServiceState, Step, Unit, UnitFile, Unreachable, files, launchd_domain,
    launchd_service, unit_file,
};
use crate::{
    daemon_lock, env,
    error::{CliError, CliResult},
    hardening::with_inherited_limit,
    launch::PATH_VARIABLES,
};

/// How long a daemon may take to stop. It gives open requests ten seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// The pause between two checks of the lock of a daemon that stops.
const PAUSE: Duration = Duration::from_millis(20);

/// Checks that the service manager answers. For systemd the text counts and not the exit code,
/// which is a failure for a degraded manager, too.
pub(crate) fn check_reachable(manager: ServiceManager) -> Result<(), Unreachable> {
    let (program, args): (_, &[&str]) = match manager {
        ServiceManager::Systemd => ("systemctl", &["--user", "is-system-running"]),
        ServiceManager::Launchd { uid } => ("launchctl", &["print", &launchd_domain(uid)]),
    };
    let output = with_inherited_limit(|| Command::new(program).args(args).stdin(Stdio::null()).output());
    let output = output.map_err(|_| Unreachable::NotInstalled(program))?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let (is_reachable, is_in_charge) = match manager {
        // sd_booted(3): the directory exists if systemd runs the machine.
        ServiceManager::Systemd => {
            (!["", "offline", "unknown"].contains(&stdout.trim()), Path::new("/run/systemd/system").is_dir())
        }
        ServiceManager::Launchd { .. } => (output.status.success(), true),
    };
    match (is_reachable, is_in_charge) {
        (true, _) => Ok(()),
        (false, false) => Err(Unreachable::NotRunning(manager.name())),
        (false, true) => {
            Err(Unreachable::NoAnswer(stderr.lines().next().unwrap_or("it is offline").to_owned()))
        }
    }
}

/// The error of a command that needs the service manager.
pub(crate) fn unreachable_error(unreachable: &Unreachable) -> CliError {
    let runtime_dir = PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw()));
    let is_unset = std::env::var_os("XDG_RUNTIME_DIR").is_none() && runtime_dir.join("systemd").is_dir();
    let (detail, hint) = unreachable.explain(is_unset.then_some(runtime_dir.as_path()));
    Problem::new(ErrorCode::NoServiceManager, detail).hint(hint).into()
}

pub(crate) fn home() -> CliResult<PathBuf> {
    env::path("HOME").ok_or_else(|| CliError::new(ErrorCode::BadRequest, "no home directory: set HOME"))
}

/// Reads the state of the service. Without a reachable manager, of the files only.
pub(crate) fn read_state(manager: ServiceManager, is_reachable: bool) -> CliResult<ServiceState> {
    let directory = unit_directory(manager, &home()?);
    let names = files::names(manager);
    let read = |name: &&'static str| {
        let path = directory.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Some(Ok(UnitFile { name, text })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let detail = format!("cannot read {}: {error}", path.display());
                Some(Err(CliError::new(ErrorCode::BadRequest, detail)))
            }
        }
    };
    let drop_in = (manager == ServiceManager::Systemd).then_some(&DROP_IN);
    let files = names.iter().chain(drop_in).filter_map(read).collect::<CliResult<Vec<UnitFile>>>()?;
    let has_all_files = |directory: &PathBuf| names.iter().all(|name| directory.join(name).is_file());
    let packaged = match manager {
        ServiceManager::Systemd if is_reachable => {
            query(manager, &["show", "--property=UnitPath", "--value"])?
                .split_whitespace()
                .map(PathBuf::from)
                .find(|path| *path != directory && has_all_files(path))
        }
        ServiceManager::Systemd => None,
        ServiceManager::Launchd { .. } => Some("/Library/LaunchAgents".into()).filter(has_all_files),
    };
    let units = match manager {
        ServiceManager::Systemd if is_reachable => {
            let properties = "--property=Id,LoadState,UnitFileState,ActiveState,MainPID,StatusText";
            parse_systemctl_show(&query(manager, &["show", properties, "authd.socket", "authd.service"])?)
        }
        ServiceManager::Launchd { uid } if is_reachable => {
            vec![parse_launchctl_print(&query(manager, &["print", &launchd_service(uid)])?)]
        }
        _ => {
            let names = manager.units().iter();
            names.map(|name| Unit { name: (*name).to_owned(), ..Unit::default() }).collect()
        }
    };
    let service_pid = units.last().and_then(|unit| unit.pid);
    let unmanaged_pid = daemon_lock::owner(&lock_path()?).filter(|pid| Some(*pid) != service_pid);
    Ok(ServiceState { manager, directory, files, packaged, units, unmanaged_pid })
}

/// The paths that the daemon uses in the environment of the service. An error is a text.
pub(crate) fn used_paths(
    manager: ServiceManager,
    program: &Path,
    is_reachable: bool,
) -> Result<UsedPaths, String> {
    let mut command = Command::new(program);
    command.arg("--print-paths").stdin(Stdio::null());
    if is_reachable {
        let output = query(manager, &["show-environment"]).map_err(|error| error.detail().to_owned())?;
        command.env_clear().envs(parse_environment(&output));
    } else {
        for name in PATH_VARIABLES {
            command.env_remove(name);
        }
    }
    let output = with_inherited_limit(|| command.output()).map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// Parses the output of `systemctl show-environment`: lines for a shell, in which an unusual value
/// is written as `$'…'`.
fn parse_environment(text: &str) -> BTreeMap<String, String> {
    let parse_value = |value: &str| {
        let quoted = value.strip_prefix("$'").and_then(|value| value.strip_suffix('\''));
        let Some(quoted) = quoted else { return value.to_owned() };
        let mut is_escaped = false;
        let unescape = |c: &char| {
            is_escaped = *c == '\\' && !is_escaped;
            !is_escaped
        };
        quoted.chars().filter(unescape).collect()
    };
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.map(|(name, value)| (name.to_owned(), parse_value(value))).collect()
}

/// The directory of the user's own units.
fn unit_directory(manager: ServiceManager, home: &Path) -> PathBuf {
    match manager {
        ServiceManager::Systemd => {
            env::path("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")).join("systemd/user")
        }
        ServiceManager::Launchd { .. } => home.join("Library/LaunchAgents"),
    }
}

/// The output of a command to the manager. launchd fails if there is no agent, and its output is
/// then empty.
fn query(manager: ServiceManager, args: &[&str]) -> CliResult<String> {
    let command = manager.command(args);
    let output = output(&command)?;
    if manager == ServiceManager::Systemd && !output.status.success() {
        return Err(CliError::new(ErrorCode::NoServiceManager, failure(&command, &output)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn output(command: &[String]) -> CliResult<Output> {
    with_inherited_limit(|| to_command(command).output()).map_err(|error| {
        CliError::new(ErrorCode::Internal, format!("cannot run {}: {error}", command.join(" ")))
    })
}

/// A command that failed, with its first message.
fn failure(command: &[String], output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let message = stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or("failed without a message");
    format!("{}: {message}", command.join(" "))
}

fn to_command(command: &[String]) -> Command {
    let (program, args) = command.split_first().expect("every command has a program");
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    command
}

/// Parses the output of `systemctl show`: one block for each unit, separated by empty lines.
fn parse_systemctl_show(text: &str) -> Vec<Unit> {
    let parse_block = |block: &str| {
        let properties: BTreeMap<_, _> = block.lines().filter_map(|line| line.split_once('=')).collect();
        let property = |name: &str| properties.get(name).copied().unwrap_or_default();
        Unit {
            name: property("Id").to_owned(),
            loaded: property("LoadState") == "loaded",
            enabled: property("UnitFileState") == "enabled",
            state: property("ActiveState").to_owned(),
            pid: property("MainPID").parse().ok().filter(|pid| *pid != 0),
            status_text: Some(property("StatusText").to_owned()).filter(|text| !text.is_empty()),
        }
    };
    text.split("\n\n").map(parse_block).collect()
}

/// Parses the output of `launchctl print`, which is empty if there is no agent. Not tested on a
/// Mac.
fn parse_launchctl_print(text: &str) -> Unit {
    let property = |name: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(" = ")).map(str::to_owned)
    };
    Unit {
        name: LABEL.to_owned(),
        loaded: !text.is_empty(),
        enabled: !text.is_empty(),
        state: property("state").unwrap_or_default(),
        pid: property("pid").and_then(|pid| pid.parse().ok()),
        status_text: None,
    }
}

/// The lock of the daemon that serves the socket of the service.
fn lock_path() -> CliResult<PathBuf> {
    Ok(Paths::of_service()?.socket.with_extension("lock"))
}

/// Removes the temporary files of earlier runs that were killed.
pub(crate) fn remove_temp_files(state: &ServiceState) {
    unit_file::remove_temp_files(&state.directory, files::names(state.manager));
    let drop_in = state.directory.join(DROP_IN);
    if let (Some(directory), Some(name)) = (drop_in.parent(), drop_in.file_name().and_then(OsStr::to_str)) {
        unit_file::remove_temp_files(directory, &[name]);
    }
}

pub(crate) fn execute(step: &Step) -> CliResult {
    let file_error = |path: &Path, error: &io::Error| {
        CliError::new(ErrorCode::BadRequest, format!("cannot change {}: {error}", path.display()))
    };
    match step {
        Step::Write { path, text } => unit_file::write(path, text).map_err(|error| file_error(path, &error)),
        Step::Remove(path) => {
            fs::remove_file(path).map_err(|error| file_error(path, &error))?;
            // The directory of a drop-in stays if the user has others in it.
            if let Some(directory) = path.parent().filter(|_| path.ends_with(DROP_IN)) {
                drop(fs::remove_dir(directory));
            }
            Ok(())
        }
        Step::CreateDirectory(path) => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| file_error(path, &error)),
        Step::Stop(pid) => stop(*pid),
        Step::Run(command) => run(command),
    }
}

/// Stops a daemon, and returns when it has released its lock: it need not be a child of this
/// process.
fn stop(pid: i32) -> CliResult {
    let lock = lock_path()?;
    let process = Pid::from_raw(pid).ok_or_else(|| CliError::new(ErrorCode::Internal, "no such process"))?;
    // An error means that it has ended already.
    kill_process(process, Signal::TERM).ok();
    let started = Instant::now();
    while daemon_lock::owner(&lock) == Some(pid) {
        if started.elapsed() > STOP_TIMEOUT {
            let detail = format!("the authd outside the service does not stop (process {pid})");
            return Err(Problem::new(ErrorCode::Conflict, detail).hint(format!("run: kill -9 {pid}")).into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

fn run(command: &[String]) -> CliResult {
    let output = output(command)?;
    if output.status.success() {
        return Ok(());
    }
    let problem = Problem::new(ErrorCode::NoDaemon, failure(command, &output));
    Err(problem.hint("see: authctl service logs").into())
}

/// Replaces this process by another program; returns on an error only.
pub(crate) fn exec(command: &[String]) -> CliError {
    let error = with_inherited_limit(|| to_command(command).exec());
    CliError::new(ErrorCode::Internal, format!("cannot run {}: {error}", command.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_of_systemctl_show_is_parsed() {
        let text = "Id=authd.socket\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\n\
                    MainPID=42\nId=authd.service\nLoadState=loaded\nStatusText=listening on /s=1\n\
                    ActiveState=activating\nUnitFileState=disabled\n";
        let units = parse_systemctl_show(text);
        let [socket, service] = units.as_slice() else { panic!("{units:?}") };
        assert!(socket.loaded && socket.enabled && socket.is_running() && socket.pid.is_none(), "{socket:?}");
        assert!(service.loaded && !service.enabled && !service.is_running(), "{service:?}");
        assert_eq!((service.pid, service.status_text.as_deref()), (Some(42), Some("listening on /s=1")));
        let unknown = parse_systemctl_show("Id=authd.service\nLoadState=not-found\nMainPID=0\nStatusText=\n");
        assert_eq!(unknown, [Unit { name: "authd.service".to_owned(), ..Unit::default() }]);
    }

    #[test]
    fn output_of_systemctl_show_environment_is_parsed() {
        let text = "HOME=/home/me\nXDG_STATE_HOME=$'/data/it\\'s 100% \\\\mine'\nEMPTY=\n";
        let environment = parse_environment(text);
        let value = |name: &str| environment.get(name).map(String::as_str);
        assert_eq!(value("XDG_STATE_HOME"), Some(r"/data/it's 100% \mine"));
        assert_eq!((value("HOME"), value("EMPTY"), environment.len()), (Some("/home/me"), Some(""), 3));
        assert!(parse_environment("").is_empty());
    }

    #[test]
    fn output_of_launchctl_print_is_parsed() {
        let running =
            parse_launchctl_print("gui/501/io.authd.authd = {\n\tstate = running\n\n\tpid = 42\n}\n");
        assert!(running.loaded && running.enabled && running.is_running(), "{running:?}");
        assert_eq!(running.pid, Some(42));
        let waiting = parse_launchctl_print("gui/501/io.authd.authd = {\n\tstate = not running\n}\n");
        assert!(waiting.loaded && !waiting.is_running(), "{waiting:?}");
        assert!(!parse_launchctl_print("").loaded);
    }
}
