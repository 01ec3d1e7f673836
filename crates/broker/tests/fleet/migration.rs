//! Moves of all records between the store of a node and the fleet.

use std::path::{Path, PathBuf};

use authd_broker::{MigrationTarget, RegistryError};
use authd_sandbox::{Config, Route};
use authd_store::{Kind, ProfilePlace, StoreError};

use crate::fixture::{Node, World, name};

/// Another process claims every grant for an hour.
const CLAIM: &str = "UPDATE authd.record SET claim_node = 'c', claim_run = 'c', claim_since = now(), \
                     claim_until = now() + interval '1 hour'";

/// Ends all claims.
const END_CLAIM: &str = "UPDATE authd.record SET claim_node = NULL, claim_run = NULL, claim_since = NULL, \
                         claim_until = NULL";

#[tokio::test(flavor = "multi_thread")]
async fn records_move_to_the_fleet_and_back() {
    let Some(world) = World::start(Config::default()).await else { return };
    let a = world.start_node("a", tempfile::tempdir().unwrap(), false).await;
    a.sign_in(&world, "work", "plus").await;
    a.sign_in(&world, "home", "business").await;
    a.broker.registry.make_default(name("home")).await.unwrap();
    let secret = a.authorization("work");

    let report = a.broker.registry.migrate(MigrationTarget::Fleet).await.unwrap();
    assert_eq!((report.records, report.left_behind), (2, None));
    assert_eq!(a.broker.registry.snapshot().place, ProfilePlace::Fleet);
    assert_eq!(a.authorization("work"), secret);
    let b = world.node("b").await;
    b.wait_until("both", |b| b.has("work") && b.has("home")).await;
    assert_eq!(b.broker.registry.snapshot().default, Some(name("home")));
    assert_eq!(b.authorization("work"), secret);

    // A restart finds them, whatever the configuration prefers.
    let directory = a.shut_down().await;
    assert!(!record_file(directory.path(), "work").exists());
    let a = world.start_node("a", directory, false).await;
    a.wait_until("both", |a| a.has("work") && a.has("home")).await;
    assert_eq!(a.broker.registry.snapshot().place, ProfilePlace::Fleet);

    let report = b.broker.registry.migrate(MigrationTarget::Local(Kind::File)).await.unwrap();
    assert_eq!(report.left_behind, None);
    a.wait_until("the move", |a| !a.has("work") && !a.has("home")).await;
    assert_eq!(b.authorization("work"), secret);
    b.profile("work").refresh(None).await.unwrap();
    assert_ne!(b.authorization("work"), secret);
    let b = world.start_node("b", b.shut_down().await, false).await;
    b.wait_until("both", |b| b.has("work") && b.has("home")).await;
    assert_eq!(b.broker.registry.snapshot().place, ProfilePlace::Local);
    assert_eq!(b.broker.registry.snapshot().default, Some(name("home")));
    assert_eq!(world.sandbox.rotations(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaves_the_fleet_while_the_database_or_the_target_is_not_available() {
    let Some(mut world) = World::start(Config::default()).await else { return };
    let (a, b) = (world.node("a").await, world.node("b").await);
    a.sign_in(&world, "work", "plus").await;
    b.wait_for_profile("work").await;
    let to_files = || a.broker.registry.migrate(MigrationTarget::Local(Kind::File));
    world.postgres.stop().unwrap();
    let refused = to_files().await;
    assert!(matches!(refused, Err(RegistryError::Store(StoreError::Unavailable { .. }))), "{refused:?}");
    assert_eq!(a.broker.registry.snapshot().place, ProfilePlace::Fleet);
    world.postgres.restart().unwrap();
    // The memory store is no target.
    let refused = a.broker.registry.migrate(MigrationTarget::Local(Kind::Memory)).await;
    assert!(matches!(refused, Err(RegistryError::Store(StoreError::Refused { .. }))), "{refused:?}");
    assert_eq!(a.broker.registry.snapshot().place, ProfilePlace::Fleet);
    assert!(b.has("work"));
    let report = to_files().await.unwrap();
    assert_eq!((report.records, report.left_behind), (1, None));
    b.wait_until("the move", |b| !b.has("work")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn name_that_the_fleet_has_stops_a_move_before_it_begins() {
    let Some(world) = World::start(Config::default()).await else { return };
    let a = world.node("a").await;
    a.sign_in(&world, "work", "plus").await;
    let b = world.start_node("b", tempfile::tempdir().unwrap(), false).await;
    b.sign_in(&world, "work", "business").await;
    let refused = b.broker.registry.migrate(MigrationTarget::Fleet).await;
    let Err(RegistryError::Store(error)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("already has a profile of the name work"), "{error}");
    assert_eq!(b.broker.registry.snapshot().place, ProfilePlace::Local);
    assert_ne!(a.authorization("work"), b.authorization("work"));
    b.broker.registry.rename(name("work"), name("job")).await.unwrap();
    b.broker.registry.migrate(MigrationTarget::Fleet).await.unwrap();
    a.wait_for_profile("job").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_of_an_unfinished_move_is_no_login_after_a_rename_elsewhere() {
    let Some(world) = World::start(Config::default()).await else { return };
    let a = world.start_node("a", tempfile::tempdir().unwrap(), false).await;
    a.sign_in(&world, "work", "plus").await;
    let directory = a.shut_down().await;
    let copy = record_file(directory.path(), "work");
    let text = std::fs::read(&copy).unwrap();
    let a = world.start_node("a", directory, false).await;
    a.wait_for_profile("work").await;
    a.broker.registry.migrate(MigrationTarget::Fleet).await.unwrap();
    let b = world.node("b").await;
    b.wait_for_profile("work").await;
    // Another process may be sending the token, so the move waits, and leaves its copy.
    world.postgres.psql(CLAIM).unwrap();
    let report = a.broker.registry.migrate(MigrationTarget::Local(Kind::File)).await.unwrap();
    assert!(report.left_behind.is_some(), "{report:?}");
    assert!(!copy.exists(), "a refused move leaves no copy");
    std::fs::write(&copy, text).unwrap();
    b.broker.registry.rename(name("work"), name("job")).await.unwrap();
    a.wait_until("the rename", |a| a.has("job") && !a.has("work")).await;
    world.postgres.psql(END_CLAIM).unwrap();
    let report = a.broker.registry.migrate(MigrationTarget::Local(Kind::File)).await.unwrap();
    assert_eq!(report.left_behind, None);
    a.profile("job").refresh(None).await.unwrap();
    assert!(!a.has("work"));
    let a = world.start_node("a", a.shut_down().await, false).await;
    a.wait_for_profile("job").await;
    assert!(!a.has("work"));
    a.profile("job").refresh(None).await.unwrap();
    assert_eq!(world.sandbox.rotations(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn move_back_waits_for_a_record_that_is_still_on_its_way_to_the_fleet() {
    let Some(world) = World::start(Config::default()).await else { return };
    let a = world.start_node("a", tempfile::tempdir().unwrap(), false).await;
    a.sign_in(&world, "work", "plus").await;
    let refuse = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
                  $$ BEGIN RAISE EXCEPTION 'refused'; END $$; \
                  CREATE TRIGGER refuse BEFORE INSERT ON authd.record FOR EACH ROW EXECUTE FUNCTION refuse()";
    world.postgres.psql(refuse).unwrap();
    let report = a.broker.registry.migrate(MigrationTarget::Fleet).await.unwrap();
    assert!(report.left_behind.is_some(), "{report:?}");
    let to_files = || a.broker.registry.migrate(MigrationTarget::Local(Kind::File));
    let report = to_files().await.unwrap();
    assert!(report.left_behind.is_some(), "{report:?}");
    let refused = a.broker.registry.migrate(MigrationTarget::Fleet).await;
    assert!(matches!(refused, Err(RegistryError::Store(StoreError::Refused { .. }))), "{refused:?}");
    world.postgres.psql("DROP TRIGGER refuse ON authd.record").unwrap();
    while to_files().await.unwrap().left_behind.is_some() {}
    assert_eq!(world.postgres.psql("SELECT count(*) FROM authd.record").unwrap(), "0");
    a.profile("work").refresh(None).await.unwrap();
    let a = world.start_node("a", a.shut_down().await, false).await;
    a.wait_for_profile("work").await;
    a.profile("work").refresh(None).await.unwrap();
    assert_eq!(world.sandbox.rotations(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn move_back_overwrites_no_record_of_this_machine() {
    let Some(world) = World::start(Config::default()).await else { return };
    let a = world.start_node("a", tempfile::tempdir().unwrap(), false).await;
    a.sign_in(&world, "work", "business").await;
    a.broker.registry.rename(name("work"), name("other")).await.unwrap();
    a.sign_in(&world, "work", "plus").await;
    let directory = a.shut_down().await;
    let file = |profile: &str| record_file(directory.path(), profile);
    let other = std::fs::read(file("other")).unwrap();
    std::fs::remove_file(file("other")).unwrap();
    let (work, job, broken) = (file("work"), file("job"), file("broken"));
    let a = world.start_node("a", directory, false).await;
    a.wait_for_profile("work").await;
    a.broker.registry.migrate(MigrationTarget::Fleet).await.unwrap();
    a.sign_in(&world, "job", "business").await;
    // Another process may be sending the tokens, so the move waits.
    world.postgres.psql(CLAIM).unwrap();
    let to_files = |node: &Node| {
        let registry = node.broker.registry.clone();
        async move { registry.migrate(MigrationTarget::Local(Kind::File)).await.unwrap().left_behind }
    };
    assert!(to_files(&a).await.is_some());
    let directory = a.shut_down().await;
    std::fs::write(&work, other).unwrap();
    std::fs::write(&job, "damaged").unwrap();
    std::fs::write(&broken, "damaged").unwrap();

    let a = world.start_node("a", directory, false).await;
    a.wait_until("the profiles", |a| ["work", "work-2", "job", "broken"].into_iter().all(|name| a.has(name)))
        .await;
    let business = a.authorization("work-2");
    // During a move the record of a profile that cannot be read is in one of two stores.
    a.broker.registry.sign_out(name("broken"), false).await.unwrap();
    assert!(!broken.exists());
    world.postgres.psql(END_CLAIM).unwrap();
    let left = to_files(&a).await.map(|left| left.to_string());
    assert!(
        left.as_ref().is_some_and(|left| left.contains("another record of the name \"job\"")),
        "{left:?}"
    );
    assert_eq!(std::fs::read(&job).unwrap(), b"damaged");
    a.broker.registry.rename(name("job"), name("task")).await.unwrap();
    while to_files(&a).await.is_some() {}
    let a = world.start_node("a", a.shut_down().await, false).await;
    a.wait_until("the profiles", |a| ["work", "work-2", "task"].into_iter().all(|name| a.has(name))).await;
    assert_eq!(a.authorization("work-2"), business);
    assert_eq!(std::fs::read(&job).unwrap(), b"damaged");
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_while_a_record_of_this_machine_gets_another_name_leaves_one_record() {
    let Some(world) = World::start(Config::default()).await else { return };
    let a = world.start_node("a", tempfile::tempdir().unwrap(), false).await;
    a.sign_in(&world, "work", "business").await;
    let business = a.authorization("work");
    let directory = a.shut_down().await;
    let file = |profile: &str| record_file(directory.path(), profile);
    let (work, second, third) = (file("work"), file("work-2"), file("work-3"));
    let text = std::fs::read(&work).unwrap();
    std::fs::remove_file(&work).unwrap();
    let a = world.start_node("a", directory, false).await;
    a.sign_in(&world, "work", "plus").await;
    a.broker.registry.migrate(MigrationTarget::Fleet).await.unwrap();
    // Another process may be sending the token, so the move waits.
    world.postgres.psql(CLAIM).unwrap();
    let report = a.broker.registry.migrate(MigrationTarget::Local(Kind::File)).await.unwrap();
    assert!(report.left_behind.is_some(), "{report:?}");
    let directory = a.shut_down().await;
    // The crash came after the write under the new name, and before the delete under the old one.
    std::fs::write(&work, &text).unwrap();
    std::fs::write(&second, &text).unwrap();

    let a = world.start_node("a", directory, false).await;
    a.wait_until("the profiles", |a| a.has("work") && a.has("work-2")).await;
    // The registry accepts commands after it has finished what the crash interrupted.
    let unknown = a.broker.registry.make_default(name("unknown")).await;
    assert!(matches!(unknown, Err(RegistryError::Unknown)), "{unknown:?}");
    assert!(second.exists() && !work.exists() && !third.exists(), "one record is left");
    assert_eq!(a.broker.registry.snapshot().profiles.len(), 2);
    assert_eq!(a.authorization("work-2"), business);
    assert_ne!(a.authorization("work"), business);
    a.profile("work-2").refresh(None).await.unwrap();
    world.postgres.psql(END_CLAIM).unwrap();
    let to_files = || a.broker.registry.migrate(MigrationTarget::Local(Kind::File));
    while to_files().await.unwrap().left_behind.is_some() {}
    let a = world.start_node("a", a.shut_down().await, false).await;
    a.wait_until("the profiles", |a| a.has("work") && a.has("work-2")).await;
    assert_eq!(a.broker.registry.snapshot().profiles.len(), 2);
    for profile in ["work", "work-2"] {
        a.profile(profile).refresh(None).await.unwrap();
    }
    // A token that is sent twice is refused.
    assert_eq!((world.sandbox.count(Route::Refresh), world.sandbox.rotations()), (3, 3));
}

/// The file of this profile in the directory of a node.
fn record_file(directory: &Path, profile: &str) -> PathBuf {
    directory.join(format!("state/store/profile.{profile}.age"))
}
