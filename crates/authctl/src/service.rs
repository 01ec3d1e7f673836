//! authd under the user's service manager: what is there, what should be, and the steps from the one to
//! the other. It decides and does nothing; `manager` looks and acts, `files` has the units' texts.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

pub(crate) mod files;
pub(crate) mod manager;
mod unit_file;

use self::files::File;

/// A service manager of users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Manager {
    /// `systemd --user`.
    Systemd,
    /// launchd, and the user's number in the name of its domain.
    Launchd {
        /// The user's number.
        uid: u32,
    },
}

/// A unit, as the manager has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Unit {
    /// Its name.
    pub(crate) name: String,
    /// The manager knows it.
    pub(crate) loaded: bool,
    /// It is started when the person signs in to the machine.
    pub(crate) enabled: bool,
    /// How it is now, in the manager's word.
    pub(crate) state: String,
    /// Its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pid: Option<i32>,
    /// What the daemon says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) says: Option<String>,
}

/// What is there.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Whose units they are.
    pub(crate) manager: Manager,
    /// The directory of the user's own units.
    pub(crate) directory: PathBuf,
    /// Those of our files that lie there, as they are.
    pub(crate) files: Vec<File>,
    /// A directory where a package has put the units.
    pub(crate) packaged: Option<PathBuf>,
    /// The units that should be, whether they are there or not.
    pub(crate) units: Vec<Unit>,
    /// The process of a daemon that serves the service's socket and is not the service's.
    pub(crate) stranger: Option<i32>,
}

/// One step from what is there to what should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// A file is written, whatever is there.
    Write {
        /// Where.
        path: PathBuf,
        /// What.
        text: String,
    },
    /// A file is removed.
    Remove(PathBuf),
    /// A daemon is asked to stop, and waited for.
    Stop(i32),
    /// A command is run.
    Run(Vec<String>),
}

impl Manager {
    /// The one of this platform.
    pub(crate) fn of_this_platform() -> Self {
        if cfg!(target_os = "macos") {
            Self::Launchd { uid: rustix::process::getuid().as_raw() }
        } else {
            Self::Systemd
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Launchd { .. } => "launchd",
        }
    }

    /// The units' names, the daemon's last.
    pub(crate) fn units(self) -> &'static [&'static str] {
        match self {
            Self::Systemd => &["authd.socket", "authd.service"],
            Self::Launchd { .. } => &[files::LABEL],
        }
    }

    /// A command of its own, word by word.
    fn command(self, args: &[&str]) -> Vec<String> {
        let program: &[&str] = match self {
            Self::Systemd => &["systemctl", "--user"],
            Self::Launchd { .. } => &["launchctl"],
        };
        program.iter().chain(args).map(ToString::to_string).collect()
    }
}

impl Unit {
    /// It does what it is for, in systemd's word or launchd's.
    pub(crate) fn is_running(&self) -> bool {
        ["active", "running"].contains(&self.state.as_str())
    }

    /// It runs, or is about to, or is tried again and again, or waits for its turn.
    fn is_up(&self) -> bool {
        !["", "inactive", "failed"].contains(&self.state.as_str())
    }

    fn has_failed(&self) -> bool {
        self.state == "failed"
    }
}

impl Facts {
    /// Whether there is anything of ours.
    pub(crate) fn is_installed(&self) -> bool {
        !self.files.is_empty() || self.packaged.is_some() || self.units.iter().any(|unit| unit.loaded)
    }

    /// Whether everything is started when the person signs in to the machine.
    pub(crate) fn is_enabled(&self) -> bool {
        self.units.iter().all(|unit| unit.enabled)
    }

    /// Whether everything runs.
    pub(crate) fn is_running(&self) -> bool {
        self.units.iter().all(Unit::is_running)
    }

    /// The daemon's own unit.
    pub(crate) fn daemon(&self) -> Option<&Unit> {
        self.units.last()
    }

    /// What has to be done so that these files are there, and what they describe runs; nothing, where that
    /// is so. A package's units are enabled and started, and no second ones written.
    pub(crate) fn install(&self, wanted: &[File]) -> Vec<Step> {
        let unwritten: Vec<&File> = match self.packaged {
            Some(_) => Vec::new(),
            None => wanted.iter().filter(|file| !self.files.contains(file)).collect(),
        };
        let changed = !unwritten.is_empty();
        if !changed && self.is_enabled() && self.is_running() && self.stranger.is_none() {
            return Vec::new();
        }
        let mut steps = Vec::new();
        // What runs by the old files would go on by them.
        if changed && self.units.iter().any(Unit::is_up) {
            steps.push(self.stop());
        }
        steps.extend(
            unwritten
                .into_iter()
                .map(|file| Step::Write { path: self.directory.join(file.name), text: file.text.clone() }),
        );
        steps.extend(self.stranger.map(Step::Stop));
        match self.manager {
            Manager::Systemd => {
                steps.push(self.run(&["daemon-reload"]));
                steps.push(self.run(&["enable", "--now", "authd.socket", "authd.service"]));
            }
            Manager::Launchd { uid } => {
                let at = self.packaged.as_deref().unwrap_or(&self.directory).join(files::AGENT);
                steps.push(self.run(&["enable", &service(uid)]));
                steps.push(if changed || !self.units.iter().any(Unit::is_up) {
                    self.run(&["bootstrap", &domain(uid), &at.to_string_lossy()])
                } else {
                    self.run(&["kickstart", &service(uid)])
                });
            }
        }
        steps
    }

    /// What has to be done so that nothing of it is left; a package's files are the package's to remove.
    pub(crate) fn uninstall(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.units.iter().any(|unit| unit.is_up() || (unit.loaded && unit.enabled)) {
            match self.manager {
                Manager::Systemd => {
                    let known = self.units.iter().filter(|unit| unit.loaded).map(|unit| unit.name.as_str());
                    let args: Vec<&str> = ["disable", "--now"].into_iter().chain(known).collect();
                    steps.push(self.run(&args));
                }
                Manager::Launchd { .. } => steps.push(self.stop()),
            }
        }
        steps.extend(self.files.iter().map(|file| Step::Remove(self.directory.join(file.name))));
        if self.manager == Manager::Systemd {
            if !self.files.is_empty() {
                steps.push(self.run(&["daemon-reload"]));
            }
            // A failed unit is remembered although its file is gone.
            for unit in self.units.iter().filter(|unit| unit.has_failed()) {
                steps.push(self.run(&["reset-failed", &unit.name]));
            }
        }
        steps
    }

    fn run(&self, args: &[&str]) -> Step {
        Step::Run(self.manager.command(args))
    }

    fn stop(&self) -> Step {
        match self.manager {
            Manager::Systemd => {
                let up = self.units.iter().filter(|unit| unit.is_up()).map(|unit| unit.name.as_str());
                self.run(&["stop"].into_iter().chain(up).collect::<Vec<_>>())
            }
            Manager::Launchd { uid } => self.run(&["bootout", &service(uid)]),
        }
    }
}

/// Where a person's own agents live.
fn domain(uid: u32) -> String {
    format!("gui/{uid}")
}

/// Our agent in that place.
fn service(uid: u32) -> String {
    format!("gui/{uid}/{}", files::LABEL)
}

impl fmt::Display for Step {
    /// What the step is going to do, as a person would do it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { path, text } => {
                let indented = text.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n");
                write!(out, "write {}:\n{}", path.display(), indented.collect::<String>())
            }
            Self::Remove(path) => write!(out, "rm {}", path.display()),
            Self::Stop(pid) => write!(out, "kill {pid}    # a daemon that is not the service's"),
            Self::Run(words) => write!(out, "{}", words.join(" ")),
        }
    }
}

impl Step {
    /// The same, once it is done; a file's text needs no repeating.
    pub(crate) fn done(&self) -> String {
        match self {
            Self::Write { path, .. } => format!("wrote {}", path.display()),
            Self::Remove(path) => format!("removed {}", path.display()),
            Self::Stop(pid) => format!("stopped authd (process {pid}), which was not the service's"),
            Self::Run(words) => format!("ran: {}", words.join(" ")),
        }
    }
}

/// Why no service manager can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unreachable {
    /// Its program is not there.
    Missing(&'static str),
    /// It is there, and something else runs this machine, as in a container.
    Idle(&'static str),
    /// It does not run for this person, and says why.
    Silent(String),
}

impl Unreachable {
    /// What happened, and what to do instead. `runtime` is the runtime directory of this person's manager if
    /// there is one that this shell was not told of.
    pub(crate) fn words(&self, runtime: Option<&Path>) -> (String, String) {
        match (self, runtime) {
            (Self::Missing(program), _) => (
                format!("there is no service manager here: {program} is not installed"),
                "run the daemon without one: authd &".to_owned(),
            ),
            (Self::Idle(name), _) => (
                format!("there is no service manager here: {name} is installed, but does not run"),
                "run the daemon without one: authd &".to_owned(),
            ),
            (Self::Silent(_), Some(runtime)) => (
                "this shell was not told where your service manager is".to_owned(),
                format!("run: export XDG_RUNTIME_DIR={}", runtime.display()),
            ),
            (Self::Silent(why), None) => (
                format!("no service manager runs for you: {why}"),
                "have one started: sudo loginctl enable-linger \"$(id -un)\"; \
                 or run the daemon without one: authd &"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests;
