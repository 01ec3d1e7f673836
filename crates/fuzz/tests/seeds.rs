//! The short run: every target on its seeds and on some thousand changed ones, the same at every run.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::{fs, panic, path::Path};

use authd_fuzz::{TARGETS, mutation};

/// Runs a target on its seeds, and on this many changed ones.
fn run(name: &str, times: usize) {
    let check = TARGETS.iter().find(|(target, _)| *target == name).unwrap().1;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let changed = mutation::mutations(&seeds, 0x5EED).take(times);
    for input in seeds.iter().cloned().chain([vec![]]).chain(changed) {
        let held = panic::catch_unwind(|| check(&input)).is_ok();
        assert!(held, "{name} is broken by {:?}", String::from_utf8_lossy(&input));
    }
}

#[test]
fn answer_events() {
    run("answer_events", 5_000);
}

#[test]
fn callback_query() {
    run("callback_query", 5_000);
}

#[test]
fn config() {
    run("config", 3_000);
}

#[test]
fn id_token() {
    run("id_token", 5_000);
}

#[test]
fn socket() {
    run("socket", 2_000);
    authd_fuzz::socket::clear_up();
}

#[test]
fn store_record() {
    run("store_record", 5_000);
}

#[test]
fn token_response() {
    run("token_response", 5_000);
}
