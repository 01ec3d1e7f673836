//! The logins under way, by id and by state: one verifier each, used once. It starts them, matches what
//! a browser or a person brings back, and keeps them sealed in the store so that a restart loses none.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use authd_api::{ErrorCode, Flow, Login, LoginBody, LoginState, Problem, ProfileName};
use authd_oauth::{Attempt, Callback, Endpoint, Exchange, ModePreference, Provider, State, schedule::later};
use authd_store::{Key, Store};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, info, info_span, warn};

pub(crate) use self::registry::Age;
use self::{
    cleanup::Undeleted,
    registry::{Entry, Registry},
};
use crate::{
    callback::{CallbackFacts, LINK_PATH},
    clock,
    events::{Events, News},
    keeper::{Keeper, Placement, SignIn},
    reply,
    sealed::StoredLogin,
    signin::{self, Wish},
};

/// More people than this do not sign in at one computer at once.
const MOST_PENDING: usize = 256;

mod callback;
mod cleanup;
mod device;
mod registry;
mod rest;

/// What a login needs from the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How long a person has.
    pub(crate) lifetime: Duration,
    /// The mode when a login asks for none.
    pub(crate) mode: ModePreference,
    /// The workspaces that are accepted; empty for any.
    pub(crate) workspaces: Vec<String>,
    /// The port named in the redirect URI while the callback server has none.
    pub(crate) first_port: u16,
    /// The provider.
    pub(crate) provider: Provider,
}

/// The logins; a cheap handle.
#[derive(Clone)]
pub(crate) struct Logins(Arc<Inner>);

struct Inner {
    settings: watch::Receiver<Arc<Settings>>,
    endpoint: Endpoint,
    keeper: Keeper,
    store: Store,
    callback: watch::Receiver<CallbackFacts>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    events: Events,
    registry: Mutex<Registry>,
    undeleted: Undeleted,
    /// Whether the logins of an earlier daemon are known.
    restored: watch::Sender<bool>,
}

impl Logins {
    /// No logins yet.
    pub(crate) fn new(
        settings: watch::Receiver<Arc<Settings>>,
        endpoint: Endpoint,
        keeper: Keeper,
        store: Store,
        callback: watch::Receiver<CallbackFacts>,
        events: Events,
        stopping: CancellationToken,
    ) -> Self {
        let (tasks, registry) = (TaskTracker::new(), Mutex::default());
        Self(Arc::new(Inner {
            settings,
            endpoint,
            keeper,
            store,
            callback,
            tasks,
            stopping,
            events,
            registry,
            undeleted: Undeleted::default(),
            restored: watch::Sender::new(false),
        }))
    }

    /// Starts a login. It is sealed in the store before its URL is told.
    pub(crate) async fn start(&self, body: LoginBody) -> Result<Login, Problem> {
        let _reserved = self.reserve()?;
        self.workspaces(body.workspace.as_deref())?;
        match body.flow {
            Flow::Browser => self.start_browser(body).await,
            Flow::Device => self.start_device(body).await,
        }
    }

    /// A place for a login that is being started. It is taken before the first await, so that logins that are started
    /// at the same time cannot exceed the limit together.
    fn reserve(&self) -> Result<Reserved<'_>, Problem> {
        let mut registry = self.registry();
        if registry.reserve(MOST_PENDING) {
            return Ok(Reserved(self));
        }
        let (now, lifetime) = (clock::now(), self.0.settings.borrow().lifetime);
        let mut ends: Vec<_> = registry.ends().collect();
        // Of those that are being started, the end is not known yet.
        ends.resize(registry.pending(), later(now, lifetime));
        Err(reply::too_many_logins(&ends, now))
    }

    async fn start_browser(&self, body: LoginBody) -> Result<Login, Problem> {
        let settings = self.0.settings.borrow().clone();
        let port = self.redirect_port(body.paste, settings.first_port)?;
        let (now, deadline) = (clock::now(), Instant::now() + settings.lifetime);
        let mode = reply::mode_preference(body.mode, settings.mode);
        let redirect_uri = settings.provider.redirect_uri(port);
        let attempt = Attempt::new(redirect_uri.clone(), mode, body.workspace, now, settings.lifetime);
        let login = Login {
            id: new_id(),
            profile: body.profile.unwrap_or_else(ProfileName::first),
            flow: Flow::Browser,
            state: LoginState::Pending,
            authorize_url: Some(attempt.authorize_url(&settings.provider)),
            open_url: None,
            redirect_uri: Some(redirect_uri),
            verification_url: None,
            user_code: None,
            created_at: now,
            expires_at: attempt.expires_at,
            error: None,
            result: None,
        };
        let sealed = StoredLogin::text(&login, body.replace, &attempt);
        if let Err(error) = self.0.store.save(&Key::login(&login.id), "authd: pending sign-in", sealed).await
        {
            warn!(%error, "the login is not sealed: it would not survive a restart");
        }
        // It is not in the stored copy: after a restart, whether the link was used would not be known.
        let login = Login { open_url: (!body.paste).then(|| self.link(port)).flatten(), ..login };
        self.register_until(deadline, login.clone(), body.replace, attempt);
        Ok(login)
    }

    /// A new link to a login's authorize URL, on the callback server that listens on this port.
    fn link(&self, port: u16) -> Option<String> {
        let listens = self.0.callback.borrow().port() == Some(port);
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        listens.then(|| format!("http://localhost:{port}{LINK_PATH}{token}"))
    }

    /// A login, now.
    pub(crate) fn get(&self, id: &str) -> Result<Login, Problem> {
        self.registry().logins.get(id).map(|entry| entry.login.borrow().clone()).ok_or_else(|| unknown(id))
    }

    /// The login that began next after this one, or the oldest, of those that are pending or remembered.
    pub(crate) fn next_after(&self, age: Option<Age>) -> Option<(Age, Login)> {
        let mut registry = self.registry();
        registry.purge();
        registry.next_after(age).map(|entry| (entry.age, entry.login.borrow().clone()))
    }

    /// A login, when its state has changed or the time is up.
    pub(crate) async fn wait(&self, id: &str, wait: Duration) -> Result<Login, Problem> {
        let mut seen =
            self.registry().logins.get(id).map(|entry| entry.login.subscribe()).ok_or_else(|| unknown(id))?;
        let before = seen.borrow_and_update().state;
        if !before.is_final() {
            let changed = seen.wait_for(|login| login.state != before);
            tokio::select! {
                _ = tokio::time::timeout(wait, changed) => {}
                // Nobody comes any more; what is being redeemed is brought to its end first.
                () = self.0.stopping.cancelled(), if before == LoginState::Pending => {}
            }
        }
        let login = seen.borrow().clone();
        Ok(login)
    }

    /// Calls a login off. One whose code is being exchanged runs on to its end.
    pub(crate) fn cancel(&self, id: &str) -> Result<(), Problem> {
        let mut registry = self.registry();
        let entry = registry.logins.get_mut(id).ok_or_else(|| unknown(id))?;
        if entry.login.borrow().state == LoginState::Pending {
            entry.attempt = None;
            entry.end(LoginState::Cancelled, None);
            registry.purge();
            drop(registry);
            self.unseal(id);
        }
        Ok(())
    }

    /// The workspaces that a login may end in: the one that it asks for, or all that are accepted.
    fn workspaces(&self, asked: Option<&str>) -> Result<Vec<String>, Problem> {
        let settings = self.0.settings.borrow();
        signin::workspaces(asked, &settings.workspaces)
            .ok_or_else(|| reply::workspace_refused(asked.unwrap_or_default(), &settings.workspaces))
    }

    /// Waits for every exchange that is under way.
    pub(crate) async fn drain(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// The port that the browser is to return to.
    fn redirect_port(&self, paste: bool, first: u16) -> Result<u16, Problem> {
        let callback = self.0.callback.borrow();
        match callback.port() {
            Some(port) => Ok(port),
            None if paste => Ok(first),
            None => Err(reply::callback_unavailable(&callback)),
        }
    }

    /// Enters a login that an earlier daemon started. It has the time that is left by the wall clock, and never more
    /// than a new one.
    fn register(&self, login: Login, replace: bool, attempt: Attempt) {
        let left = Duration::try_from(login.expires_at.duration_since(clock::now())).unwrap_or_default();
        let deadline = Instant::now() + left.min(self.0.settings.borrow().lifetime);
        self.register_until(deadline, login, replace, attempt);
    }

    fn register_until(&self, deadline: Instant, login: Login, replace: bool, attempt: Attempt) {
        let (id, state) = (login.id.clone(), attempt.state.clone());
        self.enter(Entry::new(login, replace, Some(attempt), deadline), Some(state));
        let (logins, stopping) = (self.clone(), self.0.stopping.clone());
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => logins.expire(&id),
                () = stopping.cancelled() => {}
            }
        });
    }

    fn enter(&self, entry: Entry, state: Option<State>) {
        let id = entry.login.borrow().id.clone();
        self.registry().enter(entry, state);
        self.changed(&id);
    }

    fn changed(&self, id: &str) {
        self.0.events.tell(News::Login(id.to_owned()));
    }

    fn expire(&self, id: &str) {
        let mut registry = self.registry();
        let Some(entry) = registry.logins.get_mut(id) else { return };
        if entry.attempt.take().is_none() {
            return;
        }
        let problem = reply::login_expired(&entry.login.borrow().profile);
        entry.end(LoginState::Expired, Some(problem));
        registry.purge();
        drop(registry);
        self.unseal(id);
    }

    /// Consumes the attempt, if it is there still, and sets out to redeem the code. A browser that goes
    /// away cancels nothing.
    fn take(&self, id: &str, callback: Callback) {
        let mut registry = self.registry();
        let Some(entry) = registry.logins.get_mut(id) else { return };
        if entry.is_overdue() {
            drop(registry);
            return self.expire(id);
        }
        let Some(attempt) = entry.attempt.take() else { return };
        entry.claim();
        let (profile, replace) = (entry.login.borrow().profile.clone(), entry.replace);
        drop(registry);
        self.changed(id);
        let (logins, id) = (self.clone(), id.to_owned());
        let span = info_span!("login", %id);
        let redeeming = async move {
            let outcome = logins.redeem(&id, attempt, callback, profile, replace).await;
            logins.end(&id, outcome);
        };
        self.0.tasks.spawn(redeeming.instrument(span));
    }

    async fn redeem(
        &self,
        id: &str,
        attempt: Attempt,
        callback: Callback,
        profile: ProfileName,
        replace: bool,
    ) -> Result<ProfileName, Problem> {
        let wish = Wish { mode: attempt.mode, workspaces: self.workspaces(attempt.workspace.as_deref())? };
        // Whether it came in time is known already, by a clock that cannot be set.
        let accepted = attempt.accept(callback, Timestamp::MIN);
        let exchange = accepted.map_err(|failure| reply::login_failed(&failure, &profile))?;
        self.sign_in(id, exchange, &wish, profile, replace).await
    }

    /// Spends a code, and keeps what it brings.
    async fn sign_in(
        &self,
        id: &str,
        exchange: Exchange,
        wish: &Wish,
        profile: ProfileName,
        replace: bool,
    ) -> Result<ProfileName, Problem> {
        let grant = signin::redeem(&self.0.endpoint, exchange, wish)
            .await
            .map_err(|failure| reply::login_failed(&failure, &profile))?;
        let placement = if replace { Placement::Replace } else { Placement::OwnOrOther };
        // The login names the grant: a record with its id shows the next start that the login was finished.
        let grant_id = id.into();
        let sign_in = SignIn { wanted: profile.clone(), placement, grant, grant_id, intent: None };
        self.0.keeper.sign_in(sign_in).await.map_err(|error| reply::keeper_failed(&error, &profile))
    }

    fn end(&self, id: &str, outcome: Result<ProfileName, Problem>) {
        let result = outcome.map(|name| {
            info!(profile = %name, "signed in");
            reply::profile_of(&self.0.keeper.directory(), &name, clock::now())
        });
        let mut registry = self.registry();
        // One that was called off while the provider was asked stays so.
        if let Some(entry) = registry.logins.get_mut(id).filter(|entry| !entry.is_over()) {
            match result {
                Ok(profile) => {
                    entry.login.send_modify(|login| login.result = profile);
                    entry.end(LoginState::Succeeded, None);
                }
                Err(problem) => {
                    warn!(code = problem.code.as_str(), "the login failed");
                    entry.end(LoginState::Failed, Some(problem));
                }
            }
        }
        registry.purge();
        drop(registry);
        self.unseal(id);
    }

    async fn wait_until_final(&self, id: &str) -> Result<Login, Problem> {
        let mut seen =
            self.registry().logins.get(id).map(|entry| entry.login.subscribe()).ok_or_else(|| unknown(id))?;
        let login = seen.wait_for(|login| login.state.is_final()).await;
        login.map(|login| login.clone()).map_err(|_| unknown(id))
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        // Nothing that holds the lock can leave the registry half changed.
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a login that is being started; given back when dropped.
struct Reserved<'l>(&'l Logins);

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.0.registry().release();
    }
}

/// A login's id: 72 random bits are no secret, but nobody guesses another's.
fn new_id() -> String {
    format!("lg_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 9]>()))
}

fn unknown(id: &str) -> Problem {
    let shown: String = id.chars().filter(char::is_ascii_graphic).take(32).collect();
    Problem::new(ErrorCode::LoginUnknown, format!("there is no login {shown}"))
        .hint("start one: authctl login")
}
