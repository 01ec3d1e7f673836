//! A list of the fleet's records that cannot be read.

use authd_api::ShareBody;
use authd_broker::RegistryError;
use authd_sandbox::Config;
use authd_store::StoreError;

use crate::fixture::{World, name};

/// Restores the record that was renamed, and lets every read of the record of "home" fail. So a
/// single record can be read, and the list cannot. The function is stable, so that the poll of the
/// revisions does not call it. A sequence counts the failures, because a
/// transaction that fails does not undo it.
const BEGIN: &str = "
    DELETE FROM authd.record WHERE name = 'work';
    INSERT INTO authd.record SELECT * FROM renamed;
    UPDATE authd.record SET revision = nextval('authd.revision') WHERE name = 'job';
    CREATE SEQUENCE failures;
    CREATE FUNCTION fail() RETURNS bytea STABLE LANGUAGE plpgsql AS
        $$ BEGIN PERFORM nextval('public.failures'); RAISE EXCEPTION 'unreadable'; END $$;
    ALTER TABLE authd.record RENAME TO hidden;
    CREATE VIEW authd.record AS
        SELECT name, revision, token, default_rank,
            CASE WHEN name = 'home' THEN public.fail() ELSE sealed END AS sealed,
            expires_at, claim_node, claim_run, claim_since, claim_until, retry_at FROM authd.hidden";

const END: &str = "DROP VIEW authd.record; ALTER TABLE authd.hidden RENAME TO record";

#[tokio::test(flavor = "multi_thread")]
async fn list_that_cannot_be_read_is_no_sign_out() {
    let Some(world) = World::start(Config::default()).await else { return };
    let (a, b) = (world.node("a").await, world.node("b").await);
    a.sign_in(&world, "home", "business").await;
    a.sign_in(&world, "work", "plus").await;
    b.wait_for_profile("work").await;
    b.broker.registry.rename(name("work"), name("job")).await.unwrap();
    world.postgres.psql("CREATE TABLE renamed AS SELECT * FROM authd.record WHERE name = 'job'").unwrap();
    b.broker.registry.rename(name("job"), name("work")).await.unwrap();
    b.shut_down().await;
    a.wait_until("the old name", |a| a.has("work") && !a.has("job")).await;
    let secret = a.authorization("work");
    let identity = a.profile("work").view().snapshot().unwrap().credential.identity.clone();
    let shares = &a.broker.shares;
    let (share, _) = shares.create(&ShareBody::default(), name("work"), &identity, None).await.unwrap();

    world.postgres.psql(BEGIN).unwrap();
    while world.postgres.psql("SELECT is_called FROM failures").unwrap() != "t" {}
    // The registry does one thing after another, so it has seen that "work" is gone.
    let renamed = a.broker.registry.rename(name("work"), name("task")).await;
    assert!(matches!(renamed, Err(RegistryError::Store(StoreError::Unavailable { .. }))), "{renamed:?}");
    assert_eq!(a.authorization("work"), secret);
    assert_eq!(shares.get(&share.id).map(|share| share.terms.profile.clone()), Some(name("work")));

    world.postgres.psql(END).unwrap();
    a.wait_until("the new name", |a| a.has("job") && !a.has("work")).await;
    assert_eq!(shares.get(&share.id).map(|share| share.terms.profile.clone()), Some(name("job")));
    assert_eq!(a.authorization("job"), secret);
    a.profile("job").refresh(None).await.unwrap();
    assert_ne!(a.authorization("job"), secret);
    assert_eq!(world.sandbox.rotations(), 1);
}
