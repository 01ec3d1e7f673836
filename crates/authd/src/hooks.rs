//! Runs the configured commands and shows a notification when a user has to act: once for each
//! change of a profile's state, never for a request.

use std::{collections::HashMap, process::Stdio, time::Duration};

use authd_api::{ErrorCode, Profile, ProfileName, ProfileState};
use authd_broker::{ChangeEvent, EventBus, ProfileRegistry, RegistrySnapshot};
use tokio::{io::AsyncWriteExt, process::Command, sync::broadcast::error::RecvError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::config::HookConfig;

mod desktop;

/// Longest run time of a command.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Watches every profile's state until the shutdown. `describe` builds the message about a profile.
pub(crate) async fn watch(
    hooks: HookConfig,
    events: EventBus,
    registry: ProfileRegistry,
    describe: fn(&RegistrySnapshot, &ProfileName) -> Option<Profile>,
    stopping: CancellationToken,
) {
    let mut events = events.subscribe();
    let mut known = HashMap::new();
    let running = TaskTracker::new();
    loop {
        let event = tokio::select! {
            () = stopping.cancelled() => return,
            event = events.recv() => event,
        };
        let names = match event {
            Ok(ChangeEvent::Profile(name)) => vec![name],
            Ok(ChangeEvent::Login(_) | ChangeEvent::CodexHome(_) | ChangeEvent::Share(_)) => continue,
            // A missed event may be about any profile.
            Err(RecvError::Lagged(_)) => registry.snapshot().profiles.keys().cloned().collect(),
            Err(RecvError::Closed) => return,
        };
        let snapshot = registry.snapshot();
        for profile in names.iter().filter_map(|name| describe(&snapshot, name)) {
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
        let refused =
            profile.last_error.as_ref().is_some_and(|problem| problem.code == ErrorCode::LoginRequired);
        match profile.state {
            ProfileState::LoginRequired => Self::SignIn,
            _ if refused => Self::SignIn,
            ProfileState::Unsaved => Self::Save,
            ProfileState::Ready
            | ProfileState::Refreshing
            | ProfileState::Expired
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
    if let Some((program, args)) = command.split_first() {
        let input = serde_json::to_vec(profile).expect("messages serialize");
        running.spawn(run(program.clone(), args.to_vec(), input));
    }
}

/// Runs a command with the profile on its stdin, without a terminal. It is killed at the shutdown.
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
