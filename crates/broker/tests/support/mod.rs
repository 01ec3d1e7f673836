//! The configuration of a broker that the tests share.

use std::{path::Path, sync::Arc, time::Duration};

use authd_broker::{BrokerConfig, CallbackServerState, FleetSetup, LoginSettings, RenderContext};
use authd_oauth::{ClientIdentity, Endpoint, ModePreference, Network, Provider};
use authd_store::{Config, KeySource, StateDir, Store, StorePreference};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A store of this kind, with its key in this directory.
pub(crate) fn store(kind: StorePreference, directory: &Path, state_dir: &StateDir) -> Store {
    let key_file = directory.join("store.key");
    let config = Config {
        kind,
        service: "authd".to_owned(),
        key: KeySource { credentials_directory: None, passphrase_file: None, key_file },
        // Long, so that a busy machine does not exceed it.
        deadline: Duration::from_secs(20),
        memory_control: None,
    };
    Store::open(config, state_dir.clone())
}

/// A broker with the provider of this issuer. The sender reloads the settings of rendered
/// credentials.
pub(crate) fn broker_config(
    issuer: &str,
    workspaces: Vec<String>,
    (store, state_dir): (Store, StateDir),
    fleet: Option<FleetSetup>,
) -> (BrokerConfig, watch::Sender<Arc<RenderContext>>) {
    let provider = Provider::with_issuer(issuer);
    let client = ClientIdentity {
        originator: "codex_cli_rs".into(),
        version: "0.34.0".into(),
        user_agent: "codex_cli_rs/0.34.0".into(),
    };
    let login_settings = LoginSettings {
        lifetime: Duration::from_secs(600),
        mode: ModePreference::Auto,
        workspaces,
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
    let (reload, render_context) = watch::channel(Arc::new(render_context));
    let config = BrokerConfig {
        endpoint,
        store,
        fleet,
        state_dir,
        render_context,
        login_settings: watch::channel(Arc::new(login_settings)).1,
        providers: watch::channel(Arc::default()).1,
        quota_low: watch::channel(10).1,
        callback: watch::channel(CallbackServerState::default()).1,
        listeners: mpsc::channel(1).0,
        stopping: CancellationToken::new(),
    };
    (config, reload)
}
