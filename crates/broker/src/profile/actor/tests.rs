//! One actor against a memory store.

use authd_oauth::{ApiKey, ClientIdentity, Endpoint, Grant, Network, Provider};
use authd_store::{Config, KeySource, StateDir, Store, StorePreference};
use http::HeaderValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{events::EventBus, metrics::RefreshCounters, snapshot::RenderContext};

struct World {
    deps: Arc<ProfileDeps>,
    reload: watch::Sender<Arc<RenderContext>>,
    actors: JoinSet<ProfileName>,
    _directory: tempfile::TempDir,
}

fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let provider = Provider::with_issuer("http://127.0.0.1:9");
    let client = ClientIdentity {
        originator: "codex_cli_rs".into(),
        version: "0.34.0".into(),
        user_agent: "codex_cli_rs/0.34.0".into(),
    };
    let endpoint = Endpoint::new(provider.clone(), client.clone(), Network::default()).unwrap();
    let key_file = directory.path().join("store.key");
    let config = Config {
        kind: StorePreference::Memory,
        service: "authd".to_owned(),
        key: KeySource { credentials_directory: None, passphrase_file: None, key_file },
        deadline: Duration::from_secs(5),
        memory_control: None,
    };
    let store = Store::open(config, StateDir::open(directory.path().join("state")).unwrap());
    let render_context = RenderContext { revision: 0, provider, client, organization: None, project: None };
    let (reload, render_context) = watch::channel(Arc::new(render_context));
    let deps = ProfileDeps {
        endpoint,
        store,
        render_context,
        refreshes: RefreshCounters::default(),
        events: EventBus::new(),
        stopping: CancellationToken::new(),
        closing: CancellationToken::new(),
    };
    World { deps: Arc::new(deps), reload, actors: JoinSet::new(), _directory: directory }
}

impl World {
    /// A profile with a key of the user's own, saved.
    async fn signed_in(&mut self) -> ProfileHandle {
        let view =
            crate::snapshot::ProfileView::StoreUnavailable(Arc::new(authd_store::StoreError::Unavailable {
                detail: String::new(),
            }));
        let (handle, mailbox) = ProfileHandle::new(view);
        let grant = Grant::own_key(ApiKey::new("sk-test"), "a key of your own", clock::now());
        let record = Record::new(grant, "id".into(), 7);
        let (done, saved) = oneshot::channel();
        let state = InitialState::SignedIn(Box::new(record), done);
        spawn(&mut self.actors, ProfileName::first(), handle.clone(), mailbox, state, self.deps.clone());
        saved.await.unwrap();
        handle
    }
}

fn etag(handle: &ProfileHandle) -> Option<HeaderValue> {
    Some(handle.view().snapshot()?.headers.etag())
}

#[tokio::test]
async fn a_reload_renders_an_idle_profile_again_and_a_stop_ends_its_actor() {
    let mut world = world();
    let handle = world.signed_in().await;
    assert_eq!(etag(&handle).unwrap(), "\"default/id/7\"");
    world.reload.send_modify(|render_context| Arc::make_mut(render_context).revision = 1);
    while etag(&handle).unwrap() != "\"default/id/7-1\"" {
        tokio::task::yield_now().await;
    }
    world.deps.stopping.cancel();
    world.deps.closing.cancel();
    assert_eq!(world.actors.join_next().await.unwrap().unwrap(), ProfileName::first());
}

#[tokio::test]
async fn a_profile_that_was_signed_out_answers_nothing_more() {
    let mut world = world();
    let handle = world.signed_in().await;
    for _ in 0..3 {
        handle.remind();
        handle.want(Duration::ZERO).await.unwrap();
    }
    handle.sign_out(false).await.unwrap().unwrap();
    handle.want(Duration::ZERO).await.unwrap_err();
    assert!(world.deps.store.list().await.unwrap().profiles.is_empty());
}

#[tokio::test]
async fn a_renamed_profile_is_a_copy_until_the_old_record_is_deleted() {
    let mut world = world();
    let handle = world.signed_in().await;
    let to: ProfileName = "work".parse().unwrap();
    handle.rename(to.clone()).await.unwrap().unwrap();
    let read = async |name: &ProfileName| persist::load(&world.deps.store, name).await.unwrap().unwrap();
    let (old, new) = (read(&ProfileName::first()).await, read(&to).await);
    assert!(old.is_same_grant(&new));
    assert_eq!(old.intent, Some(authd_oauth::Intent::RenameTo { name: "work".to_owned() }));
    assert_eq!(new.intent, Some(authd_oauth::Intent::CopyOf { name: "default".to_owned() }));
    assert_eq!(etag(&handle).unwrap(), "\"work/id/7\"");
}
