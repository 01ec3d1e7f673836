//! OpenAI on loopback: a strict stand-in for the auth server, the ChatGPT backend and the API, for tests and for
//! demonstrations. It is written from what is known of the wire, refuses what the provider refuses, and shares no
//! code with the daemon; it is not lenient, not complete, and knows nobody's real secrets.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use authd_sandbox::{Config, Fault, Route, Sandbox};
//!
//! let sandbox = Sandbox::start(Config::default()).await?;
//! sandbox.faults().push(Route::Refresh, Fault::DropAfterCommit); // the next refresh loses its answer
//! // … point a client at sandbox.endpoints() …
//! sandbox.wait_for(Route::Refresh, 1).await; // by event, never by sleep
//! # Ok(())
//! # }
//! ```
//!
//! One server plays all three hosts by path. With [`Config::tls`] it also plays them by name: see
//! [`Sandbox::proxy_url`]. [`test_daemon`] runs the daemon itself against a sandbox.

mod account;
mod authorize;
mod backend;
mod browser;
mod control;
mod device;
mod faults;
mod gate;
mod ledger;
mod network;
mod params;
mod platform;
mod proxy;
mod record;
mod reply;
mod responses;
mod route;
mod router;
mod shared;
pub mod test_daemon;
mod tls;
mod token;
mod tokens;
mod websocket;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{network::Network, proxy::Proxy, shared::Shared};

pub use crate::{
    account::{Account, Routing},
    browser::{Browser, BrowserEnd},
    faults::{Fault, Faults},
    ledger::Provenance,
    proxy::PROXY_USER,
    record::Recorded,
    route::Route,
    tls::{HOSTS, Tls, TlsError},
};

/// How a sandbox shall be.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who can sign in.
    pub accounts: Vec<Account>,
    /// The account that signs in at once where the query names none; `None` shows the page.
    pub next_account: Option<String>,
    /// The one client that is known.
    pub client_id: String,
    /// The models on offer, the preferred one first.
    pub models: Vec<String>,
    /// Whether device login is switched on; if not, it answers 404.
    pub device_login: bool,
    /// Seconds between polls, as device login asks for them.
    pub device_interval: u64,
    /// Whether the Codex endpoints insist on `chatgpt-account-id`. The provider was measured not to.
    pub account_id_required: bool,
    /// Serve TLS, check that each path is asked of the right host, and run a proxy for the real names.
    pub tls: Option<Tls>,
}

/// A running sandbox; dropping it stops it.
pub struct Sandbox {
    shared: Arc<Shared>,
    network: Network,
    proxy: Option<Proxy>,
    tls: Option<Tls>,
}

/// All tokens, codes and keys of a sandbox at one moment.
pub struct Checkpoint(ledger::Ledger);

/// What a client must be configured with to use the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The auth server, without a trailing slash.
    pub issuer: String,
    /// The base of the Codex endpoints, without a trailing slash.
    pub chatgpt_base_url: String,
    /// The base of the ChatGPT backend, with a trailing slash.
    pub chatgpt_backend_url: String,
    /// The base of the API, without a trailing slash.
    pub api_base_url: String,
    /// The client's id.
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
            device_login: true,
            device_interval: 1,
            account_id_required: true,
            tls: None,
        }
    }
}

impl Config {
    /// The default with these accounts instead of the presets.
    pub fn with_accounts(accounts: impl IntoIterator<Item = Account>) -> Self {
        Self { accounts: accounts.into_iter().collect(), ..Self::default() }
    }

    /// The same with access tokens that live this long, for every account.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.accounts = self.accounts.into_iter().map(|account| account.with_lifetime(lifetime)).collect();
        self
    }
}

impl Sandbox {
    /// Listens and serves from now on, in tasks of the current runtime. Fails if the port cannot be had.
    pub async fn start(config: Config) -> io::Result<Self> {
        let tls = config.tls.clone();
        let listen = config.listen;
        let shared = Arc::new(Shared::new(config));
        let acceptor = tls.as_ref().map(Tls::acceptor);
        let network = Network::start(listen, acceptor, router::router(Arc::clone(&shared)))?;
        let proxy = if tls.is_some() { Some(Proxy::start(network.address()).await?) } else { None };
        Ok(Self { shared, network, proxy, tls })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.network.address()
    }

    /// The root URL of everything, without a trailing slash; in TLS mode good for `/_sandbox` alone.
    pub fn url(&self) -> String {
        match self.tls {
            None => format!("http://{}", self.address()),
            Some(_) => format!("https://localhost:{}", self.address().port()),
        }
    }

    /// What to configure a client with; in TLS mode the provider's real addresses.
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

    /// The certificate authority to trust (for `SSL_CERT_FILE`), in TLS mode.
    pub fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(Tls::ca_pem)
    }

    /// A proxy (for `HTTPS_PROXY`) that leads the three real names here, in TLS mode. It may be told
    /// [`PROXY_USER`], and no other user.
    pub fn proxy_url(&self) -> Option<String> {
        self.proxy.as_ref().map(Proxy::url)
    }

    /// A browser that can reach this sandbox.
    pub fn browser(&self) -> Browser {
        Browser::new(self.tls.as_ref().map(|tls| (self.address(), tls.connector())))
    }

    /// The trouble to come.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Closes the port and every connection: from now on connections are refused.
    pub async fn pause(&self) {
        self.network.set_open(false).await;
    }

    /// Opens the same port again.
    pub async fn resume(&self) {
        self.network.set_open(true).await;
    }

    /// The newest requests, oldest first: at most 4096.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.log.all()
    }

    /// The newest requests of one route, oldest first.
    pub fn requests_of(&self, route: Route) -> Vec<Recorded> {
        self.requests().into_iter().filter(|recorded| recorded.route == route).collect()
    }

    /// How many requests of this route have come.
    pub fn count(&self, route: Route) -> usize {
        self.shared.log.count(route)
    }

    /// Forgets the requests so far, and starts counting anew.
    pub fn clear_requests(&self) {
        self.shared.log.clear();
    }

    /// Returns once at least `n` requests of this route have come (not: have been answered).
    pub async fn wait_for(&self, route: Route, n: usize) {
        self.shared.log.wait_for(route, n).await;
    }

    /// How many refresh tokens were exchanged for new ones so far, whether or not anybody heard of it.
    pub fn rotations(&self) -> usize {
        self.shared.ledger().rotations()
    }

    /// Every secret issued so far, oldest first: codes, tokens, keys, verifiers. None may appear in a log.
    pub fn issued_secrets(&self) -> Vec<String> {
        self.shared.ledger().issued().to_vec()
    }

    /// Where a refresh or access token comes from, and whether it is good; nothing for one never issued.
    pub fn provenance(&self, token: &str) -> Option<Provenance> {
        self.shared.ledger().provenance(token, std::time::SystemTime::now())
    }

    /// Remembers which tokens, codes and keys are good now.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint(self.shared.ledger().clone())
    }

    /// Makes those tokens, codes and keys good again that were so at the checkpoint, and no others.
    pub fn rewind(&self, to: &Checkpoint) {
        *self.shared.ledger() = to.0.clone();
    }

    /// Who signs in at once where the query names no account; `None` brings the page back.
    pub fn set_next_account(&self, name: Option<&str>) {
        self.shared.set_next_account(name.map(str::to_owned));
    }

    /// Adds an account, or replaces the one of that name: tokens issued from now on say so.
    pub fn put_account(&self, account: Account) {
        self.shared.ledger().put_account(account);
    }

    /// Makes an API key as a person does on the platform's own site.
    pub fn issue_api_key(&self, account: &str) -> String {
        self.shared.ledger().issue_api_key(account)
    }

    /// Ends the life of every access token issued so far.
    pub fn expire_access_tokens(&self) {
        self.shared.expire_access_tokens();
    }

    /// Ends the life of every refresh token issued so far.
    pub fn expire_refresh_tokens(&self) {
        self.shared.ledger().expire_refresh_tokens();
    }

    /// Revokes every session of this account's user, as an administrator does.
    pub fn revoke_account(&self, account: &str) {
        self.shared.ledger().revoke_account(account);
    }

    /// Approves a device login as this account. False if no such code is pending, or there is no such account.
    pub fn approve_device(&self, user_code: &str, account: &str) -> bool {
        self.shared.decide_device(user_code, Some(account))
    }

    /// Denies a device login. False if no such code is pending.
    pub fn deny_device(&self, user_code: &str) -> bool {
        self.shared.decide_device(user_code, None)
    }
}

/// Locks; a panic elsewhere while the lock was held concerns that test, not this one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
