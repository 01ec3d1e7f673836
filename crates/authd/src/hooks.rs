//! What is done when a person has to do something: the configured commands are run, and a notification
//! is put up. Once for each change of a profile's state, never for a request.

use std::{collections::HashMap, process::Stdio, time::Duration};

use authd_api::{ErrorCode, Profile, ProfileState};
use tokio::{io::AsyncWriteExt, process::Command, sync::broadcast::error::RecvError};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    clock,
    events::{Events, News},
    keeper::Keeper,
    reply,
};

mod desktop;

/// How long a command may run.
const LONGEST: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hooks {
    /// The command for a profile that needs a new sign-in; empty for none.
    pub(crate) login_required: Vec<String>,
    /// The command for a profile whose newest credential cannot be saved; empty for none.
    pub(crate) unsaved: Vec<String>,
    /// Whether notifications are put up on the desktop.
    pub(crate) notify: bool,
}

/// Watches every profile's state, for as long as the daemon runs.
pub(crate) async fn watch(hooks: Hooks, events: Events, keeper: Keeper, stopping: CancellationToken) {
    let mut news = events.listen();
    let mut known = HashMap::new();
    let running = TaskTracker::new();
    loop {
        let heard = tokio::select! {
            () = stopping.cancelled() => return,
            heard = news.recv() => heard,
        };
        let names = match heard {
            Ok(News::Profile(name)) => vec![name],
            Ok(News::Login(_)) => continue,
            // What was missed is looked at now.
            Err(RecvError::Lagged(_)) => keeper.directory().profiles.keys().cloned().collect(),
            Err(RecvError::Closed) => return,
        };
        let directory = keeper.directory();
        for profile in names.iter().filter_map(|name| reply::profile_of(&directory, name, clock::now())) {
            let need = Need::of(&profile);
            // What was so at the first look was so before, and has been told.
            let before = known.insert(profile.name.clone(), need).unwrap_or(need);
            if before != need {
                act(&hooks, need, &profile, &running);
            }
        }
    }
}

/// What a person has to do for a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Nothing,
    /// Sign in again: the provider has refused the refresh token, though the access token may last.
    SignIn,
    /// Mend the store.
    Save,
}

impl Need {
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

fn act(hooks: &Hooks, need: Need, profile: &Profile, running: &TaskTracker) {
    let (command, summary) = match need {
        Need::Nothing => return,
        Need::SignIn => (&hooks.login_required, "Sign-in required"),
        Need::Save => (&hooks.unsaved, "Sign-in not saved"),
    };
    if hooks.notify {
        let problem = profile.last_error.as_ref();
        let sentence = problem.map_or_else(String::new, |problem| problem.detail.clone());
        let remedy = problem.and_then(|problem| problem.hint.clone()).unwrap_or_default();
        desktop::notify(summary, &format!("{sentence}\n{remedy}"));
    }
    if let Some((program, args)) = command.split_first() {
        let input = serde_json::to_vec(profile).expect("the contract's messages have a JSON form");
        running.spawn(run(program.clone(), args.to_vec(), input));
    }
}

/// Runs a command with the profile on its stdin. It has no terminal, and ends with us.
async fn run(program: String, args: Vec<String>, input: Vec<u8>) {
    let mut command = Command::new(&program);
    command.args(args).current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            warn!(%error, program, "the hook cannot be run");
            return;
        }
    };
    let stdin = child.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            // A command that does not want to know closes its end.
            drop(stdin.write_all(&input).await);
        }
        child.wait().await
    };
    match tokio::time::timeout(LONGEST, work).await {
        Ok(Ok(status)) if status.success() => debug!(program, "the hook was run"),
        Ok(Ok(status)) => warn!(program, %status, "the hook failed"),
        Ok(Err(error)) => warn!(program, %error, "the hook failed"),
        Err(_) => warn!(program, "the hook took longer than {} s, and was ended", LONGEST.as_secs()),
    }
}
