//! Reads, writes and claims.

use std::time::Duration;

use authd_fleet::{Claimed, DatabaseState, Renamed, TakenOut};
use authd_oauth::claim::Write;
use authd_store::StoreError;

use crate::fixture::{conflict, content, create, done, is_granted, migrated, node, text};

#[tokio::test(flavor = "multi_thread")]
async fn one_of_fifty_concurrent_claims_is_granted() {
    let Some(postgres) = migrated().await else { return };
    let nodes: Vec<_> = (0..5).map(|number| node(&postgres, &format!("node-{number}"))).collect();
    let token = create(&nodes[0], "work", "record").await;
    let claims = (0..50).map(|number| {
        let fleet = nodes[number % 5].fleet.clone();
        tokio::spawn(async move { (number % 5, fleet.claim("work", token, false).await.unwrap()) })
    });
    let mut granted = Vec::new();
    let mut holders = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        match claim.await.unwrap() {
            // The holder itself may repeat its claim.
            (node, Claimed::Granted { .. }) => granted.push(node),
            (_, Claimed::Wait { wait, holder }) => {
                assert!(wait > Duration::from_secs(50 * 60) && wait < Duration::from_secs(3600), "{wait:?}");
                holders.push(holder.unwrap());
            }
            (_, Claimed::Superseded(found)) => panic!("{found:?}"),
        }
    }
    assert_eq!((granted.len(), holders.len()), (10, 40));
    granted.dedup();
    assert_eq!(granted.len(), 1, "several nodes hold the claim");
    let winner = format!("node-{}", granted[0]);
    assert!(holders.iter().all(|holder| **holder == *winner));
    let mut counted = (0, 0, 0);
    for node in &nodes {
        let counters = node.watch().borrow().counters;
        counted.0 += counters.claims_granted;
        counted.1 += counters.claims_waited;
        counted.2 += counters.takeovers;
    }
    assert_eq!(counted, (10, 40, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_nodes_claim_one_token_and_one_gets_it() {
    let Some(postgres) = migrated().await else { return };
    let first = node(&postgres, "first");
    let token = create(&first, "work", "record").await;
    let claims = (0..50).map(|number| {
        let node = node(&postgres, &format!("node-{number}"));
        tokio::spawn(async move { node.claim("work", token, false).await.unwrap() })
    });
    let mut granted = 0;
    for claim in claims.collect::<Vec<_>>() {
        granted += usize::from(is_granted(&claim.await.unwrap()));
    }
    assert_eq!(granted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn successor_is_seen_by_the_other_node() {
    let Some(postgres) = migrated().await else { return };
    let (a, mut b) = (node(&postgres, "a"), node(&postgres, "b"));
    let token = create(&a, "work", "first").await;
    b.wait_for_everything().await;
    assert!(is_granted(&a.claim("work", token, false).await.unwrap()));
    let Claimed::Wait { holder, .. } = b.claim("work", token, false).await.unwrap() else { panic!() };
    assert_eq!(holder.as_deref(), Some("a"));
    let commit = Write::Commit { token };
    let (revision, successor) =
        done(a.write("work", commit, text("second"), Some(Duration::from_secs(7200))).await.unwrap());
    assert!(successor > token && revision == successor);
    b.wait_for("work").await;
    let Claimed::Superseded(Some(found)) = b.claim("work", token, false).await.unwrap() else { panic!() };
    assert_eq!((found.revision, found.token), (revision, successor));
    let left = found.valid_for.unwrap();
    assert!(left > Duration::from_secs(7100) && left <= Duration::from_secs(7200), "{left:?}");
    assert_eq!(content(Some(found)).as_deref(), Some("second"));
    // The other commit of the same token is a conflict, and changes nothing.
    let found = conflict(b.write("work", commit, text("third"), None).await.unwrap());
    assert_eq!(content(found).as_deref(), Some("second"));
    assert_eq!(b.watch().borrow().counters.conflicts, 1);
    // A repeated commit is recognised.
    assert_eq!(done(a.write("work", commit, text("second"), None).await.unwrap()), (revision, successor));
    a.delete("work").await.unwrap();
    assert!(matches!(b.claim("work", successor, false).await.unwrap(), Claimed::Superseded(None)));
    assert!(conflict(a.write("work", commit, text("second"), None).await.unwrap()).is_none());
    assert_eq!(a.watch().borrow().state, DatabaseState::Connected);
}

#[tokio::test(flavor = "multi_thread")]
async fn released_token_is_claimed_after_the_pause() {
    let Some(postgres) = migrated().await else { return };
    let (a, b) = (node(&postgres, "a"), node(&postgres, "b"));
    let token = create(&a, "work", "record").await;
    assert!(is_granted(&a.claim("work", token, false).await.unwrap()));
    b.release("work", None).await.unwrap();
    assert!(!is_granted(&b.claim("work", token, false).await.unwrap()), "another's claim was released");
    a.release("work", Some(Duration::from_secs(600))).await.unwrap();
    let Claimed::Wait { wait, holder } = b.claim("work", token, false).await.unwrap() else { panic!() };
    assert!(holder.is_none() && wait > Duration::from_secs(500), "{wait:?} {holder:?}");
    postgres.psql("UPDATE \"the \"\"fleet\"\"\".record SET retry_at = now()").unwrap();
    let Claimed::Granted { lost_since } = b.claim("work", token, false).await.unwrap() else { panic!() };
    assert_eq!(lost_since, None);
    a.release("nothing", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn update_keeps_the_claim_unless_it_ends_it() {
    let Some(postgres) = migrated().await else { return };
    let (a, b) = (node(&postgres, "a"), node(&postgres, "b"));
    let token = create(&a, "work", "record").await;
    assert!(is_granted(&a.claim("work", token, false).await.unwrap()));
    let update = |revision, release| Write::Update { revision, release };
    let (revision, same) = done(b.write("work", update(token, true), text("b"), None).await.unwrap());
    assert_eq!(same, token);
    assert!(matches!(b.claim("work", token, false).await.unwrap(), Claimed::Superseded(Some(_))));
    assert!(matches!(b.claim("work", revision, false).await.unwrap(), Claimed::Wait { .. }));
    let found = conflict(a.write("work", update(token, true), text("a"), None).await.unwrap());
    assert_eq!(content(found).as_deref(), Some("b"));
    let (revision, _) = done(a.write("work", update(revision, true), text("a"), None).await.unwrap());
    assert!(is_granted(&b.claim("work", revision, false).await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn name_has_one_winner() {
    let Some(postgres) = migrated().await else { return };
    let nodes: Vec<_> = (0..8).map(|number| node(&postgres, &number.to_string())).collect();
    let writes: Vec<_> = nodes
        .iter()
        .map(|node| {
            let fleet = node.fleet.clone();
            let record = text(&fleet.holder().node);
            tokio::spawn(async move { fleet.write("work", Write::Create, record, None).await.unwrap() })
        })
        .collect();
    let mut winners = Vec::new();
    let mut losers = Vec::new();
    for (node, write) in nodes.iter().zip(writes) {
        match write.await.unwrap() {
            authd_fleet::Written::Done { .. } => winners.push(node.holder().node.to_string()),
            authd_fleet::Written::Conflict(found) => losers.push(content(found).unwrap()),
        }
    }
    assert_eq!((winners.len(), losers.len()), (1, 7));
    assert!(losers.iter().all(|found| *found == winners[0]));

    // Renames: one of two nodes wins, and a taken name is refused.
    let revision = nodes[0].load("work").await.unwrap().unwrap().revision;
    create(&nodes[1], "home", "home").await;
    let taken = nodes[0].rename("work", "home", text("x"), revision).await.unwrap();
    assert!(matches!(taken, Renamed::Taken), "{taken:?}");
    let renamed = nodes[0].rename("work", "job", text("job"), revision).await.unwrap();
    let Renamed::Done { revision: new } = renamed else { panic!("{renamed:?}") };
    assert!(new > revision);
    let late = nodes[1].rename("work", "office", text("office"), revision).await.unwrap();
    assert!(matches!(late, Renamed::Conflict(None)), "{late:?}");
    let again = nodes[0].rename("work", "job", text("job"), revision).await.unwrap();
    assert!(matches!(again, Renamed::Done { revision } if revision == new), "{again:?}");
    let outdated = nodes[0].rename("job", "office", text("office"), revision).await.unwrap();
    let Renamed::Conflict(found) = outdated else { panic!("{outdated:?}") };
    assert_eq!(content(found).as_deref(), Some("job"));
    let names: Vec<_> = nodes[2].list().await.unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["home", "job"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn claim_moves_along_with_a_new_name() {
    let Some(postgres) = migrated().await else { return };
    let (a, b) = (node(&postgres, "a"), node(&postgres, "b"));
    let token = create(&a, "work", "record").await;
    assert!(is_granted(&a.claim("work", token, false).await.unwrap()));
    let renamed = b.rename("work", "job", text("renamed"), token).await.unwrap();
    let Renamed::Done { revision } = renamed else { panic!("{renamed:?}") };
    let Claimed::Wait { holder, .. } = b.claim("job", revision, false).await.unwrap() else { panic!() };
    assert_eq!(holder.as_deref(), Some("a"));
    done(a.write("job", Write::Commit { token }, text("successor"), None).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn last_default_has_the_highest_rank() {
    let Some(postgres) = migrated().await else { return };
    let (a, b) = (node(&postgres, "a"), node(&postgres, "b"));
    create(&a, "work", "work").await;
    let home = create(&a, "home", "home").await;
    assert!(a.make_default("home").await.unwrap() && b.make_default("work").await.unwrap());
    assert!(!b.make_default("nothing").await.unwrap());
    let records = a.list().await.unwrap();
    let ranks: Vec<_> =
        records.iter().map(|(name, record)| (name.as_str(), record.as_ref().unwrap().default_rank)).collect();
    assert!(ranks[0].0 == "home" && ranks[1].0 == "work" && ranks[1].1 > ranks[0].1, "{ranks:?}");
    let found = a.load("home").await.unwrap().unwrap();
    assert!(found.revision > home && found.token == home);
}

#[tokio::test(flavor = "multi_thread")]
async fn swapped_rows_are_refused() {
    let Some(postgres) = migrated().await else { return };
    let a = node(&postgres, "a");
    create(&a, "home", "home").await;
    create(&a, "work", "work").await;
    create(&a, "third", "third").await;
    postgres
        .psql(
            "UPDATE \"the \"\"fleet\"\"\".record AS r SET sealed = o.sealed FROM \"the \"\"fleet\"\"\".record AS o \
             WHERE r.name IN ('home', 'work') AND o.name IN ('home', 'work') AND r.name <> o.name",
        )
        .unwrap();
    let error = a.load("home").await.unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { key, .. } if key == "home"), "{error}");
    let opened: Vec<_> =
        a.list().await.unwrap().into_iter().map(|(name, record)| (name, record.is_ok())).collect();
    assert_eq!(opened, [("home".to_owned(), false), ("third".to_owned(), true), ("work".to_owned(), false)]);
    // A row that cannot be opened is not overwritten by a write that is based on another state.
    a.write("home", Write::Create, text("x"), None).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn record_is_taken_out_only_by_a_process_that_may_send_its_token() {
    let Some(postgres) = migrated().await else { return };
    let (a, b) = (node(&postgres, "a"), node(&postgres, "b"));
    let token = create(&a, "work", "record").await;
    let revision = b.load("work").await.unwrap().unwrap().revision;
    // Another process may be sending it.
    assert!(is_granted(&a.claim("work", token, false).await.unwrap()));
    let refused = b.take_out("work", revision, None).await.unwrap();
    assert!(matches!(&refused, TakenOut::Wait { holder: Some(node), .. } if **node == *"a"), "{refused:?}");
    let stale = a.take_out("work", revision - 1, None).await.unwrap();
    assert!(matches!(stale, TakenOut::Superseded(Some(_))), "{stale:?}");
    // That process is lost: the copy must say so.
    let over = "UPDATE \"the \"\"fleet\"\"\".record SET claim_until = now() - interval '1 year', \
                claim_since = now() - interval '1 year', expires_at = now()";
    postgres.psql(over).unwrap();
    let TakenOut::Lost { since } = b.take_out("work", revision, None).await.unwrap() else { panic!() };
    assert!(b.load("work").await.unwrap().is_some());
    let done = b.take_out("work", revision, Some(since)).await.unwrap();
    assert!(matches!(done, TakenOut::Done), "{done:?}");
    assert!(b.load("work").await.unwrap().is_none());
    let gone = b.take_out("work", revision, None).await.unwrap();
    assert!(matches!(gone, TakenOut::Superseded(None)), "{gone:?}");
    // Without a claim of another process it is taken out at once.
    create(&a, "home", "record").await;
    let stored = b.load("home").await.unwrap().unwrap();
    assert!(matches!(b.take_out("home", stored.revision, None).await.unwrap(), TakenOut::Done));
}
