//! The state of the handlers, and what most of them need first: the profile of a path, and its
//! credential.

use std::{sync::Arc, time::Duration};

use authd_api::{ErrorCode, Problem, Profile, ProfileName};
use authd_broker::{
    Broker, CallbackServerState, Freshness, Names, ProfileHandle, ProfileSnapshot, ProfileView,
    RegistrySnapshot, now,
};
use authd_oauth::{Endpoint, Rejected};
use axum::extract::State;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    convert,
    extract::profile_name,
    metrics::{CredentialSource, Metrics},
    peer::Peer,
    problem,
    share::ShareDoorsHandle,
};
use crate::{
    audit::AuditLog,
    platform::{Permit, ProcessLimiter},
    relay::Relay,
    store_monitor::StoreMonitor,
};

/// Extracts the state in a handler.
pub(super) type SharedState = State<Arc<AppState>>;

/// The state of all handlers.
#[derive(Clone)]
pub(crate) struct AppState {
    pub(crate) broker: Broker,
    pub(crate) doors: ShareDoorsHandle,
    pub(crate) relay: Relay,
    pub(crate) metrics: Metrics,
    pub(crate) stopping: CancellationToken,
    /// For the diagnosis, which spends no token.
    pub(crate) endpoint: Endpoint,
    pub(crate) audit: AuditLog,
    pub(crate) callback: watch::Receiver<CallbackServerState>,
    pub(crate) stores: StoreMonitor,
    pub(crate) settings: watch::Receiver<RequestSettings>,
    /// Why the metrics are not served on their port, if they should be.
    pub(crate) metrics_error: watch::Receiver<Option<String>>,
    /// Limits the open event streams and holds of shares of each process.
    pub(crate) streams: ProcessLimiter,
    pub(crate) started_at: Timestamp,
}

/// What handlers need from the configuration. A reload replaces it.
#[derive(Clone, Debug)]
pub(crate) struct RequestSettings {
    /// Minimum remaining lifetime of a served credential, for requests without `min_ttl`.
    pub(crate) min_ttl: Duration,
    /// Longest time a request waits for a refresh.
    pub(crate) wait: Duration,
    /// The default model of `authctl ask`.
    pub(crate) model: Option<String>,
}

/// The profile that a path names.
pub(super) struct ResolvedProfile {
    pub(super) name: ProfileName,
    pub(super) handle: ProfileHandle,
}

impl AppState {
    /// Permits a response that does not end by itself.
    pub(super) fn permit_stream(&self, peer: &Peer) -> Result<Permit, Problem> {
        let permit = self.streams.permit(peer.pid());
        if permit.try_acquire() {
            return Ok(permit);
        }
        let detail = "this program holds too many event streams or shares open";
        Err(Problem::new(ErrorCode::TooManyRequests, detail).hint("close some").retry_after(1))
    }

    /// The profiles once their names are known. The problem is the reason why the store cannot be
    /// listed.
    pub(super) async fn registry(&self) -> Result<Arc<RegistrySnapshot>, Problem> {
        let snapshot = self.broker.registry.snapshot();
        if matches!(snapshot.names, Names::Known) {
            return Ok(snapshot);
        }
        let wait = self.settings.borrow().wait;
        self.broker.registry.known(wait).await.map_err(|error| problem::store(&error))
    }

    /// Finds the profile that a path names.
    pub(super) async fn resolve(&self, param: &str) -> Result<ResolvedProfile, Problem> {
        let name = profile_name(param)?;
        let registry = self.registry().await?;
        let name = match name {
            Some(name) => name,
            None => registry.default.clone().ok_or_else(|| no_default(&registry))?,
        };
        let handle = registry.profiles.get(&name).cloned();
        let handle = handle.ok_or_else(|| profile_unknown(&registry, &name))?;
        Ok(ResolvedProfile { name, handle })
    }

    /// Checks that a sign-in could be added under this name, before the user goes to the provider.
    pub(super) async fn check_sign_in(&self, name: &ProfileName) -> Result<(), Problem> {
        let registry = self.registry().await?;
        let Some(handle) = registry.profiles.get(name) else { return Ok(()) };
        let unread = |view: &ProfileView| view.unread().map(|error| problem::store(error).about(name));
        if unread(&handle.view()).is_none() {
            return Ok(());
        }
        self.broker.registry.read(name.clone()).await.map_err(|error| problem::registry(&error, name))?;
        unread(&handle.view()).map_or(Ok(()), Err)
    }

    /// The snapshot of a profile with a usable credential. With `min_ttl`, the credential lasts
    /// that long. Without it, the current credential is served until it expires.
    pub(super) async fn get_or_refresh(
        &self,
        profile: &ResolvedProfile,
        min_ttl: Option<Duration>,
    ) -> Result<Arc<ProfileSnapshot>, Problem> {
        let result = self.find_credential(profile, min_ttl).await;
        let source = result.as_ref().map_or(CredentialSource::Nowhere, |(source, _)| *source);
        self.metrics.record_credential(source);
        result.map(|(_, snapshot)| snapshot)
    }

    async fn find_credential(
        &self,
        profile: &ResolvedProfile,
        min_ttl: Option<Duration>,
    ) -> Result<(CredentialSource, Arc<ProfileSnapshot>), Problem> {
        let RequestSettings { min_ttl: default_ttl, wait, .. } = *self.settings.borrow();
        let span = min_ttl.unwrap_or(default_ttl);
        let is_too_short =
            |snapshot: &ProfileSnapshot, now| min_ttl.is_some_and(|span| !snapshot.lasts(span, now));
        let at = now();
        let snapshot = self.loaded(profile).await?;
        match snapshot.freshness(span, at) {
            // A credential without a refresh token is fresh until it expires.
            Freshness::Fresh | Freshness::Due if is_too_short(&snapshot, at) => {
                return Err(problem::no_credential(&snapshot, at));
            }
            Freshness::Fresh => {
                profile.handle.record_use(at);
                return Ok((CredentialSource::Cache, snapshot));
            }
            Freshness::Due => {
                profile.handle.record_use(at);
                profile.handle.remind();
                return Ok((CredentialSource::Cache, snapshot));
            }
            Freshness::LoginRequired => return Err(problem::no_credential(&snapshot, at)),
            Freshness::Expired => {}
        }
        if let Ok(done) = tokio::time::timeout(wait, profile.handle.request_credential(span)).await {
            done.map_err(|_| self.stopped(profile))?;
        }
        let (snapshot, at) = (self.loaded(profile).await?, now());
        match snapshot.freshness(Duration::ZERO, at) {
            Freshness::Fresh | Freshness::Due if !is_too_short(&snapshot, at) => {
                Ok((CredentialSource::Renewal, snapshot))
            }
            Freshness::Fresh | Freshness::Due | Freshness::Expired | Freshness::LoginRequired => {
                Err(problem::no_credential(&snapshot, at))
            }
        }
    }

    /// Requests a refresh. Returns the snapshots before and after it, whether it succeeded or not.
    pub(super) async fn refresh(
        &self,
        profile: &ResolvedProfile,
        rejected: Option<Rejected>,
    ) -> Result<(Arc<ProfileSnapshot>, Arc<ProfileSnapshot>), Problem> {
        let wait = self.settings.borrow().wait;
        let before = self.loaded(profile).await?;
        let Ok(done) = tokio::time::timeout(wait, profile.handle.refresh(rejected)).await else {
            let detail = "the refresh has not finished yet; it continues";
            return Err(Problem::new(ErrorCode::Timeout, detail).hint("run: authctl status"));
        };
        done.map_err(|_| self.stopped(profile))?;
        Ok((before, self.loaded(profile).await?))
    }

    /// Records that a server asks for scopes that the profile's grant lacks. Returns the snapshot
    /// after it.
    pub(super) async fn report_missing_scopes(
        &self,
        profile: &ResolvedProfile,
        grant_id: Option<Box<str>>,
        scopes: Vec<String>,
    ) -> Result<Arc<ProfileSnapshot>, Problem> {
        self.loaded(profile).await?;
        let reported = profile.handle.report_missing_scopes(grant_id, scopes).await;
        reported.map_err(|_| self.stopped(profile))?;
        self.loaded(profile).await
    }

    /// The snapshot of a profile. Tries to read its record first if that has failed before.
    pub(super) async fn loaded(&self, profile: &ResolvedProfile) -> Result<Arc<ProfileSnapshot>, Problem> {
        let mut view = profile.handle.view();
        if matches!(view, ProfileView::StoreUnavailable(_)) {
            let wait = self.settings.borrow().wait;
            let read = self.broker.registry.read(profile.name.clone());
            // After a timeout the view keeps its reason.
            drop(tokio::time::timeout(wait, read).await);
            view = profile.handle.view();
        }
        match view {
            ProfileView::Loaded(snapshot) => Ok(snapshot),
            other => Err(problem::not_loaded(&profile.name, &other)),
        }
    }

    /// Why a profile's actor has stopped: the daemon stops, or the profile was removed.
    fn stopped(&self, profile: &ResolvedProfile) -> Problem {
        if self.stopping.is_cancelled() {
            problem::stopping()
        } else {
            profile_unknown(&self.broker.registry.snapshot(), &profile.name)
        }
    }

    /// The message about a profile.
    pub(super) fn profile_message(&self, name: &ProfileName) -> Result<Profile, Problem> {
        let registry = self.broker.registry.snapshot();
        convert::profile_of(&registry, name, now()).ok_or_else(|| profile_unknown(&registry, name))
    }
}

fn profile_unknown(registry: &RegistrySnapshot, name: &ProfileName) -> Problem {
    problem::profile_unknown(name, &registry.profiles.keys().collect::<Vec<_>>())
}

/// Why there is no default. An unread record could have the highest default rank.
fn no_default(registry: &RegistrySnapshot) -> Problem {
    let mut views = registry.profiles.values().map(ProfileHandle::view);
    match views.find_map(|view| view.unread().cloned()) {
        Some(error) => problem::store(&error),
        None => problem::no_default(registry.profiles.len()),
    }
}
