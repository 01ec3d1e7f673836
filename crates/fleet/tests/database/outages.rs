//! The database stops, is killed, does not answer, or loses a connection.

use std::{future::pending, sync::Arc, time::Duration};

use authd_fleet::{Change, Claimed, DatabaseState, FleetConfig, FleetStatus};
use authd_oauth::claim::Write;
use authd_store::StoreError;
use futures_util::FutureExt as _;
use tokio::sync::Mutex;

use crate::{
    fixture::{Node, config, content, create, done, is_granted, migrated, node, node_with, text},
    proxy::Proxy,
};

async fn wait_for_status(node: &Node, condition: impl FnMut(&FleetStatus) -> bool) -> FleetStatus {
    node.watch().wait_for(condition).await.unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn node_works_again_after_the_server_was_stopped() {
    let Some(mut postgres) = migrated().await else { return };
    let mut a = node(&postgres, "a");
    let token = create(&a, "work", "record").await;
    a.wait_for_everything().await;
    postgres.stop().unwrap();
    let error = a.load("work").await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    let error = a.claim("work", token, false).await.unwrap_err();
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let status = wait_for_status(&a, |status| status.state != DatabaseState::Connected).await;
    assert!(status.last_contact.is_some() && status.server_version.is_some());
    postgres.restart().unwrap();
    assert_eq!(content(a.load("work").await.unwrap()).as_deref(), Some("record"));
    a.wait_for_everything().await;
    let status = wait_for_status(&a, |status| status.counters.reconnections == 2).await;
    assert_eq!(status.state, DatabaseState::Connected);
    assert!(is_granted(&a.claim("work", token, false).await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_starts_without_the_server_and_finds_it_by_itself() {
    let Some(mut postgres) = migrated().await else { return };
    create(&node(&postgres, "a"), "work", "record").await;
    postgres.stop().unwrap();
    let mut a = node(&postgres, "a");
    wait_for_status(&a, |status| matches!(status.state, DatabaseState::Unavailable { .. })).await;
    postgres.restart().unwrap();
    a.wait_for_everything().await;
    assert!(a.load("work").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_server_loses_no_acknowledged_write() {
    let Some(mut postgres) = migrated().await else { return };
    let a = node(&postgres, "a");
    let first = create(&a, "work", "0").await;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let fleet = a.fleet.clone();
    let successes = acknowledged.clone();
    // Writes until one fails. Returns its number.
    let writer = tokio::spawn(async move {
        let mut token = first;
        for number in 1.. {
            let written = fleet.write("work", Write::Commit { token }, text(&number.to_string()), None).await;
            let Ok(written) = written else { return (number, token) };
            token = done(written).1;
            successes.lock().await.push(number);
        }
        pending().await
    });
    // In the middle of the writes.
    let mut changes = a.fleet.changes();
    for _ in 0..50 {
        changes.next().await.unwrap();
    }
    postgres.kill().unwrap();
    let (failed, token) = writer.await.unwrap();
    postgres.restart().unwrap();
    let found: u32 = content(a.load("work").await.unwrap()).unwrap().parse().unwrap();
    let last = *acknowledged.lock().await.last().unwrap();
    assert!(found == last || found == failed, "{found}, acknowledged {last}, failed {failed}");
    // The write that failed is repeated, and is stored once.
    done(a.write("work", Write::Commit { token }, text(&failed.to_string()), None).await.unwrap());
    assert_eq!(content(a.load("work").await.unwrap()), Some(failed.to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn server_that_does_not_answer_costs_the_deadline() {
    let Some(postgres) = migrated().await else { return };
    let patient = node(&postgres, "patient");
    let token = create(&patient, "work", "record").await;
    let deadline = Duration::from_secs(1);
    let a = node_with(FleetConfig { deadline, ..config(&postgres.url(), "a") });
    a.check().await.unwrap();
    postgres.pause().unwrap();
    // On the connection that exists, and on a new one.
    for _ in 0..2 {
        let error = a.claim("work", token, false).await.unwrap_err();
        assert!(error.to_string().contains("did not answer within 1s"), "{error}");
    }
    postgres.resume().unwrap();
    assert!(is_granted(&patient.claim("work", token, false).await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_acknowledgement_of_a_write_is_recognised() {
    let Some(postgres) = migrated().await else { return };
    let mut proxy = Proxy::start(postgres.port()).await;
    let url = postgres.url().replace(&postgres.port().to_string(), &proxy.port.to_string());
    let a = node_with(config(&url, "a"));
    let token = create(&a, "work", "first").await;
    assert!(is_granted(&a.claim("work", token, false).await.unwrap()));
    let commit = Write::Commit { token };
    proxy.drop_next_commit();
    let error = a.write("work", commit, text("second"), None).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    proxy.dropped().await;
    let (_, successor) = done(a.write("work", commit, text("second"), None).await.unwrap());
    assert!(successor > token);
    assert_eq!(a.watch().borrow().counters.conflicts, 0);

    // A claim counts as sent, even if its acknowledgement was lost.
    proxy.drop_next_commit();
    a.claim("work", successor, false).await.unwrap_err();
    proxy.dropped().await;
    let b = node(&postgres, "b");
    assert!(!is_granted(&b.claim("work", successor, false).await.unwrap()));
    let again = a.claim("work", successor, false).await.unwrap();
    assert!(matches!(again, Claimed::Granted { lost_since: None }), "{again:?}");

    // A deletion and a rename.
    let revision = a.load("work").await.unwrap().unwrap().revision;
    proxy.drop_next_commit();
    a.rename("work", "job", text("job"), revision).await.unwrap_err();
    proxy.dropped().await;
    let renamed = a.rename("work", "job", text("job"), revision).await.unwrap();
    assert!(matches!(renamed, authd_fleet::Renamed::Done { .. }), "{renamed:?}");
    proxy.drop_next_commit();
    a.delete("job").await.unwrap_err();
    proxy.dropped().await;
    a.delete("job").await.unwrap();
    assert!(b.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_call_leaves_no_lock_behind() {
    let Some(postgres) = migrated().await else { return };
    let (a, b) = (node(&postgres, "a"), node(&postgres, "b"));
    let token = create(&a, "work", "record").await;
    // The server gets the beginning of the transaction, and the call is dropped before it responds.
    postgres.pause().unwrap();
    assert!(a.write("work", Write::Commit { token }, text("x"), None).now_or_never().is_none());
    postgres.resume().unwrap();
    done(b.write("work", Write::Commit { token }, text("successor"), None).await.unwrap());
    assert_eq!(content(a.load("work").await.unwrap()).as_deref(), Some("successor"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connection_is_followed_by_an_announcement() {
    let Some(postgres) = migrated().await else { return };
    let mut a = node(&postgres, "a");
    a.wait_for_everything().await;
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'authd'";
    postgres.psql(terminate).unwrap();
    a.wait_for_everything().await;
    wait_for_status(&a, |status| status.state == DatabaseState::Connected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notification_arrives_without_a_poll() {
    let Some(postgres) = migrated().await else { return };
    let (a, mut b) = (node(&postgres, "a"), node(&postgres, "b"));
    b.wait_for_everything().await;
    let token = create(&a, "work", "record").await;
    b.wait_for("work").await;
    assert!(is_granted(&a.claim("work", token, false).await.unwrap()));
    a.release("work", None).await.unwrap();
    b.wait_for("work").await;
    a.rename("work", "job", text("record"), token).await.unwrap();
    b.wait_for("work").await;
    b.wait_for("job").await;
    a.delete("job").await.unwrap();
    b.wait_for("job").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poll_finds_a_change_without_its_notification() {
    let Some(postgres) = migrated().await else { return };
    let a = node(&postgres, "a");
    create(&a, "work", "record").await;
    let mut b = node_with(FleetConfig { poll: Duration::from_millis(50), ..config(&postgres.url(), "b") });
    b.wait_for_everything().await;
    postgres.psql("UPDATE \"the \"\"fleet\"\"\".record SET revision = revision + 1").unwrap();
    let changed = b.changes.next().await;
    assert!(matches!(changed, Some(Change::Record { name, revision: Some(_) }) if name == "work"));
    postgres.psql("DELETE FROM \"the \"\"fleet\"\"\".record").unwrap();
    assert_eq!(b.changes.next().await, Some(Change::Record { name: "work".to_owned(), revision: None }));
}
