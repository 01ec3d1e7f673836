//! What the handlers see of the daemon, and the few questions they all ask: which profile, is its
//! credential fresh, and if not, when.

use std::{sync::Arc, time::Duration};

use authd_api::{ErrorCode, Problem, Profile, ProfileName};
use authd_oauth::{Endpoint, Rejected};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    answer::named,
    callback::CallbackFacts,
    clock,
    codex::Codex,
    events::Events,
    facts::{Facts, Freshness, View},
    keeper::{Directory, Keeper, Names},
    logins::Logins,
    metrics::{From, Metrics},
    profile::ProfileHandle,
    relay::Relay,
    reply,
};

/// What the handlers see of the daemon.
#[derive(Clone)]
pub(crate) struct Front {
    /// The profiles.
    pub(crate) keeper: Keeper,
    /// The logins shared with Codex.
    pub(crate) codex: Codex,
    /// The logins.
    pub(crate) logins: Logins,
    /// The way upstream.
    pub(crate) relay: Relay,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// What changes.
    pub(crate) events: Events,
    /// The end of the daemon.
    pub(crate) stopping: CancellationToken,
    /// For looking at the network; no token is spent by it.
    pub(crate) endpoint: Endpoint,
    /// The callback server's state.
    pub(crate) callback: watch::Receiver<CallbackFacts>,
    /// The store's state.
    pub(crate) store: watch::Receiver<authd_store::Status>,
    /// What a reload can change.
    pub(crate) limits: watch::Receiver<Limits>,
    /// When the daemon started.
    pub(crate) started_at: Timestamp,
}

/// How patient the handlers are, and what they tell clients to prefer.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How much longer a credential must last when nobody says.
    pub(crate) min_ttl: Duration,
    /// How long a request waits for a renewal that is under way.
    pub(crate) patience: Duration,
    /// The model for questions that name none.
    pub(crate) model: Option<String>,
}

/// A profile that a path names.
pub(super) struct Found {
    pub(super) name: ProfileName,
    pub(super) handle: ProfileHandle,
}

impl Front {
    /// The profiles, once their names are known. While the store cannot be listed, its reason.
    pub(super) async fn directory(&self) -> Result<Arc<Directory>, Problem> {
        let directory = self.keeper.directory();
        if matches!(directory.names, Names::Known) {
            return Ok(directory);
        }
        let patience = self.limits.borrow().patience;
        self.keeper.known(patience).await.map_err(|error| reply::store_failed(&error))
    }

    /// The profile that a path names.
    pub(super) async fn find(&self, part: &str) -> Result<Found, Problem> {
        let name = named(part)?;
        let directory = self.directory().await?;
        let name = match name {
            Some(name) => name,
            None => directory.default.clone().ok_or_else(|| no_default(&directory))?,
        };
        let handle = directory.profiles.get(&name).cloned().ok_or_else(|| reply::profile_unknown(&name))?;
        Ok(Found { name, handle })
    }

    /// Whether a sign-in for this profile could be kept: a person is not sent to the provider in vain.
    pub(super) async fn can_sign_in(&self, wanted: Option<&ProfileName>) -> Result<(), Problem> {
        let directory = self.directory().await?;
        let first = ProfileName::first();
        let name = wanted.unwrap_or(&first);
        let Some(handle) = directory.profiles.get(name) else { return Ok(()) };
        let unread = |view: &View| view.unread().map(|error| reply::store_failed(error).about(name));
        if unread(&handle.view()).is_none() {
            return Ok(());
        }
        self.keeper.read(name.clone()).await.map_err(|error| reply::keeper_failed(&error, name))?;
        unread(&handle.view()).map_or(Ok(()), Err)
    }

    /// The facts of a profile whose credential lasts long enough, or why there is none. Who names a time gets a
    /// credential that lasts as long, or learns why not; who names none gets the old one until it expires.
    pub(super) async fn fresh(&self, found: &Found, named: Option<Duration>) -> Result<Arc<Facts>, Problem> {
        let answer = self.seek(found, named).await;
        self.metrics.answered(answer.as_ref().map_or(From::Nowhere, |(from, _)| *from));
        answer.map(|(_, facts)| facts)
    }

    async fn seek(&self, found: &Found, named: Option<Duration>) -> Result<(From, Arc<Facts>), Problem> {
        let Limits { min_ttl, patience, .. } = *self.limits.borrow();
        let span = named.unwrap_or(min_ttl);
        let too_short = |facts: &Facts, now| named.is_some_and(|span| !facts.lasts(span, now));
        let now = clock::now();
        let facts = self.known(found).await?;
        match facts.freshness(span, now) {
            // Only of what cannot be renewed.
            Freshness::Fresh | Freshness::Due if too_short(&facts, now) => {
                return Err(reply::no_credential(&facts, now));
            }
            Freshness::Fresh => {
                found.handle.used(now);
                return Ok((From::Cache, facts));
            }
            Freshness::Due => {
                found.handle.used(now);
                found.handle.remind();
                return Ok((From::Cache, facts));
            }
            Freshness::LoginRequired => return Err(reply::no_credential(&facts, now)),
            Freshness::Expired => {}
        }
        if let Ok(ended) = tokio::time::timeout(patience, found.handle.want(span)).await {
            ended.map_err(|_| self.gone(found))?;
        }
        let (facts, now) = (self.known(found).await?, clock::now());
        match facts.freshness(Duration::ZERO, now) {
            Freshness::Fresh | Freshness::Due if !too_short(&facts, now) => Ok((From::Renewal, facts)),
            Freshness::Fresh | Freshness::Due | Freshness::Expired | Freshness::LoginRequired => {
                Err(reply::no_credential(&facts, now))
            }
        }
    }

    /// The facts before and after a refresh, however it ended.
    pub(super) async fn renewed(
        &self,
        found: &Found,
        rejected: Option<Rejected>,
    ) -> Result<(Arc<Facts>, Arc<Facts>), Problem> {
        let patience = self.limits.borrow().patience;
        let before = self.known(found).await?;
        let Ok(done) = tokio::time::timeout(patience, found.handle.refresh(rejected)).await else {
            let detail = "the refresh is not done yet; it goes on without you";
            return Err(Problem::new(ErrorCode::Timeout, detail).hint("run: authctl status"));
        };
        done.map_err(|_| self.gone(found))?;
        Ok((before, self.known(found).await?))
    }

    /// The facts of a profile, read from the store first if need be.
    async fn known(&self, Found { name, handle }: &Found) -> Result<Arc<Facts>, Problem> {
        let mut view = handle.view();
        if matches!(view, View::Closed(_)) {
            let patience = self.limits.borrow().patience;
            // If that takes too long, the reason before stands.
            drop(tokio::time::timeout(patience, self.keeper.read(name.clone())).await);
            view = handle.view();
        }
        match view {
            View::Known(facts) => Ok(facts),
            other => Err(reply::unusable(name, &other)),
        }
    }

    /// Why a profile's actor does not answer: the daemon stops, or the profile was removed meanwhile.
    fn gone(&self, found: &Found) -> Problem {
        if self.stopping.is_cancelled() { reply::stopping() } else { reply::profile_unknown(&found.name) }
    }

    pub(super) fn message(&self, name: &ProfileName) -> Result<Profile, Problem> {
        reply::profile_of(&self.keeper.directory(), name, clock::now())
            .ok_or_else(|| reply::profile_unknown(name))
    }
}

/// Why there is no default profile. While a record has not been read, that is not known.
fn no_default(directory: &Directory) -> Problem {
    let mut views = directory.profiles.values().map(ProfileHandle::view);
    match views.find_map(|view| view.unread().cloned()) {
        Some(error) => reply::store_failed(&error),
        None => reply::no_default(directory.profiles.len()),
    }
}
