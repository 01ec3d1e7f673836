//! authd as a service of the user: the state, and the steps that install or remove it. This module
//! only computes; `manager` reads the state and executes the steps, `files` has the texts of the
//! units.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

pub(crate) mod drop_in;
pub(crate) mod files;
pub(crate) mod manager;
mod unit_file;

/// The name of the agent in launchd.
pub(crate) const LABEL: &str = "io.authd.authd";

/// The file of the agent.
pub(crate) const AGENT: &str = "io.authd.authd.plist";

/// The drop-in of the service, in the directory of the user's units. One of the user's own
/// (`override.conf`) comes later in the alphabet, so its settings win.
pub(crate) const DROP_IN: &str = "authd.service.d/authd-paths.conf";

/// A service manager of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceManager {
    /// `systemd --user`.
    Systemd,
    /// launchd. The user id is part of the name of its domain.
    Launchd { uid: u32 },
}

/// A file in the directory of the user's own units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnitFile {
    pub(crate) name: &'static str,
    pub(crate) text: String,
}

/// A unit as the service manager reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Unit {
    pub(crate) name: String,
    /// The manager knows it.
    pub(crate) loaded: bool,
    /// It starts when the user signs in to the machine.
    pub(crate) enabled: bool,
    /// Its state, in the words of the manager.
    pub(crate) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    /// The status text that the daemon sent to the manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status_text: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct ServiceState {
    pub(crate) manager: ServiceManager,
    /// The directory of the user's own units.
    pub(crate) directory: PathBuf,
    /// The files of authd in that directory: the units, and the drop-in.
    pub(crate) files: Vec<UnitFile>,
    /// The directory of the units that a package installed.
    pub(crate) packaged: Option<PathBuf>,
    /// All units of authd, whether they exist or not.
    pub(crate) units: Vec<Unit>,
    /// The process of a daemon that runs outside the service and has the socket of the service.
    pub(crate) unmanaged_pid: Option<i32>,
}

/// A step of an installation or removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    Write {
        path: PathBuf,
        text: String,
    },
    Remove(PathBuf),
    /// Create a private directory, with its parents.
    CreateDirectory(PathBuf),
    /// Stop a daemon, and wait for its end.
    Stop(i32),
    Run(Vec<String>),
}

impl ServiceManager {
    pub(crate) fn of_this_platform() -> Self {
        if cfg!(target_os = "macos") {
            Self::Launchd { uid: rustix::process::getuid().as_raw() }
        } else {
            Self::Systemd
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd { .. } => "launchd",
        }
    }

    /// The names of the units, the one of the daemon last.
    pub(crate) fn units(self) -> &'static [&'static str] {
        match self {
            Self::Systemd => &["authd.socket", "authd.service"],
            Self::Launchd { .. } => &[LABEL],
        }
    }

    /// The program and the arguments of a command to the manager.
    fn command(self, args: &[&str]) -> Vec<String> {
        let program: &[&str] = match self {
            Self::Systemd => &["systemctl", "--user"],
            Self::Launchd { .. } => &["launchctl"],
        };
        program.iter().chain(args).map(ToString::to_string).collect()
    }
}

impl Unit {
    pub(crate) fn is_running(&self) -> bool {
        ["active", "running"].contains(&self.state.as_str())
    }

    /// It runs, or the manager is going to start it.
    fn is_up(&self) -> bool {
        !["", "inactive", "failed"].contains(&self.state.as_str())
    }
}

impl ServiceState {
    pub(crate) fn is_installed(&self) -> bool {
        !self.files.is_empty() || self.packaged.is_some() || self.units.iter().any(|unit| unit.loaded)
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.units.iter().all(|unit| unit.enabled)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.units.iter().all(Unit::is_running)
    }

    /// The user's own units, without the drop-in.
    pub(crate) fn own_units(&self) -> impl Iterator<Item = &UnitFile> {
        self.files.iter().filter(|file| file.name != DROP_IN)
    }

    /// The unit of the daemon.
    pub(crate) fn daemon_unit(&self) -> Option<&Unit> {
        self.units.last()
    }

    /// The steps after which these files exist and their units run; none if that is the state
    /// already. Units of a package are not among the files: they are enabled and started only.
    pub(crate) fn install(&self, wanted: &[UnitFile]) -> Vec<Step> {
        let changed: Vec<&UnitFile> = wanted.iter().filter(|file| !self.files.contains(file)).collect();
        let is_drop_in = |file: &&UnitFile| file.name == DROP_IN;
        let stale =
            self.files.iter().find(is_drop_in).filter(|_| !wanted.iter().any(|file| is_drop_in(&file)));
        let is_changed = !changed.is_empty() || stale.is_some();
        let is_up = self.units.iter().any(Unit::is_up);
        if !is_changed && self.is_enabled() && self.is_running() && self.unmanaged_pid.is_none() {
            return Vec::new();
        }
        let mut steps = Vec::new();
        // A running unit would continue with its old file.
        if is_changed && is_up {
            steps.push(self.stop());
        }
        let write =
            |file: &UnitFile| Step::Write { path: self.directory.join(file.name), text: file.text.clone() };
        steps.extend(changed.into_iter().map(write));
        steps.extend(stale.map(|file| Step::Remove(self.directory.join(file.name))));
        steps.extend(self.unmanaged_pid.map(Step::Stop));
        match self.manager {
            ServiceManager::Systemd => {
                steps.push(self.run(&["daemon-reload"]));
                steps.push(self.run(&["enable", "--now", "authd.socket", "authd.service"]));
            }
            ServiceManager::Launchd { uid } => {
                let agent = self.packaged.as_deref().unwrap_or(&self.directory).join(AGENT);
                steps.push(self.run(&["enable", &launchd_service(uid)]));
                steps.push(if is_changed || !is_up {
                    self.run(&["bootstrap", &launchd_domain(uid), &agent.to_string_lossy()])
                } else {
                    self.run(&["kickstart", &launchd_service(uid)])
                });
            }
        }
        steps
    }

    /// The steps that remove the service. Files of a package stay.
    pub(crate) fn uninstall(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.units.iter().any(|unit| unit.is_up() || (unit.loaded && unit.enabled)) {
            steps.push(match self.manager {
                ServiceManager::Systemd => self.run_on(&["disable", "--now"], |unit| unit.loaded),
                ServiceManager::Launchd { .. } => self.stop(),
            });
        }
        steps.extend(self.files.iter().map(|file| Step::Remove(self.directory.join(file.name))));
        if self.manager == ServiceManager::Systemd {
            if !self.files.is_empty() {
                steps.push(self.run(&["daemon-reload"]));
            }
            // systemd remembers a failed unit without a file.
            let failed = self.units.iter().filter(|unit| unit.state == "failed");
            steps.extend(failed.map(|unit| self.run(&["reset-failed", &unit.name])));
        }
        steps
    }

    fn run(&self, args: &[&str]) -> Step {
        Step::Run(self.manager.command(args))
    }

    /// A command whose last arguments are the names of some units.
    fn run_on(&self, args: &[&str], filter: impl Fn(&Unit) -> bool) -> Step {
        let units = self.units.iter().filter(|unit| filter(unit)).map(|unit| unit.name.as_str());
        self.run(&args.iter().copied().chain(units).collect::<Vec<_>>())
    }

    fn stop(&self) -> Step {
        match self.manager {
            ServiceManager::Systemd => self.run_on(&["stop"], Unit::is_up),
            ServiceManager::Launchd { uid } => self.run(&["bootout", &launchd_service(uid)]),
        }
    }
}

/// The domain of the user's agents.
fn launchd_domain(uid: u32) -> String {
    format!("gui/{uid}")
}

/// The agent of authd in that domain.
fn launchd_service(uid: u32) -> String {
    format!("gui/{uid}/{LABEL}")
}

impl fmt::Display for Step {
    /// The step as a command to type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { path, text } => {
                let indented = text.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n");
                write!(f, "write {}:\n{}", path.display(), indented.collect::<String>())
            }
            Self::Remove(path) => write!(f, "rm {}", path.display()),
            Self::CreateDirectory(path) => write!(f, "mkdir -p -m 700 {}", path.display()),
            Self::Stop(pid) => write!(f, "kill {pid}    # a daemon outside the service"),
            Self::Run(command) => write!(f, "{}", command.join(" ")),
        }
    }
}

impl Step {
    /// The message after the step.
    pub(crate) fn done(&self) -> String {
        match self {
            Self::Write { path, .. } => format!("wrote {}", path.display()),
            Self::Remove(path) => format!("removed {}", path.display()),
            Self::CreateDirectory(path) => format!("created {}", path.display()),
            Self::Stop(pid) => format!("stopped authd (process {pid}), which ran outside the service"),
            Self::Run(command) => format!("ran: {}", command.join(" ")),
        }
    }
}

/// Why the service manager cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// Its program is not installed.
    NotInstalled(&'static str),
    /// It is installed, but does not run this machine, for example in a container.
    NotRunning(&'static str),
    /// It does not answer this user. The text is its own message.
    NoAnswer(String),
}

impl Unreachable {
    /// The detail and the hint. `runtime_dir` is the runtime directory of the user's manager, if it
    /// exists and `XDG_RUNTIME_DIR` is not set.
    pub(crate) fn explain(&self, runtime_dir: Option<&Path>) -> (String, String) {
        let run_directly = "run the daemon without one: authd &";
        match (self, runtime_dir) {
            (Self::NotInstalled(program), _) => {
                (format!("no service manager: {program} is not installed"), run_directly.to_owned())
            }
            (Self::NotRunning(name), _) => (
                format!("no service manager: {name} is installed, but does not run"),
                run_directly.to_owned(),
            ),
            (Self::NoAnswer(_), Some(directory)) => (
                "XDG_RUNTIME_DIR is not set, so the service manager cannot be found".to_owned(),
                format!("run: export XDG_RUNTIME_DIR={}", directory.display()),
            ),
            (Self::NoAnswer(message), None) => (
                format!("no service manager runs for this user: {message}"),
                format!("start one: sudo loginctl enable-linger \"$(id -un)\"; or {run_directly}"),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
