//! The state of the daemon, and what has changed between two states, in words for users.

use authd_api::{CodexHome, Profile, ProfileName, Profiles, Status, StoreState};
use serde::Serialize;

use crate::{
    context::{Context, with_timeout},
    error::CliResult,
    output::Style,
    render,
    sanitize::line,
    selection::Selection,
};

const PLAIN: Style = Style(false);

/// What `authctl status` shows, and prints with `--json`.
#[derive(Serialize)]
pub(super) struct Snapshot {
    pub(super) daemon: Status,
    pub(super) profiles: Profiles,
    pub(super) codex_homes: Vec<CodexHome>,
    /// The profile that commands use here.
    pub(super) selection: Selection,
}

impl Snapshot {
    /// Reads the state. With a name, only that profile and its Codex homes.
    pub(super) async fn read(ctx: &Context, name: Option<&ProfileName>) -> CliResult<Self> {
        let daemon: Status = with_timeout(ctx.client.status()).await?;
        let mut profiles: Profiles = with_timeout(ctx.client.profiles()).await?;
        if let Some(name) = name {
            profiles.profiles.retain(|profile| profile.name == *name);
            if profiles.profiles.is_empty() {
                // The daemon's own error names the profiles that there are.
                profiles.profiles.push(with_timeout(ctx.client.profile(Some(name))).await?);
            }
        }
        // While the daemon cannot read the list, `authctl doctor` and `authctl codex status` say
        // why.
        let mut homes =
            with_timeout(ctx.client.codex_homes()).await.map(|list| list.homes).unwrap_or_default();
        homes.retain(|home| name.is_none_or(|name| home.profile == *name));
        let failure = daemon.store.detail.as_ref().filter(|_| daemon.store.state != StoreState::Ready);
        if let Some(cause) = failure.or(daemon.store.fallback.as_ref()) {
            ctx.out.verbose(&format!("store: {}", line(cause)));
        }
        Ok(Self { daemon, profiles, codex_homes: homes, selection: ctx.selection.clone() })
    }
}

/// One line for each change.
pub(super) fn between(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut changes = Vec::new();
    let mut compare = |what: &str, before: String, after: String| {
        if before != after {
            changes.push(format!("{what}: {before} -> {after}"));
        }
    };
    compare("authd, process", before.daemon.pid.to_string(), after.daemon.pid.to_string());
    let store = |snapshot: &Snapshot| render::store(&snapshot.daemon.store, PLAIN);
    compare("store", store(before), store(after));
    let callback = |snapshot: &Snapshot| render::callback(&snapshot.daemon, PLAIN);
    compare("callback", callback(before), callback(after));
    compare(
        "pending logins",
        before.daemon.pending_logins.to_string(),
        after.daemon.pending_logins.to_string(),
    );
    let shares = |snapshot: &Snapshot| {
        snapshot.daemon.shares.map_or_else(|| "unknown".to_owned(), |shares| shares.to_string())
    };
    compare("shares", shares(before), shares(after));
    let default = |snapshot: &Snapshot| {
        snapshot.profiles.default.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
    };
    compare("default profile", default(before), default(after));
    let homes = |snapshot: &Snapshot| render::codex_warnings(&snapshot.codex_homes, PLAIN);
    if homes(before) != homes(after) {
        changes.push("Codex homes: their state has changed".to_owned());
    }
    let find = |snapshot: &'_ Snapshot, profile: &Profile| {
        snapshot.profiles.profiles.iter().find(|other| other.name == profile.name).cloned()
    };
    for profile in &before.profiles.profiles {
        if find(after, profile).is_none() {
            changes.push(format!("profile {}: gone", profile.name));
        }
    }
    for profile in &after.profiles.profiles {
        changes.extend(change_of(find(before, profile).as_ref(), profile));
    }
    changes
}

/// What has changed in a profile.
fn change_of(before: Option<&Profile>, after: &Profile) -> Option<String> {
    let state = render::state(after.state).0;
    let change = match before {
        None => format!("new, {state}"),
        Some(before) if before.state != after.state => {
            format!("{} -> {state}", render::state(before.state).0)
        }
        Some(before) if before.generation != after.generation => "has a new token".to_owned(),
        Some(before) if before.email != after.email || before.mode != after.mode => {
            "another account".to_owned()
        }
        Some(before) if before.last_error != after.last_error => match &after.last_error {
            Some(problem) => line(&problem.detail).into_owned(),
            None => "its error is gone".to_owned(),
        },
        Some(_) => return None,
    };
    Some(format!("profile {}: {change}", after.name))
}
