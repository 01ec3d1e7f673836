//! Nodes of a fleet in one process: brokers over one PostgreSQL server and one provider.

use std::{path::PathBuf, time::Duration};

use age::x25519;
use authd_api::{LoginBody, LoginState, ProfileName};
use authd_broker::{Broker, BrokerTasks, FleetSetup, Names, ProfileHandle, now};
use authd_fleet::{Fleet, FleetConfig};
use authd_sandbox::{Sandbox, postgres::TestPostgres};
use authd_store::{StateDir, StateDirError, StorePreference};
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::support;

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
            deadline: Duration::from_secs(20),
            poll: Duration::from_secs(1),
            ..FleetConfig::new(self.postgres.url(), self.key.clone(), node)
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
        let state_dir = open_state_dir(directory.path().join("state")).await;
        let store = support::store(StorePreference::File, directory.path(), &state_dir);
        let (fleet, task) = self.fleet(name);
        let setup = FleetSetup { fleet, task, is_preferred };
        let issuer = self.sandbox.url();
        let (config, _) = support::broker_config(&issuer, Vec::new(), (store, state_dir), Some(setup));
        let stopping = config.stopping.clone();
        let (broker, tasks) = Broker::start(config).await;
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
            let (snapshot, database) = (self.broker.registry.snapshot(), self.broker.fleet.as_ref());
            let database = database.map(|fleet| fleet.watch().borrow().clone());
            let profiles: Vec<_> = snapshot.profiles.keys().collect();
            panic!(
                "waited for: {what}; names: {:?}, profiles: {profiles:?}, database: {database:?}",
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
