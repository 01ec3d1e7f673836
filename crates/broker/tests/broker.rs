//! The broker without a socket, a configuration file or a service manager, over a memory store.

#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod support;

use std::{sync::Arc, time::Duration};

use authd_api::{LoginBody, LoginState, ProfileName};
use authd_broker::{
    Broker, BrokerTasks, ChangeEvent, Freshness, LoginError, NamePolicy, RegistryError, RegistrySnapshot,
    RenderContext, SignIn, now,
};
use authd_oauth::{ApiKey, Grant, new_grant_id};
use authd_store::{StateDir, StorePreference};
use tokio::sync::{broadcast::Receiver, watch};
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(10);

struct BrokerFixture {
    broker: Broker,
    tasks: BrokerTasks,
    events: Receiver<ChangeEvent>,
    reload: watch::Sender<Arc<RenderContext>>,
    stopping: CancellationToken,
    _directory: tempfile::TempDir,
}

/// A broker that knows its profiles: none.
async fn start() -> BrokerFixture {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = StateDir::open(directory.path().join("state")).unwrap();
    let store = support::store(StorePreference::Memory, directory.path(), &state_dir);
    let workspaces = vec!["acc-1".to_owned()];
    let (config, reload) = support::broker_config("http://127.0.0.1:9", workspaces, (store, state_dir), None);
    let stopping = config.stopping.clone();
    let (broker, tasks) = Broker::start(config).await;
    broker.registry.known(TIMEOUT).await.unwrap();
    let events = broker.events.subscribe();
    BrokerFixture { broker, tasks, events, reload, stopping, _directory: directory }
}

impl BrokerFixture {
    async fn add_api_key(&self, profile: &str) -> Result<ProfileName, RegistryError> {
        let grant = Grant::own_key(ApiKey::new("sk-test"), "own key", now());
        let (requested, name_policy, grant_id) = (name(profile), NamePolicy::Free, new_grant_id());
        let sign_in = SignIn { requested, name_policy, grant, grant_id, intent: None };
        self.broker.registry.sign_in(sign_in).await
    }

    fn snapshot(&self) -> Arc<RegistrySnapshot> {
        self.broker.registry.snapshot()
    }

    fn etag(&self, profile: &str) -> String {
        let view = self.snapshot().profiles[&name(profile)].view();
        view.snapshot().unwrap().headers.etag().to_str().unwrap().to_owned()
    }

    /// Waits for an event of each of these profiles, in any order.
    async fn expect_changes(&mut self, profiles: &[&str]) {
        let mut missing: Vec<_> = profiles.iter().map(|text| ChangeEvent::Profile(name(text))).collect();
        while !missing.is_empty() {
            let event = tokio::time::timeout(TIMEOUT, self.events.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("no event of {missing:?}")).unwrap();
            missing.retain(|expected| *expected != event);
        }
        // Events of the same command that are not expected.
        while self.events.try_recv().is_ok() {}
    }

    /// Shuts the broker down as the daemon does.
    async fn shut_down(self) {
        self.stopping.cancel();
        tokio::time::timeout(TIMEOUT, self.tasks.drain()).await.expect("every task ends");
    }
}

fn name(text: &str) -> ProfileName {
    text.parse().unwrap()
}

#[tokio::test]
async fn api_key_is_added_made_default_renamed_and_signed_out() {
    let mut fixture = start().await;
    let registry = fixture.broker.registry.clone();

    assert_eq!(fixture.add_api_key("work").await.unwrap(), name("work"));
    fixture.expect_changes(&["work"]).await;
    assert_eq!(fixture.add_api_key("work").await.unwrap(), name("work-2"));
    fixture.expect_changes(&["work-2"]).await;
    assert_eq!(fixture.snapshot().default, Some(name("work")));
    let view = fixture.snapshot().profiles[&name("work")].view();
    assert_eq!(view.snapshot().unwrap().freshness(Duration::from_secs(300), now()), Freshness::Fresh);

    registry.make_default(name("work-2")).await.unwrap();
    fixture.expect_changes(&["work", "work-2"]).await;
    assert_eq!(fixture.snapshot().default, Some(name("work-2")));

    let taken = registry.rename(name("work-2"), name("work")).await;
    assert!(matches!(taken, Err(RegistryError::Taken)), "{taken:?}");
    registry.rename(name("work-2"), name("home")).await.unwrap();
    fixture.expect_changes(&["work-2", "home"]).await;
    assert_eq!(fixture.snapshot().default, Some(name("home")));
    assert!(fixture.etag("home").starts_with("\"home/"));

    registry.sign_out(name("home"), false).await.unwrap();
    fixture.expect_changes(&["home"]).await;
    let snapshot = fixture.snapshot();
    assert_eq!(snapshot.profiles.keys().collect::<Vec<_>>(), [&name("work")]);
    assert_eq!(snapshot.default, None, "no other profile becomes the default by itself");
    let unknown = registry.sign_out(name("home"), false).await;
    assert!(matches!(unknown, Err(RegistryError::Unknown)), "{unknown:?}");
    fixture.shut_down().await;
}

#[tokio::test]
async fn login_is_started_and_cancelled() {
    let mut fixture = start().await;
    let logins = fixture.broker.logins.clone();
    let body = LoginBody { paste: true, ..LoginBody::default() };

    let refused = LoginBody { workspace: Some("acc-2".to_owned()), ..body.clone() };
    let refused = logins.start(refused).await;
    assert!(matches!(refused, Err(LoginError::WorkspaceNotAccepted { .. })), "{refused:?}");
    let no_server = logins.start(LoginBody { paste: false, ..body.clone() }).await;
    assert!(matches!(no_server, Err(LoginError::CallbackUnavailable(None))), "{no_server:?}");

    let login = logins.start(body).await.unwrap();
    assert_eq!(fixture.events.recv().await.unwrap(), ChangeEvent::Login(login.id.clone()));
    assert_eq!((login.state, logins.pending()), (LoginState::Pending, 1));
    assert!(login.authorize_url.unwrap().starts_with("http://127.0.0.1:9/"));
    assert_eq!(login.redirect_uri.as_deref(), Some("http://localhost:1455/auth/callback"));
    assert_eq!(login.open_url, None);

    logins.cancel(&login.id).await.unwrap();
    assert_eq!(fixture.events.recv().await.unwrap(), ChangeEvent::Login(login.id.clone()));
    let ended = logins.wait(&login.id, TIMEOUT).await.unwrap();
    assert_eq!((ended.state, logins.pending()), (LoginState::Cancelled, 0));
    fixture.shut_down().await;
}

#[tokio::test]
async fn reload_of_render_context_changes_etag() {
    let mut fixture = start().await;
    fixture.add_api_key("work").await.unwrap();
    fixture.expect_changes(&["work"]).await;
    let etag = fixture.etag("work");
    fixture.reload.send_modify(|context| Arc::make_mut(context).revision = 1);
    while fixture.etag("work") == etag {
        fixture.expect_changes(&["work"]).await;
    }
    assert_eq!(fixture.etag("work"), format!("{}-1\"", etag.trim_end_matches('"')));
    fixture.shut_down().await;
}

#[tokio::test]
async fn drain_ends_pending_logins_and_profiles() {
    let fixture = start().await;
    fixture.add_api_key("work").await.unwrap();
    fixture.broker.logins.start(LoginBody { paste: true, ..LoginBody::default() }).await.unwrap();
    let broker = fixture.broker.clone();
    fixture.shut_down().await;
    let stopped = broker.registry.make_default(name("work")).await;
    assert!(matches!(stopped, Err(RegistryError::Stopping)), "{stopped:?}");
}
