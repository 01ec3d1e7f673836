//! One actor against a memory store.

use std::time::Duration;

use authd_oauth::{ApiKey, Grant};
use authd_store::{StateDir, StoreError};
use http::HeaderValue;
use tokio::sync::watch;

use super::*;
use crate::snapshot::RenderContext;

struct ActorFixture {
    deps: Arc<BrokerDeps>,
    reload: watch::Sender<Arc<RenderContext>>,
    actors: JoinSet<ProfileName>,
    _directory: tempfile::TempDir,
}

fn fixture() -> ActorFixture {
    let directory = tempfile::tempdir().unwrap();
    let state_dir = StateDir::open(directory.path().join("state")).unwrap();
    let (deps, reload) = BrokerDeps::of_memory(&state_dir, None);
    ActorFixture { deps, reload, actors: JoinSet::new(), _directory: directory }
}

impl ActorFixture {
    /// A saved profile with the user's own API key.
    async fn signed_in(&mut self) -> ProfileHandle {
        let error = StoreError::Unavailable { detail: String::new() };
        let (handle, mailbox) = ProfileHandle::new(error.into());
        let grant = Grant::own_key(ApiKey::new("sk-test"), "own key", clock::now());
        let record = Record::new(grant, "id".into(), 7);
        let (done, saved) = oneshot::channel();
        let state = InitialState::SignedIn(Box::new(record), done);
        spawn(&mut self.actors, ProfileName::first(), (handle.clone(), mailbox), state, self.deps.clone());
        saved.await.unwrap();
        handle
    }
}

fn etag(handle: &ProfileHandle) -> Option<HeaderValue> {
    Some(handle.view().snapshot()?.headers.etag())
}

#[tokio::test]
async fn reload_renders_idle_profile_again_and_shutdown_ends_actor() {
    let mut fixture = fixture();
    let handle = fixture.signed_in().await;
    assert_eq!(etag(&handle).unwrap(), "\"default/id/7\"");
    fixture.reload.send_modify(|render_context| Arc::make_mut(render_context).revision = 1);
    while etag(&handle).unwrap() != "\"default/id/7-1\"" {
        tokio::task::yield_now().await;
    }
    fixture.deps.stopping.cancel();
    fixture.deps.closing.cancel();
    assert_eq!(fixture.actors.join_next().await.unwrap().unwrap(), ProfileName::first());
}

#[tokio::test]
async fn signed_out_profile_accepts_no_commands() {
    let mut fixture = fixture();
    let handle = fixture.signed_in().await;
    for _ in 0..3 {
        handle.remind();
        handle.request_credential(Duration::ZERO).await.unwrap();
    }
    handle.sign_out(false).await.unwrap().unwrap();
    handle.request_credential(Duration::ZERO).await.unwrap_err();
    assert!(fixture.deps.store.list().await.unwrap().profiles.is_empty());
}

#[tokio::test]
async fn renamed_profile_is_copy_until_old_record_is_deleted() {
    let mut fixture = fixture();
    let handle = fixture.signed_in().await;
    let to: ProfileName = "work".parse().unwrap();
    handle.rename(to.clone()).await.unwrap().unwrap();
    let read = async |name: &ProfileName| persist::load(&fixture.deps.store, name).await.unwrap().unwrap();
    let (old, new) = (read(&ProfileName::first()).await, read(&to).await);
    assert!(old.is_same_grant(&new));
    assert_eq!(old.intent, Some(authd_oauth::Intent::RenameTo { name: "work".to_owned() }));
    assert_eq!(new.intent, Some(authd_oauth::Intent::CopyOf { name: "default".to_owned() }));
    assert_eq!(etag(&handle).unwrap(), "\"work/id/7\"");
}
