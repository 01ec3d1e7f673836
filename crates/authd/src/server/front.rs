//! What the handlers see of the daemon, and the few questions they all ask: which profile, is its
//! credential fresh, and if not, when.

use std::{sync::Arc, time::Duration};

use authd_api::{ErrorCode, Problem, Profile, ProfileName};
use authd_oauth::Endpoint;
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
    keeper::Keeper,
    logins::Logins,
    metrics::{From, Metrics},
    profile::Handle,
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
    pub(super) handle: Handle,
}

impl Front {
    /// The profile that a path names.
    pub(super) fn find(&self, part: &str) -> Result<Found, Problem> {
        let directory = self.keeper.directory();
        let name = match named(part)? {
            Some(name) => name,
            None => directory.default.clone().ok_or_else(|| reply::no_default(directory.profiles.len()))?,
        };
        let handle = directory.profiles.get(&name).cloned().ok_or_else(|| reply::profile_unknown(&name))?;
        Ok(Found { name, handle })
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
        if let Ok(gone) = tokio::time::timeout(patience, found.handle.want(span)).await {
            gone?;
        }
        let (facts, now) = (self.known(found).await?, clock::now());
        match facts.freshness(Duration::ZERO, now) {
            Freshness::Fresh | Freshness::Due if !too_short(&facts, now) => Ok((From::Renewal, facts)),
            Freshness::Fresh | Freshness::Due | Freshness::Expired | Freshness::LoginRequired => {
                Err(reply::no_credential(&facts, now))
            }
        }
    }

    /// The facts after a refresh, however it ended.
    pub(super) async fn renewed(&self, found: &Found, rejected: Option<u64>) -> Result<Arc<Facts>, Problem> {
        let patience = self.limits.borrow().patience;
        self.known(found).await?;
        let Ok(done) = tokio::time::timeout(patience, found.handle.refresh(rejected)).await else {
            let detail = "the refresh is not done yet; it goes on without you";
            return Err(Problem::new(ErrorCode::Timeout, detail).hint("run: authctl status"));
        };
        done?;
        self.known(found).await
    }

    /// The facts of a profile, read from the store first if need be.
    async fn known(&self, Found { name, handle }: &Found) -> Result<Arc<Facts>, Problem> {
        let mut view = handle.view();
        if matches!(view, View::Unread | View::Closed(_)) {
            let patience = self.limits.borrow().patience;
            view = tokio::time::timeout(patience, handle.read()).await.unwrap_or(view);
        }
        match view {
            View::Known(facts) => Ok(facts),
            other => Err(reply::unusable(name, &other)),
        }
    }

    pub(super) fn message(&self, name: &ProfileName) -> Result<Profile, Problem> {
        reply::profile_of(&self.keeper.directory(), name, clock::now())
            .ok_or_else(|| reply::profile_unknown(name))
    }
}
