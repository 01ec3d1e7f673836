//! Nodes of a fleet in one process: brokers over one PostgreSQL server and one provider.

use std::{path::PathBuf, sync::Arc, time::Duration};

use age::x25519;
use authd_api::{LoginBody, LoginState, ProfileName};
use authd_broker::{
    Broker, BrokerConfig, BrokerTasks, CallbackServerState, FleetSetup, LoginSettings, Names, ProfileHandle,
    RenderContext, now,
};
use authd_fleet::{Fleet, FleetConfig, Tls};
use authd_oauth::{ClientIdentity, Endpoint, ModePreference, Network, Provider};
use authd_sandbox::{Sandbox, postgres::TestPostgres};
use authd_store::{Config, KeySource, StateDir, StateDirError, Store, StorePreference};
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The longest wait for a condition.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// A database server, a provider, and the fleet's key.
pub(crate) struct World {
    pub(crate) postgres: TestPostgres,
    pub(crate) sandbox: Sandbox,
    key: SecretString,
}

impl World {
    /// `None` if PostgreSQL is not installed.
    pub(crate) async fn start(config: authd_sandbox::Config) -> Option<Self> {
        let postgres = TestPostgres::start().unwrap()?;
        let sandbox = Sandbox::start(config).await.unwrap();
        let key = SecretString::from(x25519::Identity::generate().to_string().expose_secret());
        let world = Self { postgres, sandbox, key };
        let (fleet, _) = world.fleet("first");
        fleet.migrate_schema().await.unwrap();
        Some(world)
    }

    pub(crate) fn fleet(&self, node: &str) -> (Fleet, authd_fleet::Task) {
        Fleet::start(FleetConfig {
            url: SecretString::from(self.postgres.url()),
            key: self.key.clone(),
            schema: "authd".to_owned(),
            node: node.into(),
            tls: Tls::Auto,
            ca_file: None,
            call_limit: Duration::from_secs(30),
            deadline: Duration::from_secs(20),
            poll: Duration::from_secs(1),
        })
        .unwrap()
    }

    /// A new node.
    pub(crate) async fn node(&self, name: &str) -> Node {
        let directory = tempfile::tempdir().unwrap();
        self.start_node(name, directory, true).await
    }

    /// A node with this state directory. Its logins are files.
    pub(crate) async fn start_node(&self, name: &str, directory: TempDir, is_preferred: bool) -> Node {
        let provider = Provider::with_issuer(&self.sandbox.url());
        let client = ClientIdentity {
            originator: "codex_cli_rs".into(),
            version: "0.34.0".into(),
            user_agent: "codex_cli_rs/0.34.0".into(),
        };
        let key_file = directory.path().join("store.key");
        let store = Config {
            kind: StorePreference::File,
            service: "authd".to_owned(),
            key: KeySource { credentials_directory: None, passphrase_file: None, key_file },
            deadline: Duration::from_secs(20),
            memory_control: None,
        };
        let state_dir = open_state_dir(directory.path().join("state")).await;
        let logins = LoginSettings {
            lifetime: Duration::from_secs(600),
            mode: ModePreference::Auto,
            workspaces: Vec::new(),
            ports: vec![1455],
            provider: provider.clone(),
        };
        let endpoint = Endpoint::new(provider.clone(), client.clone(), Network::default()).unwrap();
        let render_context = RenderContext {
            revision: 0,
            provider,
            client,
            override_client: false,
            organization: None,
            project: None,
        };
        let (fleet, task) = self.fleet(name);
        let stopping = CancellationToken::new();
        let (broker, tasks) = Broker::start(BrokerConfig {
            endpoint,
            store: Store::open(store, state_dir.clone()),
            fleet: Some(FleetSetup { fleet, task, is_preferred }),
            state_dir,
            render_context: watch::channel(Arc::new(render_context)).1,
            login_settings: watch::channel(Arc::new(logins)).1,
            providers: watch::channel(Arc::default()).1,
            quota_low: watch::channel(10).1,
            callback: watch::channel(CallbackServerState::default()).1,
            listeners: mpsc::channel(1).0,
            stopping: stopping.clone(),
        })
        .await;
        Node { broker, tasks, stopping, directory }
    }
}

/// One node.
pub(crate) struct Node {
    pub(crate) broker: Broker,
    tasks: BrokerTasks,
    stopping: CancellationToken,
    directory: TempDir,
}

impl Node {
    /// Signs in with the page of the provider.
    pub(crate) async fn sign_in(&self, world: &World, profile: &str, account: &str) {
        let logins = &self.broker.logins;
        let body = LoginBody { paste: true, profile: Some(name(profile)), ..LoginBody::default() };
        let login = logins.start(body).await.unwrap();
        let url = login.authorize_url.unwrap();
        let redirect = world.sandbox.browser().redirect(&url, account).await.unwrap();
        let login = logins.finish_with_pasted(&login.id, &redirect).await.unwrap();
        assert_eq!(login.state, LoginState::Succeeded);
    }

    pub(crate) fn profile(&self, profile: &str) -> ProfileHandle {
        self.broker.registry.snapshot().profiles[&name(profile)].clone()
    }

    /// Waits until this is true. The fleet's events and the profiles' events wake it.
    pub(crate) async fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let mut events = self.broker.events.subscribe();
        let waited = tokio::time::timeout(TIMEOUT, async {
            while !condition(self) {
                events.recv().await.ok();
            }
        });
        waited.await.unwrap_or_else(|_| {
            let (snapshot, engine) = (self.broker.registry.snapshot(), self.broker.fleet.as_ref());
            let engine = engine.map(|fleet| fleet.watch().borrow().clone());
            let profiles: Vec<_> = snapshot.profiles.keys().collect();
            panic!(
                "waited for: {what}; names: {:?}, profiles: {profiles:?}, engine: {engine:?}",
                snapshot.names
            )
        });
    }

    pub(crate) async fn wait_for_profile(&self, profile: &str) {
        self.wait_until(profile, |node| node.has(profile)).await;
    }

    pub(crate) fn has(&self, profile: &str) -> bool {
        let snapshot = self.broker.registry.snapshot();
        matches!(snapshot.names, Names::Known) && snapshot.profiles.contains_key(&name(profile))
    }

    /// The `Authorization` header that clients get.
    pub(crate) fn authorization(&self, profile: &str) -> String {
        let view = self.profile(profile).view();
        let snapshot = view.snapshot().expect("the record was read");
        let secret = snapshot.credential.bearer.expose().to_owned();
        assert!(snapshot.credential.remaining(now()) > Duration::ZERO, "{profile} is expired");
        secret
    }

    /// Shuts the broker down as the daemon does. Returns its state.
    pub(crate) async fn shut_down(self) -> TempDir {
        self.stopping.cancel();
        tokio::time::timeout(TIMEOUT, self.tasks.drain()).await.expect("every task ends");
        self.directory
    }
}

/// Opens the state directory once the threads of an earlier broker have released it.
async fn open_state_dir(path: PathBuf) -> StateDir {
    let opened = tokio::time::timeout(TIMEOUT, async {
        loop {
            match StateDir::open(path.clone()) {
                Ok(opened) => return opened,
                Err(StateDirError::AlreadyOwned { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    opened.await.expect("the earlier broker releases its state directory")
}

pub(crate) fn name(text: &str) -> ProfileName {
    text.parse().unwrap()
}
