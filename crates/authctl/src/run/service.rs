//! `authctl service`: puts the daemon under the user's service manager, and takes it away again. What has
//! to be done is decided in `crate::service`; here it is shown, done and told.

use std::path::{Path, PathBuf};

use authd_api::{Client, ErrorCode, Paths, Problem, Status};
use serde_json::json;

use super::within;
use crate::{
    cli::{Rehearsal, ServiceDeed},
    failure::Failure,
    out::Out,
    service::{
        Facts, Manager, Step, Unit,
        files::{self, File},
        manager,
    },
    start,
};

/// The exit code of a status that says no.
const NOT_RUNNING: u8 = 9;

/// Does what is asked of the service.
pub(super) async fn service(own_socket: bool, deed: ServiceDeed, out: Out) -> Result<(), Failure> {
    if own_socket {
        let detail = "the service has its socket in the usual place: --socket is not for it";
        let hint = "run a daemon elsewhere by hand: authd --socket PATH";
        return Err(Problem::new(ErrorCode::BadRequest, detail).hint(hint).into());
    }
    let manager = Manager::of_this_platform();
    let reached = manager::reach(manager);
    let rehearsed = matches!(&deed, ServiceDeed::Install(how) | ServiceDeed::Uninstall(how) if how.print);
    match &reached {
        Err(why) if !rehearsed => return Err(manager::unreachable(why)),
        Err(why) => out.say(&format!("note: {}", why.words(None).0)),
        Ok(()) => {}
    }
    let facts = manager::look(manager, reached.is_ok())?;
    if matches!(&deed, ServiceDeed::Install(how) | ServiceDeed::Uninstall(how) if !how.print) {
        manager::remove_left_over(&facts);
    }
    match deed {
        ServiceDeed::Install(Rehearsal { print }) => {
            let steps = facts.install(&wanted(&facts)?);
            warn(&facts, out);
            if print { show(&steps, out) } else { install(&facts, &steps, out).await }
        }
        ServiceDeed::Uninstall(Rehearsal { print }) => {
            let steps = facts.uninstall();
            if print { show(&steps, out) } else { uninstall(&facts, &steps, out) }
        }
        ServiceDeed::Status => status(&facts, out).await,
        ServiceDeed::Logs { follow, lines } => Err(logs(&facts, follow, lines, out)),
    }
}

/// The units for the daemon that belongs to this program; a package brings its own.
fn wanted(facts: &Facts) -> Result<Vec<File>, Failure> {
    if facts.packaged.is_some() {
        return Ok(Vec::new());
    }
    let program = start::installed_program().ok_or_else(|| {
        let detail = "there is no authd beside this authctl, and none in PATH";
        Problem::new(ErrorCode::NotFound, detail).hint("install it: cargo install --path crates/authd")
    })?;
    files::files(facts.manager, &program, &manager::home()?).ok_or_else(|| {
        let detail = format!("no unit can name {}", program.display());
        Problem::new(ErrorCode::BadRequest, detail).hint("put authd and authctl elsewhere").into()
    })
}

/// What a person may not expect.
fn warn(facts: &Facts, out: Out) {
    if let Some(name) = start::moved() {
        out.say(&format!("note: {name} is set in this shell, and the service does not know it"));
    }
    if let (Some(place), Some(File { name, .. })) = (&facts.packaged, facts.files.first()) {
        let own = facts.directory.join(name);
        out.say(&format!("note: {} hides the package's in {}", own.display(), place.display()));
        out.say("      authctl service uninstall removes it");
    }
}

/// What would be done, in the form that a person could do it.
fn show(steps: &[Step], out: Out) -> Result<(), Failure> {
    if out.wants_json() {
        return out.json(&json!({"would": steps}));
    }
    if steps.is_empty() {
        out.say("nothing is to be done");
    }
    out.answer(&steps.iter().map(|step| format!("{}\n", step.to_string().trim_end())).collect::<String>())
}

fn take(steps: &[Step], out: Out) -> Result<(), Failure> {
    steps.iter().try_for_each(|step| {
        manager::act(step)?;
        out.say(&step.done());
        Ok(())
    })
}

async fn install(facts: &Facts, steps: &[Step], out: Out) -> Result<(), Failure> {
    take(steps, out)?;
    let client = Client::new(Paths::of_service()?.socket);
    let daemon = match facts.manager {
        Manager::Systemd => within(client.status()).await?,
        // Its commands return before the daemon has begun.
        Manager::Launchd { .. } => {
            start::comes(&client, &agent_log()?).await?;
            within(client.status()).await?
        }
    };
    let whose = match &facts.packaged {
        Some(place) => format!("with the package's units in {}", place.display()),
        None => format!("with units in {}", facts.directory.display()),
    };
    let already = if steps.is_empty() { "already installed" } else { "installed" };
    out.say(&format!("authd is {already}, {whose}, and runs as process {}", daemon.pid));
    if out.wants_json() { out.json(&json!({"done": steps, "daemon": daemon})) } else { Ok(()) }
}

fn uninstall(facts: &Facts, steps: &[Step], out: Out) -> Result<(), Failure> {
    take(steps, out)?;
    let how = if steps.is_empty() { "was not installed" } else { "is no service any more" };
    out.say(&format!("authd {how}; logins are where they were"));
    if let Some(place) = &facts.packaged {
        out.say(&format!("the package's units stay in {}, disabled", place.display()));
    }
    for kept in additions(facts).iter().filter(|_| facts.packaged.is_none()) {
        out.say(&format!("kept, because it is yours: {}", kept.display()));
    }
    if out.wants_json() { out.json(&json!({"done": steps})) } else { Ok(()) }
}

/// What a person has added to the units.
fn additions(facts: &Facts) -> Vec<PathBuf> {
    let names = facts.manager.units().iter();
    names.map(|name| facts.directory.join(format!("{name}.d"))).filter(|place| place.is_dir()).collect()
}

/// Asks the daemon only if that does not start it: a status that changes what it shows is none.
async fn status(facts: &Facts, out: Out) -> Result<(), Failure> {
    let runs = facts.daemon().is_some_and(Unit::is_running) || facts.stranger.is_some();
    let client = Client::new(Paths::of_service()?.socket);
    let daemon = if runs { within(client.status()).await.ok() } else { None };
    if out.wants_json() {
        out.json(&json!({
            "manager": facts.manager.name(),
            "installed": facts.is_installed(),
            "enabled": facts.is_enabled(),
            "running": facts.is_running(),
            "packaged": facts.packaged,
            "directory": facts.directory,
            "files": files_in_use(facts),
            "additions": additions(facts),
            "units": facts.units,
            "stranger": facts.stranger,
            "daemon": daemon,
        }))?;
    } else {
        out.answer(&words(facts, daemon.as_ref()))?;
    }
    if facts.is_installed() && facts.is_running() { Ok(()) } else { Err(Failure::Told(NOT_RUNNING)) }
}

/// The unit files that the manager reads.
fn files_in_use(facts: &Facts) -> Vec<PathBuf> {
    let own = facts.files.iter().map(|file| facts.directory.join(file.name));
    let place = facts.packaged.iter().filter(|_| facts.files.is_empty());
    own.chain(place.flat_map(|place| files::names(facts.manager).iter().map(|name| place.join(name))))
        .collect()
}

fn words(facts: &Facts, daemon: Option<&Status>) -> String {
    let mut text = String::new();
    if !facts.is_installed() {
        text += "not installed; run: authctl service install\n";
    }
    for unit in facts.units.iter().filter(|unit| unit.loaded) {
        let enabled = if unit.enabled { "enabled" } else { "not enabled" };
        let process = unit.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
        text += &format!("{}: {enabled}, {}{process}\n", unit.name, unit.state);
        text += &unit.says.as_deref().map(|says| format!("  {says}\n")).unwrap_or_default();
    }
    match daemon {
        Some(daemon) => text += &format!("the daemon answers: version {}\n", daemon.version),
        None => text += "no daemon answers\n",
    }
    if let Some(pid) = facts.stranger {
        text += &format!(
            "process {pid} is a daemon that is not the service's; authctl service install stops it\n"
        );
    }
    for file in files_in_use(facts).iter().chain(&additions(facts)) {
        text += &format!("{}\n", file.display());
    }
    text
}

/// Becomes the program that shows the log; returns only if that cannot be.
fn logs(facts: &Facts, follow: bool, lines: u32, out: Out) -> Failure {
    if !facts.is_installed() {
        let log = Paths::of_service().map(|paths| paths.state_dir.join("authd.log"));
        let log = log.map(|log| log.display().to_string()).unwrap_or_default();
        let problem = Problem::new(ErrorCode::NotFound, "the service is not installed, and has no log");
        return problem.hint(format!("a daemon that authctl login has started writes to {log}")).into();
    }
    let command = match (facts.manager, agent_log()) {
        (Manager::Systemd, _) => journal(follow, lines, out.wants_json()),
        (Manager::Launchd { .. }, Ok(log)) => tail(&log, follow, lines),
        (Manager::Launchd { .. }, Err(failure)) => return failure,
    };
    out.explain(&format!("run: {}", command.join(" ")));
    manager::become_program(&command)
}

/// What shows the journal of the service.
fn journal(follow: bool, lines: u32, json: bool) -> Vec<String> {
    let (lines, output) = (lines.to_string(), if json { "json" } else { "short" });
    let words = ["journalctl", "--user", "--no-pager", "-o", output, "-u", "authd", "-n", &lines];
    words.into_iter().chain(follow.then_some("-f")).map(ToOwned::to_owned).collect()
}

/// What shows the agent's file. Options come before a file.
fn tail(log: &Path, follow: bool, lines: u32) -> Vec<String> {
    let (lines, log) = (lines.to_string(), log.display().to_string());
    let words = ["tail"].into_iter().chain(follow.then_some("-f")).chain(["-n", &lines, &log]);
    words.map(ToOwned::to_owned).collect()
}

/// Where the agent of launchd writes.
fn agent_log() -> Result<PathBuf, Failure> {
    Ok(manager::home()?.join("Library/Logs/authd.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_shown_by_whoever_has_it() {
        let said = |words: Vec<String>| words.join(" ");
        assert_eq!(
            said(journal(true, 100, false)),
            "journalctl --user --no-pager -o short -u authd -n 100 -f"
        );
        assert_eq!(said(journal(false, 7, true)), "journalctl --user --no-pager -o json -u authd -n 7");
        let log = Path::new("/home/u/Library/Logs/authd.log");
        assert_eq!(said(tail(log, true, 100)), "tail -f -n 100 /home/u/Library/Logs/authd.log");
        assert_eq!(said(tail(log, false, 7)), "tail -n 7 /home/u/Library/Logs/authd.log");
    }
}
