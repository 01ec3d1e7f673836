//! What one node does, and the others see.

use std::time::Duration;

use authd_broker::{NamePolicy, RegistryError, SignIn, now};
use authd_oauth::{ApiKey, Grant, Rejected, new_grant_id};
use authd_sandbox::{Config, Route};

use crate::fixture::{Node, World, name};

fn own_key(profile: &str, secret: &str) -> SignIn {
    let grant = Grant::own_key(ApiKey::new(secret), "own key", now());
    let grant_id = new_grant_id();
    SignIn { requested: name(profile), name_policy: NamePolicy::Free, grant, grant_id, intent: None }
}

/// Reports that an upstream rejected the credential.
pub(crate) async fn reject(node: &Node, profile: &str) {
    let handle = node.profile(profile);
    let credential = handle.view().snapshot().unwrap().credential.clone();
    let grant_id = Some((*credential.grant_id).into());
    handle.refresh(Some(Rejected { generation: credential.generation, grant_id })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_refresh_and_sign_out_of_one_node_reach_the_other() {
    let Some(world) = World::start(Config::default()).await else { return };
    let (a, b) = (world.node("a").await, world.node("b").await);
    a.sign_in(&world, "work", "plus").await;
    b.wait_for_profile("work").await;
    let first = a.authorization("work");
    assert_eq!(b.authorization("work"), first);
    a.wait_until("the default", |a| a.broker.registry.snapshot().default == Some(name("work"))).await;
    b.wait_until("the default", |b| b.broker.registry.snapshot().default == Some(name("work"))).await;

    // An upstream rejects the token on both nodes at once: one refresh answers both.
    tokio::join!(reject(&a, "work"), reject(&b, "work"));
    for node in [&a, &b] {
        node.wait_until("the new token", |node| node.authorization("work") != first).await;
    }
    assert_eq!(a.authorization("work"), b.authorization("work"));
    assert_eq!(world.sandbox.rotations(), 1);

    b.broker.registry.sign_out(name("work"), false).await.unwrap();
    a.wait_until("the sign-out", |a| !a.has("work")).await;
    assert!(a.broker.registry.snapshot().default.is_none());
    // The name is free again, on each node.
    a.sign_in(&world, "work", "plus").await;
    b.wait_for_profile("work").await;
    assert_eq!(a.authorization("work"), b.authorization("work"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rename_and_default_hold_for_all_nodes() {
    let Some(world) = World::start(Config::default()).await else { return };
    let (a, b) = (world.node("a").await, world.node("b").await);
    a.sign_in(&world, "one", "plus").await;
    a.broker.registry.sign_in(own_key("two", "sk-two")).await.unwrap();
    for profile in ["one", "two"] {
        b.wait_for_profile(profile).await;
    }
    b.broker.registry.make_default(name("two")).await.unwrap();
    assert_eq!(b.broker.registry.snapshot().default, Some(name("two")));
    a.wait_until("the default", |a| a.broker.registry.snapshot().default == Some(name("two"))).await;

    let taken = a.broker.registry.rename(name("one"), name("two")).await;
    assert!(matches!(taken, Err(RegistryError::Taken)), "{taken:?}");
    let secret = a.authorization("one");
    a.broker.registry.rename(name("one"), name("first")).await.unwrap();
    assert_eq!(a.authorization("first"), secret);
    b.wait_until("the rename", |b| b.has("first") && !b.has("one")).await;
    assert_eq!(b.authorization("first"), secret);
    // The renamed grant can be refreshed by either node.
    reject(&b, "first").await;
    a.wait_until("the refresh", |a| a.authorization("first") != secret).await;
    reject(&a, "two").await;
    assert_eq!(world.sandbox.rotations(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sign_ins_under_one_name_one_wins_and_the_other_is_told() {
    let Some(world) = World::start(Config::default()).await else { return };
    let (a, b) = (world.node("a").await, world.node("b").await);
    for round in 0..10 {
        let profile = format!("key-{round}");
        let sign_in = |secret| SignIn { name_policy: NamePolicy::Own, ..own_key(&profile, secret) };
        // The users of two keys cannot be told apart, so a name that is known is taken over. The
        // nodes do not know it yet.
        let (one, other) = tokio::join!(
            a.broker.registry.sign_in(sign_in("sk-a")),
            b.broker.registry.sign_in(sign_in("sk-b"))
        );
        let won = [one.is_ok(), other.is_ok()];
        assert!(won.contains(&true), "{one:?} {other:?}");
        for result in [one, other] {
            assert!(matches!(result, Ok(_) | Err(RegistryError::SignedInElsewhere)), "{result:?}");
        }
        b.wait_for_profile(&profile).await;
        a.wait_for_profile(&profile).await;
        let is_same = || a.authorization(&profile) == b.authorization(&profile);
        tokio::select! {
            () = a.wait_until("one key", |_| is_same()) => {}
            () = b.wait_until("one key", |_| is_same()) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_the_valid_token_is_served_and_nothing_is_sent() {
    let Some(mut world) = World::start(Config::default()).await else { return };
    let (a, b) = (world.node("a").await, world.node("b").await);
    a.sign_in(&world, "work", "plus").await;
    b.wait_for_profile("work").await;
    let first = a.authorization("work");
    world.postgres.stop().unwrap();
    tokio::join!(reject(&a, "work"), reject(&b, "work"));
    assert_eq!(a.authorization("work"), first);
    assert_eq!(b.authorization("work"), first);
    assert_eq!(world.sandbox.count(Route::Refresh), 0);
    let logged_out = b.broker.registry.sign_out(name("work"), false).await;
    assert!(matches!(logged_out, Err(RegistryError::SignOut(_))), "{logged_out:?}");
    world.postgres.restart().unwrap();
    // The rejection still stands, and is answered now.
    for node in [&a, &b] {
        node.wait_until("the new token", |node| node.authorization("work") != first).await;
    }
    assert_eq!(world.sandbox.rotations(), 1);
    assert_eq!(a.authorization("work"), b.authorization("work"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hundred_nodes_refresh_an_expired_grant_once() {
    let config = Config::default().with_lifetime(Duration::from_secs(3600));
    let Some(world) = World::start(config).await else { return };
    let first = world.node("first").await;
    first.sign_in(&world, "work", "plus").await;
    let secret = first.authorization("work");
    let mut nodes = Vec::new();
    for number in 0..100 {
        nodes.push(world.node(&format!("node-{number}")).await);
    }
    for node in &nodes {
        node.wait_for_profile("work").await;
    }
    futures_util::future::join_all(nodes.iter().map(|node| reject(node, "work"))).await;
    for node in &nodes {
        node.wait_until("the new token", |node| node.authorization("work") != secret).await;
    }
    assert_eq!(world.sandbox.rotations(), 1);
}
