//! Who rests misses nothing that concerns everybody.

use std::{path::PathBuf, time::Duration};

use authd_oauth::{ApiKey, ClientIdentity, Endpoint, Grant, Network, Provider};
use authd_store::{Config, KeySource, Store, Wish};
use http::HeaderValue;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{events::Events, facts::Rendering, handover::Handover, metrics::Metrics};

fn tools() -> (Arc<Tools>, watch::Sender<Arc<Rendering>>) {
    let provider = Provider::with_issuer("http://127.0.0.1:9");
    let client = ClientIdentity {
        originator: "codex_cli_rs".into(),
        version: "0.34.0".into(),
        user_agent: "codex_cli_rs/0.34.0".into(),
    };
    let endpoint = Endpoint::new(provider.clone(), client.clone(), Network::default()).unwrap();
    let config = Config {
        kind: Wish::Memory,
        state_dir: PathBuf::new(),
        service: "authd".to_owned(),
        key: KeySource { credentials_directory: None, passphrase_file: None, key_file: PathBuf::new() },
        deadline: Duration::from_secs(5),
        memory_control: None,
    };
    let store = Store::open(config, None);
    let metrics = Metrics::new(clock::now(), &store);
    let rendering = Rendering { revision: 0, provider, client, organization: None, project: None };
    let (reload, rendering) = watch::channel(Arc::new(rendering));
    let tools = Tools {
        endpoint,
        store,
        rendering,
        handover: Handover::default(),
        metrics,
        events: Events::new(),
        stopping: CancellationToken::new(),
        closing: CancellationToken::new(),
    };
    (Arc::new(tools), reload)
}

fn key() -> Grant {
    Grant::own_key(ApiKey::new("sk-test"), "a key of your own", clock::now())
}

fn etag(handle: &Handle) -> Option<HeaderValue> {
    Some(handle.view().facts()?.ready.etag())
}

#[tokio::test]
async fn who_rests_is_rendered_anew_after_a_reload_and_left_to_the_next_run() {
    let (tools, reload) = tools();
    let (mut maker, _, resting) = profiles(Vec::new(), tools.clone());
    let resting = tokio::spawn(resting);
    let (done, saved) = oneshot::channel();
    let name = ProfileName::first();
    let beginning = Beginning::SignedIn { grant: Box::new(key()), generation: 7, done };
    let handle = maker.begin(name.clone(), beginning).await;
    saved.await.unwrap();
    assert_eq!(etag(&handle).unwrap(), "\"7\"");
    reload.send_modify(|rendering| Arc::make_mut(rendering).revision = 1);
    while etag(&handle).unwrap() != "\"7-1\"" {
        tokio::task::yield_now().await;
    }
    tools.stopping.cancel();
    tools.closing.cancel();
    resting.await.unwrap();
    assert!(tools.handover.claim(&name).is_some_and(|left| left.durable && left.record.generation == 7));
}

#[tokio::test]
async fn who_rests_answers_and_is_forgotten_when_it_is_over() {
    let (tools, _reload) = tools();
    let (mut maker, _, resting) = profiles(Vec::new(), tools.clone());
    tokio::spawn(resting);
    let (done, saved) = oneshot::channel();
    let beginning = Beginning::SignedIn { grant: Box::new(key()), generation: 1, done };
    let handle = maker.begin(ProfileName::first(), beginning).await;
    saved.await.unwrap();
    for _ in 0..3 {
        handle.remind();
        handle.want(Duration::ZERO).await.unwrap();
        assert!(handle.read().await.facts().is_some());
    }
    handle.sign_out(false).await.unwrap().unwrap();
    handle.want(Duration::ZERO).await.unwrap_err();
    assert_eq!(tools.store.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_task_that_panicked_ends_the_daemon() {
    let (tools, _reload) = tools();
    let (stopping, closing) = (tools.stopping.clone(), tools.closing.clone());
    let (_messages, mailbox) = mpsc::channel(1);
    let mut rest = Rest::new(tools);
    rest.tasks.spawn(async { panic!("as a bug would") });
    let resting = tokio::spawn(rest.run(mailbox));
    stopping.cancelled().await;
    closing.cancel();
    resting.await.unwrap();
}
