//! Starts logins and finishes them. Each login has one verifier, which is used once. A pending
//! browser login is in the store, so that a restart does not lose it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use authd_api::{Flow, LoginBody, LoginState, ProfileName};
use authd_oauth::{Attempt, Exchange, Grant, Redirect, RegisteredClient, State, schedule::later};
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::DropGuard, task::TaskTracker};
use tracing::{Instrument, info, info_span, warn};

use super::{
    callback_server::{CallbackServerState, ListenRequest},
    code_exchange::{self, LoginPreferences},
    defined_exchange,
    error::LoginError,
    pending::{Entry, LoginOrder, PendingLogins},
    settings::LoginSettings,
    snapshot::{LoginSnapshot, SignedInProfile},
};
use crate::{
    clock,
    deps::BrokerDeps,
    events::ChangeEvent,
    provider::ProviderDirectory,
    registry::{NamePolicy, ProfileRegistry, SignIn},
};

/// How many logins can be pending.
const MOST_PENDING: usize = 256;

/// A cheap handle of the logins.
#[derive(Clone)]
pub struct Logins(pub(super) Arc<LoginManager>);

/// State shared by the logins.
pub(super) struct LoginManager {
    pub(super) deps: Arc<BrokerDeps>,
    pub(super) registry: ProfileRegistry,
    pub(super) providers: ProviderDirectory,
    pub(super) settings: watch::Receiver<Arc<LoginSettings>>,
    pub(super) tasks: TaskTracker,
    /// Whether the logins of the last run are known.
    pub(super) restored: watch::Sender<bool>,
    pub(super) callback: watch::Receiver<CallbackServerState>,
    /// Opens further ports.
    pub(super) listeners: mpsc::Sender<ListenRequest>,
    /// Clients that are registered and could not be saved, by the key of their registration. Held
    /// while a client is registered.
    pub(super) unsaved_clients: tokio::sync::Mutex<HashMap<String, RegisteredClient>>,
    logins: Mutex<PendingLogins>,
}

impl Logins {
    pub(crate) fn new(
        deps: Arc<BrokerDeps>,
        registry: ProfileRegistry,
        providers: ProviderDirectory,
        settings: watch::Receiver<Arc<LoginSettings>>,
        (callback, listeners): (watch::Receiver<CallbackServerState>, mpsc::Sender<ListenRequest>),
    ) -> Self {
        Self(Arc::new(LoginManager {
            deps,
            registry,
            providers,
            settings,
            tasks: TaskTracker::new(),
            restored: watch::Sender::new(false),
            callback,
            listeners,
            unsaved_clients: tokio::sync::Mutex::default(),
            logins: Mutex::default(),
        }))
    }

    /// Starts a login. A browser login is saved before its URL is returned.
    pub async fn start(&self, body: LoginBody) -> Result<LoginSnapshot, LoginError> {
        let _reservation = self.reserve()?;
        self.0.settings.borrow().workspaces(body.workspace.as_deref())?;
        match (self.defined_login(&body)?, body.flow) {
            (None, Flow::Browser) => self.start_browser(body).await,
            (None, Flow::Device) => self.start_device(body).await,
            (Some(login), Flow::Browser) => self.start_defined_browser(login, body).await,
            (Some(login), Flow::Device) => self.start_defined_device(login, body).await,
        }
    }

    /// Counts the starting login before the first await, so that logins that start at the same time
    /// cannot exceed the limit together.
    fn reserve(&self) -> Result<Reservation<'_>, LoginError> {
        let mut logins = self.logins();
        if logins.reserve(MOST_PENDING) {
            return Ok(Reservation(self));
        }
        // A starting login has no expiry yet. It lasts no longer than a new browser login.
        let latest = later(clock::now(), self.0.settings.borrow().lifetime);
        let first_expires_at = logins.expiries().min().map_or(latest, |first| first.min(latest));
        Err(LoginError::TooMany { pending: logins.pending(), first_expires_at })
    }

    /// The current state of a login.
    pub fn get(&self, id: &str) -> Result<LoginSnapshot, LoginError> {
        let logins = self.logins();
        logins.entries.get(id).map(|entry| entry.login.borrow().clone()).ok_or_else(|| unknown(id))
    }

    /// The logins that have not ended, in the order in which they started.
    pub fn list(&self) -> Vec<LoginSnapshot> {
        self.logins().unfinished()
    }

    /// The first login that started after this one. Pending and recently ended logins count.
    pub fn next_after(&self, order: Option<LoginOrder>) -> Option<(LoginOrder, LoginSnapshot)> {
        let mut logins = self.logins();
        logins.purge();
        logins.next_after(order).map(|entry| (entry.order, entry.login.borrow().clone()))
    }

    /// The state of a login once it has changed, or after `wait`.
    pub async fn wait(&self, id: &str, wait: Duration) -> Result<LoginSnapshot, LoginError> {
        let mut login = self.watch(id)?;
        let initial = login.borrow_and_update().state;
        if !initial.is_final() {
            let changed = login.wait_for(|login| login.state != initial);
            tokio::select! {
                _ = tokio::time::timeout(wait, changed) => {}
                // A shutdown finishes an exchange that has started.
                () = self.0.deps.stopping.cancelled(), if initial == LoginState::Pending => {}
            }
        }
        let login = login.borrow().clone();
        Ok(login)
    }

    /// Cancels a login. An exchange that has started runs to its end.
    pub async fn cancel(&self, id: &str) -> Result<(), LoginError> {
        let attempt = {
            let mut logins = self.logins();
            let entry = logins.entries.get_mut(id).ok_or_else(|| unknown(id))?;
            if entry.login.borrow().state != LoginState::Pending {
                return Ok(());
            }
            let attempt = entry.attempt.take();
            entry.end(LoginState::Cancelled, None);
            logins.purge();
            attempt
        };
        self.delete_stored(id);
        self.forget_client(attempt).await;
        Ok(())
    }

    /// Waits for every exchange in flight.
    pub(crate) async fn drain(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    pub(super) fn redirect_port(&self, paste: bool) -> Result<u16, LoginError> {
        let callback = self.0.callback.borrow();
        match callback.port() {
            Some(port) => Ok(port),
            None if paste => Ok(self.0.settings.borrow().ports.first().copied().unwrap_or_default()),
            None => Err(LoginError::CallbackUnavailable(callback.detail.clone())),
        }
    }

    pub(super) fn add_browser(
        &self,
        deadline: Instant,
        login: LoginSnapshot,
        replace: bool,
        attempt: Attempt,
        listener: Option<Arc<DropGuard>>,
    ) {
        let (id, state) = (login.id.clone(), attempt.state.clone());
        let mut entry = Entry::new(login, replace, Some(attempt), deadline);
        entry.listener = listener;
        self.add(entry, Some(state));
        let (logins, stopping) = (self.clone(), self.0.deps.stopping.clone());
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => logins.expire(&id),
                () = stopping.cancelled() => {}
            }
        });
    }

    pub(super) fn add(&self, entry: Entry, state: Option<State>) {
        let id = entry.login.borrow().id.clone();
        self.logins().add(entry, state);
        self.publish_change(&id);
    }

    pub(super) fn publish_change(&self, id: &str) {
        self.0.deps.events.publish(ChangeEvent::Login(id.to_owned()));
    }

    fn expire(&self, id: &str) {
        let mut logins = self.logins();
        let Some(entry) = logins.entries.get_mut(id) else { return };
        let Some(attempt) = entry.attempt.take() else { return };
        let error = LoginError::Expired(entry.login.borrow().profile.clone());
        entry.end(LoginState::Expired, Some(error));
        logins.purge();
        drop(logins);
        self.delete_stored(id);
        let logins = self.clone();
        self.0.tasks.spawn(async move { logins.forget_client(Some(attempt)).await });
    }

    /// Uses the login's attempt, if it has not been used, and redeems the code in a task of its
    /// own: a browser that disconnects cancels nothing.
    pub(super) fn redeem_callback(&self, id: &str, redirect: Redirect) {
        let mut logins = self.logins();
        let Some(entry) = logins.entries.get_mut(id) else { return };
        if entry.is_overdue() {
            drop(logins);
            return self.expire(id);
        }
        let Some(attempt) = entry.attempt.take() else { return };
        entry.claim();
        let (profile, replace) = (entry.login.borrow().profile.clone(), entry.replace);
        drop(logins);
        self.publish_change(id);
        let (logins, id) = (self.clone(), id.to_owned());
        let span = info_span!("login", %id);
        let task = async move {
            let outcome = logins.redeem(&id, attempt, redirect, profile, replace).await;
            logins.end(&id, outcome);
        };
        self.0.tasks.spawn(task.instrument(span));
    }

    async fn redeem(
        &self,
        id: &str,
        attempt: Attempt,
        redirect: Redirect,
        profile: ProfileName,
        replace: bool,
    ) -> Result<ProfileName, LoginError> {
        let workspaces = self.0.settings.borrow().workspaces(attempt.workspace.as_deref())?;
        let mode = attempt.mode;
        // The deadline was checked before, on a clock that cannot be set.
        let exchange = attempt.accept(redirect, Timestamp::MIN);
        let exchange = exchange.map_err(|failure| LoginError::Rejected(profile.clone(), failure))?;
        self.sign_in(id, exchange, LoginPreferences { profile, replace, mode, workspaces }).await
    }

    /// Redeems a code and saves the grant.
    pub(super) async fn sign_in(
        &self,
        id: &str,
        exchange: Exchange,
        preferences: LoginPreferences,
    ) -> Result<ProfileName, LoginError> {
        let (endpoint, store) = (&self.0.deps.endpoint, &self.0.deps.store);
        let mut exchange = exchange;
        let grant = match exchange.defined.take() {
            Some(client) => defined_exchange::redeem(endpoint, store, *client, exchange).await,
            None => code_exchange::redeem(endpoint, exchange, &preferences).await,
        };
        let LoginPreferences { profile, replace, .. } = preferences;
        let grant = grant.map_err(|failure| LoginError::Rejected(profile.clone(), failure))?;
        self.save_grant(id, grant, profile, replace).await
    }

    /// Adds the grant of a login to the profiles.
    pub(super) async fn save_grant(
        &self,
        id: &str,
        grant: Grant,
        profile: ProfileName,
        replace: bool,
    ) -> Result<ProfileName, LoginError> {
        let name_policy = if replace { NamePolicy::Replace } else { NamePolicy::OwnOrOther };
        // The grant id is the login's id: if the next start finds a record with it, the login is
        // finished.
        let grant_id = id.into();
        let sign_in = SignIn { requested: profile.clone(), name_policy, grant, grant_id, intent: None };
        let signed_in = self.0.registry.sign_in(sign_in).await;
        signed_in.map_err(|error| LoginError::Registry(profile, error.into()))
    }

    pub(super) fn end(&self, id: &str, outcome: Result<ProfileName, LoginError>) {
        let result = outcome.map(|name| {
            info!(profile = %name, "login finished");
            let snapshot = self.0.registry.snapshot();
            let handle = snapshot.profiles.get(&name)?;
            let is_default = snapshot.default.as_ref() == Some(&name);
            Some(SignedInProfile { view: handle.view(), is_default, at: clock::now(), name })
        });
        let mut logins = self.logins();
        // A login that was cancelled during its exchange stays cancelled.
        if let Some(entry) = logins.entries.get_mut(id).filter(|entry| !entry.is_final()) {
            match result {
                Ok(profile) => {
                    entry.login.send_modify(|login| login.result = profile);
                    entry.end(LoginState::Succeeded, None);
                }
                Err(error) => {
                    warn!(%error, "login failed");
                    entry.end(LoginState::Failed, Some(error));
                }
            }
        }
        logins.purge();
        drop(logins);
        self.delete_stored(id);
    }

    pub(super) async fn wait_until_final(&self, id: &str) -> Result<LoginSnapshot, LoginError> {
        let mut login = self.watch(id)?;
        let login = login.wait_for(|login| login.state.is_final()).await;
        login.map(|login| login.clone()).map_err(|_| unknown(id))
    }

    fn watch(&self, id: &str) -> Result<watch::Receiver<LoginSnapshot>, LoginError> {
        self.logins().entries.get(id).map(|entry| entry.login.subscribe()).ok_or_else(|| unknown(id))
    }

    pub(super) fn logins(&self) -> MutexGuard<'_, PendingLogins> {
        // No code that holds the lock can leave a half-made change.
        self.0.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The count of a starting login; ends when dropped.
struct Reservation<'l>(&'l Logins);

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.0.logins().release();
    }
}

fn unknown(id: &str) -> LoginError {
    LoginError::Unknown(id.to_owned())
}
