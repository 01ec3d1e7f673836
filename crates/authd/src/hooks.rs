//! Runs the configured commands and shows a notification when a user has to act, and when little of
//! a quota is left: once for each change of a profile's state and for each window, never for a
//! request.

use std::{collections::HashMap, process::Stdio, time::Duration};

use authd_api::{Profile, ProfileName, ProfileState, Quota, QuotaWindow};
use authd_broker::{ChangeEvent, ProfileRegistry, RegistrySnapshot};
use authd_oauth::QuotaReading;
use jiff::SignedDuration;
use serde::Serialize;
use tokio::{
    io::AsyncWriteExt,
    process::Command,
    sync::broadcast::{self, error::RecvError},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::config::HookConfig;

mod desktop;

/// Longest run time of a command.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Builds the messages that the commands receive.
pub(crate) struct Describe {
    /// The message about a profile.
    pub(crate) profile: fn(&RegistrySnapshot, &ProfileName) -> Option<Profile>,
    /// The message about the windows of a profile's quota that have become low.
    pub(crate) low_quota: fn(&ProfileName, &QuotaReading) -> Quota,
}

/// Watches every profile's state until the shutdown.
pub(crate) async fn watch(
    hooks: HookConfig,
    mut events: broadcast::Receiver<ChangeEvent>,
    registry: ProfileRegistry,
    describe: Describe,
    stopping: CancellationToken,
) {
    let mut known = HashMap::new();
    let running = TaskTracker::new();
    loop {
        let event = tokio::select! {
            () = stopping.cancelled() => return,
            event = events.recv() => event,
        };
        let names = match event {
            Ok(ChangeEvent::Profile(name)) => vec![name],
            Ok(ChangeEvent::QuotaLow(name, low)) => {
                warn_of_low_quota(&hooks, &(describe.low_quota)(&name, &low), &running);
                continue;
            }
            Ok(
                ChangeEvent::Login(_)
                | ChangeEvent::CodexHome(_)
                | ChangeEvent::Share(_)
                | ChangeEvent::Quota(_),
            ) => continue,
            // A missed event may be about any profile.
            Err(RecvError::Lagged(_)) => registry.snapshot().profiles.keys().cloned().collect(),
            Err(RecvError::Closed) => return,
        };
        let snapshot = registry.snapshot();
        for profile in names.iter().filter_map(|name| (describe.profile)(&snapshot, name)) {
            let need = UserAction::of(&profile);
            // The state at the start is no change.
            let before = known.insert(profile.name.clone(), need).unwrap_or(need);
            if before != need {
                act(&hooks, need, &profile, &running);
            }
        }
    }
}

/// What the user has to do for a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UserAction {
    Nothing,
    /// Sign in again. The access token may still be valid.
    SignIn,
    /// Repair the store.
    Save,
}

impl UserAction {
    fn of(profile: &Profile) -> Self {
        match profile.state {
            _ if profile.sign_in_required => Self::SignIn,
            ProfileState::Unsaved => Self::Save,
            ProfileState::Ready
            | ProfileState::Refreshing
            | ProfileState::Expired
            | ProfileState::LoginRequired
            | ProfileState::Unread
            | ProfileState::Unknown => Self::Nothing,
        }
    }
}

fn act(hooks: &HookConfig, need: UserAction, profile: &Profile, running: &TaskTracker) {
    let (command, summary) = match need {
        UserAction::Nothing => return,
        UserAction::SignIn => (&hooks.login_required, "Sign-in required"),
        UserAction::Save => (&hooks.unsaved, "Sign-in not saved"),
    };
    if hooks.notify {
        let problem = profile.last_error.as_ref();
        let sentence = problem.map_or_else(String::new, |problem| problem.detail.clone());
        let remedy = problem.and_then(|problem| problem.hint.clone()).unwrap_or_default();
        desktop::notify(summary, &format!("{sentence}\n{remedy}"));
    }
    start(command, profile, running);
}

fn warn_of_low_quota(hooks: &HookConfig, quota: &Quota, running: &TaskTracker) {
    if hooks.notify {
        let name = &quota.profile;
        let lines: String = quota.windows.iter().map(|window| line(window) + "\n").collect();
        desktop::notify(
            "Usage limit nearly reached",
            &format!("Profile \"{name}\"\n{lines}authctl quota {name}"),
        );
    }
    start(&hooks.quota_low, quota, running);
}

/// What is left of a window, in one line.
fn line(window: &QuotaWindow) -> String {
    let of = window.limit.as_ref().map(|limit| format!(" of {limit}")).unwrap_or_default();
    let left = window.left_percent().map_or("?".to_owned(), |left| format!("{left:.0}"));
    let wait =
        window.resets_at.map(|at| SignedDuration::from_mins(at.duration_since(window.as_of).as_mins()));
    let reset = wait.map(|wait| format!(", resets in {wait:#}")).unwrap_or_default();
    format!("{left} % left of {}{of}{reset}", window.window)
}

/// Starts a command with a message on its stdin; an empty one is none.
fn start(command: &[String], message: &impl Serialize, running: &TaskTracker) {
    if let Some((program, args)) = command.split_first() {
        let input = serde_json::to_vec(message).expect("messages serialize");
        running.spawn(run(program.clone(), args.to_vec(), input));
    }
}

/// Runs a command with a message on its stdin, without a terminal. It is killed at the shutdown.
async fn run(program: String, args: Vec<String>, input: Vec<u8>) {
    let mut command = Command::new(&program);
    command.args(args).current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            warn!(%error, program, "hook not started");
            return;
        }
    };
    let stdin = child.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            // A command may close its stdin without reading it.
            drop(stdin.write_all(&input).await);
        }
        child.wait().await
    };
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(Ok(status)) if status.success() => debug!(program, "hook finished"),
        Ok(Ok(status)) => warn!(program, %status, "hook failed"),
        Ok(Err(error)) => warn!(program, %error, "hook failed"),
        Err(_) => warn!(program, "hook killed after {} s", TIMEOUT.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use authd_api::Quota;
    use serde_json::json;

    use super::line;

    #[test]
    fn low_window_is_described_in_one_line() {
        let quota = json!({"profile": "work", "limit_reached": false, "as_of": null, "stale": false,
            "windows": [
                {"window": "7d", "seconds": 604_800, "used_percent": 92.4, "as_of": "2026-11-23T14:00:00Z",
                    "resets_at": "2026-11-26T18:12:30Z"},
                {"window": "5h", "seconds": 18_000, "limit": "Spark", "used_percent": 100.0,
                    "as_of": "2026-11-23T14:00:00Z", "resets_at": null}]});
        let quota: Quota = serde_json::from_value(quota).unwrap();
        let lines: Vec<_> = quota.windows.iter().map(line).collect();
        assert_eq!(lines, ["8 % left of 7d, resets in 76h 12m", "0 % left of 5h of Spark"]);
    }
}
