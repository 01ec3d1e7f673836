use std::fs;

use authd_oauth::{ApiKey, Grant};
use jiff::Timestamp;

use super::*;

fn session(generation: u64, durable: bool) -> Session {
    let grant = Grant::own_key(ApiKey::new("sk-test"), "a key of your own", Timestamp::UNIX_EPOCH);
    let record =
        Record { generation, grant, journal: None, ended: None, routing: Arc::default(), routed_at: None };
    Session::handed_over(record, durable, 1, Timestamp::UNIX_EPOCH)
}

fn name(text: &str) -> ProfileName {
    text.parse().unwrap()
}

/// What a run leaves, as the next one finds it: in a file, and in the index.
fn left(run: &str, state_dir: &Path) -> File {
    let handover = Handover::default();
    handover.leave(&name("one"), &session(7, false));
    handover.leave(&name("one"), &session(8, false));
    handover.leave(&name("two"), &session(3, true));
    handover.leave(&name("gone"), &session(3, true));
    handover.forget(&name("gone"));
    let mut estate = handover.estate();
    estate.version = VERSION;
    estate.run = run.to_owned();
    let path = state_dir.join("left");
    fs::write(&path, serde_json::to_string(&*estate).unwrap()).unwrap();
    Index::default().save(state_dir).unwrap();
    remember("this", state_dir).unwrap();
    File::open(path).unwrap()
}

#[test]
fn the_next_run_gets_it_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = left("this", dir.path());
    let handover = Handover::take(Some(&file), &mut Index::load(dir.path()), dir.path());
    let one = handover.claim(&name("one")).unwrap();
    assert_eq!((one.record.generation, one.durable), (8, false));
    assert!(handover.claim(&name("one")).is_none(), "it lives in a session now");
    assert!(handover.claim(&name("two")).unwrap().durable);
    assert!(handover.claim(&name("gone")).is_none());
    // Whoever comes after that, with the same file, gets nothing.
    let file = File::open(dir.path().join("left")).unwrap();
    let handover = Handover::take(Some(&file), &mut Index::load(dir.path()), dir.path());
    assert!(handover.claim(&name("two")).is_none());
}

#[test]
fn what_another_run_left_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let file = left("an older one", dir.path());
    let mut loaded = Index::load(dir.path());
    assert!(Handover::take(Some(&file), &mut loaded, dir.path()).claim(&name("one")).is_none());
    let Loaded::Index(index) = Index::load(dir.path()) else { panic!("the index is lost") };
    assert_eq!(index.handover, None, "struck out all the same");
}

#[test]
fn without_striking_it_out_nothing_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let file = left("this", dir.path());
    let mut loaded = Index::load(dir.path());
    let elsewhere = dir.path().join("nowhere");
    assert!(Handover::take(Some(&file), &mut loaded, &elsewhere).claim(&name("one")).is_none());
}
