//! A stand-in for OpenAI on loopback: the auth server, the ChatGPT backend and the API, for tests
//! and demonstrations. It follows the observed protocol and rejects what the provider rejects. It
//! shares no code with the daemon, implements only what the daemon and its clients use, and needs
//! no real credentials.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use authd_sandbox::{Config, Fault, Route, Sandbox};
//!
//! let sandbox = Sandbox::start(Config::default()).await?;
//! sandbox.faults().push(Route::Refresh, Fault::DropAfterCommit); // the next refresh gets no response
//! // … point a client at sandbox.endpoints() …
//! sandbox.wait_for(Route::Refresh, 1).await; // waits for the request, without sleeping
//! # Ok(())
//! # }
//! ```
//!
//! One server serves the paths of all three hosts. With [`Config::tls`] it also serves their names:
//! see [`Sandbox::proxy_url`]. [`test_daemon`] runs the daemon against a sandbox.

mod account;
mod authorize;
mod backend;
mod browser;
mod client_version;
mod control;
mod device;
mod faults;
mod ledger;
mod middleware;
mod network;
mod params;
mod platform;
#[cfg(target_os = "linux")]
pub mod postgres;
mod proxy;
mod record;
mod response;
mod responses_api;
mod route;
mod router;
mod shared;
mod simulated_model;
pub mod test_daemon;
mod tls;
mod token;
mod tokens;
mod usage;
mod websocket;
mod whoami;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{network::Network, proxy::Proxy, shared::Shared};

pub use crate::{
    account::{Account, Routing},
    browser::{Browser, FinalPage},
    faults::{Fault, Faults},
    ledger::TokenInfo,
    proxy::PROXY_USER,
    record::Recorded,
    route::Route,
    tls::{HOSTS, Tls, TlsError},
    usage::{NamedUsage, Usage, UsageWindow},
};

/// The settings of a sandbox.
#[derive(Clone)]
pub struct Config {
    /// The address to listen on; port 0 selects a free port.
    pub listen: SocketAddr,
    /// The accounts that can sign in.
    pub accounts: Vec<Account>,
    /// The account that signs in if the query names none; `None` shows the sign-in page.
    pub next_account: Option<String>,
    /// The client id that the sandbox accepts.
    pub client_id: String,
    /// The names of the models, the preferred one first.
    pub models: Vec<String>,
    /// Models that need a client version, as pairs of model and version (`0.150.0`). An older
    /// client neither finds them in the list nor may use them.
    pub minimal_client_versions: Vec<(String, String)>,
    /// Whether device login is enabled; if not, its endpoint returns 404.
    pub device_login: bool,
    /// The polling interval of a device login, in seconds.
    pub device_interval: u64,
    /// The lifetime of a code that the start of a device login states; `None` states none. Every
    /// code lasts 15 minutes.
    pub device_lifetime: Option<Duration>,
    /// Whether the Codex endpoints require `chatgpt-account-id`. The provider did not require it
    /// when measured.
    pub account_id_required: bool,
    /// Serve TLS, check the host of each request, and run a proxy for the real host names.
    pub tls: Option<Tls>,
}

/// A running sandbox. Dropping it stops it.
pub struct Sandbox {
    shared: Arc<Shared>,
    network: Network,
    proxy: Option<Proxy>,
    tls: Option<Tls>,
}

/// The saved state of all tokens, codes and keys of a sandbox.
pub struct Checkpoint(ledger::Ledger);

/// The configuration of a client that uses the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The URL of the auth server, without a trailing slash.
    pub issuer: String,
    /// The base URL of the Codex endpoints, without a trailing slash.
    pub chatgpt_base_url: String,
    /// The base URL of the ChatGPT backend, with a trailing slash.
    pub chatgpt_backend_url: String,
    /// The base URL of the API, without a trailing slash.
    pub api_base_url: String,
    /// The client id.
    pub client_id: String,
}

impl Default for Config {
    /// The three preset accounts on a free port of 127.0.0.1, without TLS.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            accounts: Account::presets(),
            next_account: None,
            client_id: "app_EMoamEEZ73f0CkXaXp7hrann".into(),
            models: ["gpt-5.5", "gpt-5.4-mini", "gpt-5.2"].map(str::to_owned).to_vec(),
            minimal_client_versions: Vec::new(),
            device_login: true,
            device_interval: 1,
            device_lifetime: Some(device::LIFETIME),
            account_id_required: true,
            tls: None,
        }
    }
}

impl Config {
    /// The default settings with these accounts instead of the presets.
    pub fn with_accounts(accounts: impl IntoIterator<Item = Account>) -> Self {
        Self { accounts: accounts.into_iter().collect(), ..Self::default() }
    }

    /// Sets the lifetime of the access tokens of all accounts.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.accounts = self.accounts.into_iter().map(|account| account.with_lifetime(lifetime)).collect();
        self
    }
}

impl Sandbox {
    /// Starts the server in tasks of the current runtime. Fails if the address cannot be bound.
    pub async fn start(config: Config) -> io::Result<Self> {
        let tls = config.tls.clone();
        let listen = config.listen;
        let shared = Arc::new(Shared::new(config));
        let acceptor = tls.as_ref().map(Tls::acceptor);
        let network = Network::start(listen, acceptor, router::router(Arc::clone(&shared)))?;
        let proxy = if tls.is_some() { Some(Proxy::start(network.address()).await?) } else { None };
        Ok(Self { shared, network, proxy, tls })
    }

    /// The address of the server.
    pub fn address(&self) -> SocketAddr {
        self.network.address()
    }

    /// The root URL, without a trailing slash. In TLS mode it serves `/_sandbox` only.
    pub fn url(&self) -> String {
        match self.tls {
            None => format!("http://{}", self.address()),
            Some(_) => format!("https://localhost:{}", self.address().port()),
        }
    }

    /// The configuration of a client. In TLS mode it has the real addresses of the provider.
    pub fn endpoints(&self) -> Endpoints {
        let [auth, chatgpt, api] = match self.tls {
            None => HOSTS.map(|_| self.url()),
            Some(_) => HOSTS.map(|host| format!("https://{host}")),
        };
        Endpoints {
            issuer: auth,
            chatgpt_base_url: format!("{chatgpt}/backend-api/codex"),
            chatgpt_backend_url: format!("{chatgpt}/backend-api/"),
            api_base_url: format!("{api}/v1"),
            client_id: self.shared.client_id.clone(),
        }
    }

    /// The certificate of the authority (for `SSL_CERT_FILE`), in TLS mode.
    pub fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(Tls::ca_pem)
    }

    /// A proxy (for `HTTPS_PROXY`) that connects the three real host names to the sandbox, in TLS
    /// mode. It accepts requests without a user, and those of [`PROXY_USER`].
    pub fn proxy_url(&self) -> Option<String> {
        self.proxy.as_ref().map(Proxy::url)
    }

    /// A simulated browser that can reach this sandbox.
    pub fn browser(&self) -> Browser {
        Browser::new(self.tls.as_ref().map(|tls| (self.address(), tls.connector())))
    }

    /// The faults of the next requests.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Closes the port and every connection. New connections are refused until [`Sandbox::resume`].
    pub async fn pause(&self) {
        self.network.set_open(false).await;
    }

    /// Opens the same port again.
    pub async fn resume(&self) {
        self.network.set_open(true).await;
    }

    /// The latest requests, oldest first, at most 4096.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.log.all()
    }

    /// The latest requests of one route, oldest first.
    pub fn requests_of(&self, route: Route) -> Vec<Recorded> {
        self.requests().into_iter().filter(|recorded| recorded.route == route).collect()
    }

    /// The number of requests of this route.
    pub fn count(&self, route: Route) -> usize {
        self.shared.log.count(route)
    }

    /// Clears the recorded requests and their counters.
    pub fn clear_requests(&self) {
        self.shared.log.clear();
    }

    /// Returns when the sandbox has received at least `n` requests of this route. They may still be
    /// unanswered.
    pub async fn wait_for(&self, route: Route, n: usize) {
        self.shared.log.wait_for(route, n).await;
    }

    /// The number of rotated refresh tokens. A rotation counts even if its response was lost.
    pub fn rotations(&self) -> usize {
        self.shared.ledger().rotations()
    }

    /// Every issued secret, oldest first: codes, tokens, keys and verifiers. None may appear in a
    /// log.
    pub fn issued_secrets(&self) -> Vec<String> {
        self.shared.ledger().issued().to_vec()
    }

    /// The origin and state of a refresh or access token; `None` if the sandbox did not issue it.
    pub fn token_info(&self, token: &str) -> Option<TokenInfo> {
        self.shared.ledger().token_info(token, std::time::SystemTime::now())
    }

    /// Saves the state of all tokens, codes and keys.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint(self.shared.ledger().clone())
    }

    /// Restores the state of a checkpoint. Later tokens, codes and keys become unknown.
    pub fn rewind(&self, to: &Checkpoint) {
        *self.shared.ledger() = to.0.clone();
    }

    /// Sets the account that signs in if the query names none; `None` shows the sign-in page.
    pub fn set_next_account(&self, name: Option<&str>) {
        self.shared.set_next_account(name.map(str::to_owned));
    }

    /// Adds an account, or replaces the one of that name. Issued tokens keep their claims.
    pub fn put_account(&self, account: Account) {
        self.shared.ledger().put_account(account);
    }

    /// Sets how much of its usage limits an account has used. False if the account is unknown.
    pub fn set_usage(&self, account: &str, usage: Usage) -> bool {
        self.shared.set_usage(account, usage)
    }

    /// Creates an API key, as a user does on the provider's website.
    pub fn issue_api_key(&self, account: &str) -> String {
        self.shared.ledger().issue_api_key(account, false)
    }

    /// Creates an API key that may not list the models.
    pub fn issue_restricted_api_key(&self, account: &str) -> String {
        self.shared.ledger().issue_api_key(account, true)
    }

    /// Creates a personal access token, as a user does on the provider's website.
    pub fn issue_personal_access_token(&self, account: &str) -> String {
        self.shared.ledger().issue_personal_access_token(account)
    }

    /// Revokes a personal access token, as its user does.
    pub fn revoke_personal_access_token(&self, token: &str) {
        self.shared.ledger().revoke_personal_access_token(token);
    }

    /// Expires every access token issued so far.
    pub fn expire_access_tokens(&self) {
        self.shared.expire_access_tokens();
    }

    /// Expires every refresh token issued so far.
    pub fn expire_refresh_tokens(&self) {
        self.shared.ledger().expire_refresh_tokens();
    }

    /// Revokes all sessions of the user of this account, as an administrator does.
    pub fn revoke_account(&self, account: &str) {
        self.shared.ledger().revoke_account(account);
    }

    /// Approves a device login as this account. False if the code is not pending or the account is
    /// unknown.
    pub fn approve_device(&self, user_code: &str, account: &str) -> bool {
        self.shared.decide_device(user_code, Some(account))
    }

    /// Denies a device login. False if the code is not pending.
    pub fn deny_device(&self, user_code: &str) -> bool {
        self.shared.decide_device(user_code, None)
    }
}

/// Locks a mutex, and ignores poisoning: a panic in another test must not fail this one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
