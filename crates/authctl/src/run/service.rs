//! `authctl service`: shows and executes the steps that [`crate::service`] computes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use authd_api::{Client, ErrorCode, Paths, Problem, Status};
use serde_json::json;

use crate::context::with_timeout;
use crate::{
    cli::{DryRun, ServiceCommand},
    error::{CliError, CliResult},
    launch,
    output::Output,
    service::{DROP_IN, ServiceManager, ServiceState, Step, Unit, UnitFile, drop_in, files, manager},
};

/// The exit code of `status` if the service does not run.
const NOT_RUNNING: u8 = 9;

pub(super) async fn service(socket_from_args: bool, command: ServiceCommand, out: Output) -> CliResult {
    if socket_from_args {
        let detail = "--socket cannot be used here: the service has the default socket";
        let hint = "to use another socket, run the daemon without the service: authd --socket PATH";
        return Err(Problem::new(ErrorCode::BadRequest, detail).hint(hint).into());
    }
    let manager = ServiceManager::of_this_platform();
    let reached = manager::check_reachable(manager);
    let dry_run = match &command {
        ServiceCommand::Install(DryRun { print }) | ServiceCommand::Uninstall(DryRun { print }) => {
            Some(*print)
        }
        ServiceCommand::Status | ServiceCommand::Logs { .. } => None,
    };
    match &reached {
        Err(unreachable) if dry_run != Some(true) => return Err(manager::unreachable_error(unreachable)),
        Err(unreachable) => out.info(&format!("note: {}", unreachable.explain(None).0)),
        Ok(()) => {}
    }
    let state = manager::read_state(manager, reached.is_ok())?;
    if dry_run == Some(false) {
        manager::remove_temp_files(&state);
    }
    match command {
        ServiceCommand::Install(DryRun { print }) => {
            let program = launch::installed_program();
            let mut wanted = wanted_files(&state, program.as_deref())?;
            let missing = if manager == ServiceManager::Systemd {
                add_drop_in(&state, program.as_deref(), reached.is_ok(), &mut wanted, out)?
            } else {
                None
            };
            let mut steps = state.install(&wanted);
            steps.splice(0..0, missing.map(Step::CreateDirectory));
            print_notes(&state, out);
            if print { print_steps(&steps, out) } else { install(&state, &steps, out).await }
        }
        ServiceCommand::Uninstall(DryRun { print }) => {
            let steps = state.uninstall();
            if print { print_steps(&steps, out) } else { uninstall(&state, &steps, out) }
        }
        ServiceCommand::Status => status(&state, out).await,
        ServiceCommand::Logs { follow, lines } => Err(logs(&state, follow, lines, out)),
    }
}

/// The units for the installed daemon; none if a package has installed them.
fn wanted_files(state: &ServiceState, program: Option<&Path>) -> CliResult<Vec<UnitFile>> {
    if state.packaged.is_some() {
        return Ok(Vec::new());
    }
    let program = program.ok_or_else(|| {
        let detail = "cannot find authd, neither beside authctl nor in PATH";
        Problem::new(ErrorCode::BadRequest, detail).hint("install it: cargo install --path crates/authd")
    })?;
    files::files(state.manager, program, &manager::home()?).ok_or_else(|| {
        let detail = format!("a unit cannot contain the path {}", program.display());
        Problem::new(ErrorCode::BadRequest, detail).hint("move authd and authctl to another directory").into()
    })
}

/// Adds the drop-in for the directories outside the home directory. Returns the state directory, if
/// it is one of them and does not exist: in the service the daemon could not create it.
fn add_drop_in(
    state: &ServiceState,
    program: Option<&Path>,
    is_reachable: bool,
    wanted: &mut Vec<UnitFile>,
    out: Output,
) -> CliResult<Option<PathBuf>> {
    let program = program.unwrap_or(Path::new("authd"));
    let used = match manager::used_paths(state.manager, program, is_reachable) {
        Ok(used) => used,
        Err(reason) => {
            out.info(&format!("note: the paths that authd uses are not known: {reason}"));
            out.info(
                "      the service can write to the home directory, and to what an earlier install added",
            );
            wanted.extend(state.files.iter().find(|file| file.name == DROP_IN).cloned());
            return Ok(None);
        }
    };
    let home = manager::home()?;
    let home = fs::canonicalize(&home).unwrap_or(home);
    let file = drop_in::drop_in(&used, &home).map_err(|error| {
        let hint = "use another path, or run the daemon without the service: authd &";
        Problem::new(ErrorCode::BadRequest, error.detail()).hint(hint)
    })?;
    wanted.extend(file);
    Ok(used.writes.into_iter().next().filter(|path| !path.starts_with(&home) && !path.exists()))
}

fn print_notes(state: &ServiceState, out: Output) {
    if let Some(name) = launch::path_variable() {
        out.info(&format!("note: {name} is set in this shell, but the service does not see it"));
    }
    if let (Some(packaged), Some(UnitFile { name, .. })) = (&state.packaged, state.own_units().next()) {
        let (own, packaged) = (state.directory.join(name), packaged.display());
        out.info(&format!("note: {} overrides the unit of the package in {packaged}", own.display()));
        out.info("      to remove it, run: authctl service uninstall");
    }
}

/// Prints the steps of a dry run.
fn print_steps(steps: &[Step], out: Output) -> CliResult {
    if steps.is_empty() && !out.json {
        out.info("nothing to do");
    }
    out.result(&json!({"would": steps}), || {
        steps.iter().map(|step| format!("{}\n", step.to_string().trim_end())).collect()
    })
}

fn execute(steps: &[Step], out: Output) -> CliResult {
    steps.iter().try_for_each(|step| {
        manager::execute(step)?;
        out.info(&step.done());
        Ok(())
    })
}

async fn install(state: &ServiceState, steps: &[Step], out: Output) -> CliResult {
    execute(steps, out)?;
    let client = Client::new(Paths::of_service()?.socket);
    if matches!(state.manager, ServiceManager::Launchd { .. }) {
        // The commands of launchd return before the daemon runs.
        launch::wait_until_ready(&client, None, &agent_log()?, out).await?;
    }
    let daemon = with_timeout(client.status()).await?;
    let units = match &state.packaged {
        Some(directory) => format!("the package's units in {}", directory.display()),
        None => format!("units in {}", state.directory.display()),
    };
    let already = if steps.is_empty() { "already " } else { "" };
    let message = format!("authd is {already}installed, with {units}, and runs as process {}", daemon.pid);
    out.done(&message, &json!({"done": steps, "daemon": daemon}))
}

fn uninstall(state: &ServiceState, steps: &[Step], out: Output) -> CliResult {
    execute(steps, out)?;
    let result = if steps.is_empty() { "was not installed" } else { "is not a service any more" };
    out.info(&format!("authd {result}; the logins are unchanged"));
    match &state.packaged {
        Some(directory) => {
            out.info(&format!("the package's units stay in {}, disabled", directory.display()));
        }
        None => drop_in_directories(state)
            .iter()
            .for_each(|path| out.info(&format!("kept your own settings in {}", path.display()))),
    }
    if out.json { out.print_json(&json!({"done": steps})) } else { Ok(()) }
}

/// The directories in which the user has changed settings of the units.
fn drop_in_directories(state: &ServiceState) -> Vec<PathBuf> {
    let paths = state.manager.units().iter().map(|name| state.directory.join(format!("{name}.d")));
    let own = state.directory.join(DROP_IN);
    let has_others = |path: &PathBuf| {
        fs::read_dir(path).is_ok_and(|entries| entries.flatten().any(|entry| entry.path() != own))
    };
    paths.filter(has_others).collect()
}

/// Sends no request to a daemon that does not run: socket activation would start it.
async fn status(state: &ServiceState, out: Output) -> CliResult {
    let has_daemon = state.daemon_unit().is_some_and(Unit::is_running) || state.unmanaged_pid.is_some();
    let client = Client::new(Paths::of_service()?.socket);
    let daemon = if has_daemon { with_timeout(client.status()).await.ok() } else { None };
    let json = json!({
        "manager": state.manager.name(),
        "installed": state.is_installed(),
        "enabled": state.is_enabled(),
        "running": state.is_running(),
        "packaged": state.packaged,
        "directory": state.directory,
        "files": active_files(state),
        "additions": drop_in_directories(state),
        "units": state.units,
        "unmanaged_pid": state.unmanaged_pid,
        "daemon": daemon,
    });
    out.result(&json, || status_text(state, daemon.as_ref()))?;
    if state.is_installed() && state.is_running() { Ok(()) } else { Err(CliError::Reported(NOT_RUNNING)) }
}

/// The unit files that the manager reads.
fn active_files(state: &ServiceState) -> Vec<PathBuf> {
    let packaged = state.packaged.iter().filter(|_| state.own_units().next().is_none());
    let packaged = packaged
        .flat_map(|directory| files::names(state.manager).iter().map(move |name| directory.join(name)));
    packaged.chain(state.files.iter().map(|file| state.directory.join(file.name))).collect()
}

fn status_text(state: &ServiceState, daemon: Option<&Status>) -> String {
    let mut text = String::new();
    if !state.is_installed() {
        text += "not installed; run: authctl service install\n";
    }
    for unit in state.units.iter().filter(|unit| unit.loaded) {
        let enabled = if unit.enabled { "enabled" } else { "not enabled" };
        let process = unit.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
        text += &format!("{}: {enabled}, {}{process}\n", unit.name, unit.state);
        text += &unit.status_text.as_deref().map(|status| format!("  {status}\n")).unwrap_or_default();
    }
    text += &match daemon {
        Some(daemon) => format!("the daemon answers: version {}\n", daemon.version),
        None => "the daemon does not answer\n".to_owned(),
    };
    if let Some(pid) = state.unmanaged_pid {
        text += &format!("process {pid} is a daemon outside the service; authctl service install stops it\n");
    }
    for path in active_files(state).iter().chain(&drop_in_directories(state)) {
        text += &format!("{}\n", path.display());
    }
    text
}

/// Replaces this process by the program that shows the log; returns on an error only.
fn logs(state: &ServiceState, follow: bool, lines: u32, out: Output) -> CliError {
    if !state.is_installed() {
        let log = Paths::of_service().map(|paths| paths.state_dir.join("authd.log")).unwrap_or_default();
        let problem = Problem::new(ErrorCode::NoDaemon, "the service is not installed, so it has no log");
        let hint = format!("a daemon that authctl login started writes to {}", log.display());
        return problem.hint(hint).into();
    }
    let command = match (state.manager, agent_log()) {
        (ServiceManager::Systemd, _) => journalctl(follow, lines, out.json),
        (ServiceManager::Launchd { .. }, Ok(log)) => tail(&log, follow, lines),
        (ServiceManager::Launchd { .. }, Err(error)) => return error,
    };
    out.verbose(&format!("run: {}", command.join(" ")));
    manager::exec(&command)
}

fn journalctl(follow: bool, lines: u32, json: bool) -> Vec<String> {
    let (lines, output) = (lines.to_string(), if json { "json" } else { "short" });
    let args = ["journalctl", "--user", "--no-pager", "-o", output, "-u", "authd", "-n", &lines];
    args.into_iter().chain(follow.then_some("-f")).map(ToOwned::to_owned).collect()
}

/// The options come first: the `tail` of macOS ignores those after the file.
fn tail(log: &Path, follow: bool, lines: u32) -> Vec<String> {
    let (lines, log) = (lines.to_string(), log.display().to_string());
    let args = ["tail"].into_iter().chain(follow.then_some("-f")).chain(["-n", &lines, &log]);
    args.map(ToOwned::to_owned).collect()
}

/// The log of the launchd agent.
fn agent_log() -> CliResult<PathBuf> {
    Ok(manager::home()?.join("Library/Logs/authd.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_is_shown_by_journalctl_or_tail() {
        let text = |command: Vec<String>| command.join(" ");
        assert_eq!(
            text(journalctl(true, 100, false)),
            "journalctl --user --no-pager -o short -u authd -n 100 -f"
        );
        assert_eq!(text(journalctl(false, 7, true)), "journalctl --user --no-pager -o json -u authd -n 7");
        let log = Path::new("/home/u/Library/Logs/authd.log");
        assert_eq!(text(tail(log, true, 100)), "tail -f -n 100 /home/u/Library/Logs/authd.log");
        assert_eq!(text(tail(log, false, 7)), "tail -n 7 /home/u/Library/Logs/authd.log");
    }
}
