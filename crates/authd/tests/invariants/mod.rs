//! The invariants after a fault. Two test targets use this file: `faultpoints` and `crash`.
//!
//! 1. Every login works under exactly one name: its record opens, and a forced refresh succeeds.
//! 2. No refresh token is stored twice, in two records or in a record and Codex's login file.
//! 3. No record is orphaned, and no temporary file is left. A registration of a client is absent,
//!    or the server accepts its client.
//! 4. The profiles, the default, Codex's login file, the shares and the added providers are as
//!    before the operation or as after it. If the client received a success, they are as after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    time::{Duration, Instant},
};

use authd_sandbox::{Sandbox, test_daemon::TestDaemon};
use serde_json::{Value, json};

mod stored_credentials;

use self::stored_credentials::{CodexFile, StoredCredentials};
use crate::authorization_server::AuthorizationServer;

/// A keychain that can be read without the daemon.
pub(crate) trait Keychain: Sync {
    /// The keys and secrets of authd's items, or the reason why they cannot be read.
    fn items(&self) -> Result<Vec<(String, String)>, String>;
}

/// The daemon to check, and the two states that are allowed.
#[derive(Clone, Copy)]
pub(crate) struct CheckContext<'a> {
    pub(crate) daemon: &'a TestDaemon,
    pub(crate) sandbox: &'a Sandbox,
    /// The server of the defined provider.
    pub(crate) server: &'a AuthorizationServer,
    pub(crate) keychain: Option<&'a dyn Keychain>,
    pub(crate) before: &'a Snapshot,
    pub(crate) after: &'a Snapshot,
    /// Whether the daemon was killed between a rotation of a token and its save.
    pub(crate) may_be_lost: bool,
}

/// The response of the daemon to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The operation succeeded.
    Success,
    /// The operation failed with this response.
    Refused(String),
    /// The daemon ended before it responded.
    NoAnswer,
}

/// The Codex home of a test daemon.
pub(crate) fn codex_home(daemon: &TestDaemon) -> PathBuf {
    daemon.dir().join("codex")
}

/// Longest time until the invariants hold after a fault. The daemon retries a failed store call
/// after one second.
const RECOVERY: Duration = Duration::from_secs(10);

/// The profiles, the default, Codex's login file, the shares and the added providers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) default: Option<String>,
    pub(crate) profiles: BTreeMap<String, ProfileUser>,
    pub(crate) codex: String,
    /// The label and the profile of each share.
    pub(crate) shares: BTreeSet<(String, String)>,
    /// The name and the URL of each added provider.
    pub(crate) providers: BTreeSet<(String, String)>,
    /// The files in the state directory; empty in an expected state that allows any.
    pub(crate) files: BTreeSet<String>,
}

/// The user of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProfileUser {
    /// Empty for a profile with the user's own API key.
    pub(crate) email: String,
    /// The number of the login in the record; `None` in an expected state that allows any.
    pub(crate) family: Option<usize>,
}

/// State of an operation after a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The states before and after the operation do not differ.
    Kept,
    /// The operation is complete.
    Finished,
    /// The operation had no effect.
    RolledBack,
    /// This login's newest token was never saved: the provider rotated it, and the daemon was
    /// killed before it could save the answer.
    Lost(String),
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (default, codex) = (self.default.as_deref().unwrap_or("nothing"), &self.codex);
        write!(f, "the default is {default}, Codex's file: {codex}, {}", self.describe_profiles())
    }
}

impl Snapshot {
    /// The current state, from the API and from the records, once each profile is ready.
    pub(crate) async fn take(context: CheckContext<'_>) -> Result<Self, String> {
        let deadline = Instant::now() + RECOVERY;
        loop {
            let profiles = profiles(context).await?;
            if iter_profiles(&profiles).all(|profile| profile["state"] == "ready") {
                let stored = StoredCredentials::read(context.daemon, context.keychain)?;
                return Self::of(&profiles, &stored, context).with_lists(context).await;
            }
            if Instant::now() > deadline {
                return Err(format!("a profile is not ready: {profiles}"));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn of(profiles: &Value, stored: &StoredCredentials, context: CheckContext<'_>) -> Self {
        let families = stored.families(context);
        let user = |profile: &Value| {
            let record = format!("profile.{}", text(&profile["name"]));
            let family = families
                .iter()
                .find(|(_, locations)| locations.iter().any(|location| location.key == record));
            ProfileUser { email: text(&profile["email"]), family: family.map(|(family, _)| *family) }
        };
        Self {
            default: profiles["default"].as_str().map(str::to_owned),
            profiles: iter_profiles(profiles)
                .map(|profile| (text(&profile["name"]), user(profile)))
                .collect(),
            codex: stored.codex.description(context.sandbox),
            shares: BTreeSet::new(),
            providers: BTreeSet::new(),
            files: stored.files.clone(),
        }
    }

    /// The same with the shares and the added providers.
    async fn with_lists(self, context: CheckContext<'_>) -> Result<Self, String> {
        Ok(Self { shares: shares(context).await?, providers: providers(context).await?, ..self })
    }

    /// Whether this state is the expected one.
    fn matches(&self, other: &Self) -> bool {
        let same = |(one, other): (&ProfileUser, &ProfileUser)| {
            one.email == other.email && (other.family.is_none() || one.family == other.family)
        };
        (&self.default, &self.codex, &self.shares, &self.providers)
            == (&other.default, &other.codex, &other.shares, &other.providers)
            && self.profiles.keys().eq(other.profiles.keys())
            && self.profiles.values().zip(other.profiles.values()).all(same)
    }

    fn describe_profiles(&self) -> String {
        let profiles = self.profiles.iter().map(|(name, user)| {
            let family = user.family.map(|family| format!(" #{family}")).unwrap_or_default();
            format!("`{name}`: {}{family}", user.email)
        });
        profiles.collect::<Vec<_>>().join(", ")
    }
}

/// Waits until the invariants hold, refreshes each login, and checks again. The error names the
/// violated invariant.
pub(crate) async fn verify(context: CheckContext<'_>, reply: Reply) -> Result<Outcome, String> {
    let outcome = wait_until_consistent(context, &reply).await?;
    if matches!(outcome, Outcome::Lost(_)) {
        return Ok(outcome);
    }
    for profile in iter_profiles(&profiles(context).await?) {
        let name = text(&profile["name"]);
        let path = format!("/v1/profiles/{name}");
        if !profile["email"].is_null() {
            let reply = request_until_success(context, "POST", &format!("{path}/refresh"), json!({})).await;
            reply.map_err(|reply| format!("`{name}` cannot be refreshed: {reply}"))?;
        }
        let reply = request_until_success(context, "GET", &format!("{path}/headers"), Value::Null).await;
        reply.map_err(|reply| format!("`{name}` has no headers: {reply}"))?;
    }
    match wait_until_consistent(context, &reply).await.map_err(|error| format!("after a refresh: {error}"))? {
        lost @ Outcome::Lost(_) => Ok(lost),
        _ => Ok(outcome),
    }
}

/// Repeats a request until it succeeds: the daemon may still wait for its next attempt to save.
async fn request_until_success(
    context: CheckContext<'_>,
    method: &str,
    path: &str,
    body: Value,
) -> Result<Value, String> {
    let deadline = Instant::now() + RECOVERY;
    loop {
        match request(context, method, path, body.clone()).await? {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(50)).await,
            reply => return reply,
        }
    }
}

/// Waits until the invariants hold, without a refresh.
pub(crate) async fn wait_until_consistent(
    context: CheckContext<'_>,
    reply: &Reply,
) -> Result<Outcome, String> {
    let deadline = Instant::now() + RECOVERY;
    // Reading the keychain starts a process.
    let pause = Duration::from_millis(if context.keychain.is_some() { 100 } else { 20 });
    loop {
        match check_once(context, reply).await {
            Err(_) | Ok(Outcome::Lost(_)) if Instant::now() < deadline => {
                tokio::time::sleep(pause).await;
            }
            result => return result,
        }
    }
}

/// Checks the invariants once. Of several violations the gravest is reported.
async fn check_once(context: CheckContext<'_>, reply: &Reply) -> Result<Outcome, String> {
    let profiles = profiles(context).await?;
    let stored = StoredCredentials::read(context.daemon, context.keychain)?;
    if let Some(damaged) = stored.damaged.first() {
        return Err(damaged.clone());
    }
    let families = stored.families(context);
    if let Some(dead) = families.values().find(|locations| locations.iter().all(|location| !location.good)) {
        // The newest token of this login is stored nowhere. The old one may have been used again
        // since.
        let location = &dead[0];
        let newest_is_stored = dead.iter().any(|location| location.newest);
        return if context.may_be_lost && *reply != Reply::Success && !newest_is_stored {
            Ok(Outcome::Lost(location.key.clone()))
        } else if location.ended {
            Err(format!("login lost: the old token in {} was used again", location.name))
        } else {
            Err(format!(
                "login lost: {} holds an old token, and the newest one is stored nowhere",
                location.name
            ))
        };
    }
    if let Some([one, other, ..]) = families.values().map(Vec::as_slice).find(|locations| locations.len() > 1)
    {
        return Err(format!("one login is stored twice: in {} and in {}", one.name, other.name));
    }
    let now = Snapshot::of(&profiles, &stored, context).with_lists(context).await?;
    let outcome = match (now.matches(context.before), now.matches(context.after)) {
        (true, true) => Outcome::Kept,
        (_, true) => Outcome::Finished,
        (true, _) if *reply != Reply::Success => Outcome::RolledBack,
        (true, _) => {
            return Err("the client received a success, but the operation had no effect".to_owned());
        }
        (false, false) => return Err(now.describe_difference(context.before, context.after)),
    };
    for profile in iter_profiles(&profiles) {
        let name = text(&profile["name"]);
        if !stored.records.iter().any(|record| record.key == format!("profile.{name}")) {
            return Err(format!("`{name}` has no record"));
        }
        if profile["state"] != "ready" {
            let (state, error) = (text(&profile["state"]), text(&profile["last_error"]["detail"]));
            return Err(format!("`{name}` is {state}: {error}"));
        }
    }
    if let CodexFile::Supplied(token) = &stored.codex
        && let Some(known) = context.token_info(token)
        && !families.contains_key(&known.family)
    {
        return Err("Codex's file holds an access token of a login that is gone".to_owned());
    }
    let (before, after) = (&context.before.files, &context.after.files);
    let unknown = |name: &&String| {
        let is_record = name.strip_suffix(".age").is_some();
        !is_record && !after.is_empty() && !before.contains(*name) && !after.contains(*name)
    };
    if let Some(client) = stored.unusable_client(context) {
        return Err(format!("the registration of the client {client:?} cannot be used"));
    }
    let orphan = find_orphan(context, &profiles, &stored).await;
    let orphan = orphan.or_else(|| stored.left_behind.first().cloned());
    match orphan.or_else(|| stored.files.iter().find(unknown).map(|name| format!("leftover file: {name}"))) {
        Some(orphan) => Err(orphan),
        None => Ok(outcome),
    }
}

/// A record that no profile, pending login or supplied Codex home needs.
async fn find_orphan(
    context: CheckContext<'_>,
    profiles: &Value,
    stored: &StoredCredentials,
) -> Option<String> {
    let is_profile = |name: &str| iter_profiles(profiles).any(|it| it["name"] == name);
    let logins = stored.records.iter().filter(|record| record.key.starts_with("login."));
    let pending = context.daemon.get("/v1/status").await["pending_logins"].as_u64().unwrap_or_default();
    if logins.count() as u64 > pending {
        return Some("orphaned record: a login that is over".to_owned());
    }
    let orphan = stored.records.iter().find(|record| match record.key.split_once('.') {
        Some(("profile", name)) => !is_profile(name),
        Some(("codex", _)) => !matches!(stored.codex, CodexFile::Supplied(_)),
        Some(("login" | "client", _)) => false,
        _ => true,
    });
    orphan.map(|record| format!("orphaned record: {}", record.location))
}

impl Snapshot {
    /// Describes the parts that are neither as before nor as after.
    fn describe_difference(&self, before: &Self, after: &Self) -> String {
        let mut differences = Vec::new();
        if self.default != before.default && self.default != after.default {
            differences.push(format!(
                "neither before nor after: the default is {}",
                self.default.as_deref().unwrap_or("nothing")
            ));
        }
        let profiles = self.describe_profiles();
        if profiles != before.describe_profiles() && profiles != after.describe_profiles() {
            differences.push(format!("neither before nor after: the profiles are {profiles}"));
        }
        if self.codex != before.codex && self.codex != after.codex {
            differences.push(format!("neither before nor after: Codex's file: {}", self.codex));
        }
        if self.shares != before.shares && self.shares != after.shares {
            differences.push(format!("neither before nor after: the shares are {:?}", self.shares));
        }
        if self.providers != before.providers && self.providers != after.providers {
            differences.push(format!("neither before nor after: the providers are {:?}", self.providers));
        }
        if differences.is_empty() {
            format!("the operation is half done: {self}")
        } else {
            differences.join(", ")
        }
    }
}

/// The label and the profile of each share.
async fn shares(context: CheckContext<'_>) -> Result<BTreeSet<(String, String)>, String> {
    let shares = request_until_success(context, "GET", "/v1/shares", Value::Null).await?;
    let shares = shares["shares"].as_array().into_iter().flatten();
    Ok(shares.map(|share| (text(&share["label"]), text(&share["profile"]))).collect())
}

/// The name and the URL of each added provider.
async fn providers(context: CheckContext<'_>) -> Result<BTreeSet<(String, String)>, String> {
    let providers = request_until_success(context, "GET", "/v1/providers", Value::Null).await?;
    let providers = providers["providers"].as_array().into_iter().flatten();
    let added = providers.filter(|provider| provider["defined_in"] == "added");
    Ok(added.map(|provider| (text(&provider["name"]), text(&provider["mcp"]))).collect())
}

/// The profiles in a response.
fn iter_profiles(profiles: &Value) -> impl Iterator<Item = &Value> {
    profiles["profiles"].as_array().into_iter().flatten()
}

async fn profiles(context: CheckContext<'_>) -> Result<Value, String> {
    request(context, "GET", "/v1/profiles", Value::Null).await?
}

/// Sends a request. Returns the JSON of a success, or the text of an error response.
async fn request(
    context: CheckContext<'_>,
    method: &str,
    path: &str,
    body: Value,
) -> Result<Result<Value, String>, String> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let reply = context.daemon.try_request(method, path, &[], body).await;
    let reply = reply.map_err(|error| format!("{method} {path}: {error}"))?;
    Ok(if reply.status.is_success() {
        Ok(serde_json::from_slice(&reply.body).unwrap_or(Value::Null))
    } else {
        let problem: Value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
        Err(format!("{} ({})", text(&problem["code"]), text(&problem["detail"])))
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
