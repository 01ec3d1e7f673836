//! Daemons, their database and their provider.

use std::{collections::BTreeMap, net::TcpListener, time::Duration};

use authd_fleet::{Fleet, FleetConfig};
use authd_sandbox::{
    Config, Route, Sandbox,
    postgres::{FLEET_KEY, TestPostgres},
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use tempfile::TempDir;

use crate::{
    namespace::{Namespace, wrong_clock},
    proxy::{Link, Proxy},
};

const AUTHD: &str = env!("CARGO_BIN_EXE_authd");

/// The longest wait for a condition.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(90);

/// The seconds by which the clock of some nodes is wrong. More than five minutes are refused.
const WRONG_CLOCKS: [(usize, i32); 2] = [(2, 200), (3, -200)];

/// A node of the fleet. All but the first, where users sign in, run in network namespaces.
pub(crate) struct Node {
    pub(crate) daemon: TestDaemon,
    pub(crate) proxy: Proxy,
    _provider: Option<Proxy>,
    namespace: Option<Namespace>,
    /// The seconds by which its clock is ahead.
    ahead: i32,
}

impl Node {
    /// Takes the network of the node away, or gives it back.
    pub(crate) fn set_network(&self, is_up: bool) {
        match &self.namespace {
            Some(namespace) => namespace.set_network(is_up),
            None => self.proxy.set(if is_up { Link::Works } else { Link::Silent }),
        }
    }
}

/// A fleet of daemons.
pub(crate) struct TestFleet {
    pub(crate) nodes: Vec<Node>,
    pub(crate) postgres: TestPostgres,
    pub(crate) sandbox: Sandbox,
    _programs: TempDir,
}

impl TestFleet {
    /// `None` if PostgreSQL is not installed.
    pub(crate) async fn start(nodes: usize, config: Config) -> Option<Self> {
        let postgres = TestPostgres::start().unwrap()?;
        let sandbox = Sandbox::start(config).await.unwrap();
        let (fleet, _) = Fleet::start(FleetConfig {
            deadline: Duration::from_secs(20),
            ..FleetConfig::new(postgres.url(), FLEET_KEY, "test")
        })
        .unwrap();
        fleet.migrate_schema().await.unwrap();
        let programs = tempfile::tempdir().unwrap();
        let mut started = Vec::new();
        for number in 0..nodes {
            let namespace = if number == 0 { None } else { Namespace::create() };
            let listener = |port| match &namespace {
                Some(namespace) => namespace.listen(port),
                None => TcpListener::bind(("127.0.0.1", port)).unwrap(),
            };
            let proxy = Proxy::start(listener(0), postgres.port());
            let port = |port: u16| format!(":{port}/");
            let url = postgres.url().replace(&port(postgres.port()), &port(proxy.port));
            let table = postgres.node_table(&format!("node-{number}"), &url).unwrap();
            let mut config = TestDaemonConfig::new(AUTHD, &sandbox)
                .store("postgres")
                .toml(&format!("{table}local = 'file'\npoll = '1s'\n\n[network]\ntimeout = '5s'\n"));
            let provider = namespace.as_ref().map(|namespace| {
                config.authd = namespace.wrap(AUTHD, programs.path());
                let port = sandbox.address().port();
                Proxy::start(namespace.listen(port), port)
            });
            let mut ahead = 0;
            if let Some((_, seconds)) = WRONG_CLOCKS.iter().find(|(node, _)| *node == number)
                && let Some(variables) = wrong_clock(*seconds)
            {
                ahead = *seconds;
                config = variables.iter().fold(config, |config, (name, value)| config.env(name, value));
            }
            let daemon = TestDaemon::start(config).await;
            started.push(Node { daemon, proxy, _provider: provider, namespace, ahead });
        }
        Some(Self { nodes: started, postgres, sandbox, _programs: programs })
    }

    /// The access token that a node serves for a profile; `None` if it serves none.
    pub(crate) async fn token(&self, node: usize, profile: &str) -> Option<String> {
        let path = format!("/v1/profiles/{profile}/headers");
        let reply = self.nodes[node].daemon.try_request("GET", &path, &[], "").await.ok()?;
        if reply.status != 200 {
            return None;
        }
        let headers = reply.json();
        let pairs = headers["headers"].as_array().unwrap();
        let pair =
            pairs.iter().find(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case("authorization"))?;
        pair[1].as_str().unwrap().strip_prefix("Bearer ").map(str::to_owned)
    }

    /// Waits until all nodes serve the same valid token, and returns it.
    pub(crate) async fn agreed_token(&self, profile: &str) -> String {
        let agreed = tokio::time::timeout(TIMEOUT, async {
            loop {
                let mut tokens = Vec::new();
                for node in 0..self.nodes.len() {
                    tokens.push(self.token(node, profile).await);
                }
                tokens.dedup();
                if let [Some(token)] = &tokens[..] {
                    return token.clone();
                }
            }
        });
        let token = agreed.await.unwrap_or_else(|_| panic!("the nodes do not agree on {profile}"));
        assert!(self.sandbox.token_info(&token).is_some_and(|info| info.valid), "{profile}: invalid token");
        token
    }

    /// Checks that each clock is as wrong as it should be.
    pub(crate) async fn check_clocks(&self) {
        for node in &self.nodes {
            let store = node.daemon.get("/v1/status").await["store"].take();
            let database_ahead = store["fleet"]["clock_ahead_ms"].as_i64().unwrap();
            let error = database_ahead + 1_000 * i64::from(node.ahead);
            assert!(error.abs() < 60_000, "{} s and {store}", node.ahead);
        }
    }

    /// How often each refresh token was sent.
    pub(crate) fn sent(&self) -> BTreeMap<String, usize> {
        let mut sent = BTreeMap::new();
        for request in self.sandbox.requests_of(Route::Refresh) {
            let token = refresh_token(&request.body).expect("a refresh names its token");
            *sent.entry(token).or_default() += 1;
        }
        sent
    }
}

/// The refresh token in the body of a request.
fn refresh_token(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    body["refresh_token"].as_str().map(str::to_owned)
}
