//! The short run: every target on its seeds and on some thousand deterministic mutations.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, panic, path::Path};

use authd_fuzz::{TARGETS, mutation};

/// Runs a target on its seeds and on this many mutations.
fn run(name: &str, times: usize) {
    let check = TARGETS.iter().find(|(target, _)| *target == name).unwrap().1;
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let mutations = mutation::mutations(&seeds, 0x5EED).take(times);
    for input in seeds.iter().cloned().chain([vec![]]).chain(mutations) {
        let is_ok = panic::catch_unwind(|| check(&input)).is_ok();
        assert!(is_ok, "{name} fails for {:?}", String::from_utf8_lossy(&input));
    }
    // The targets that write files.
    match name {
        "share" => authd_fuzz::share::delete_directory(),
        "socket" => authd_fuzz::socket::delete_directory(),
        _ => {}
    }
}

/// A test for each target, and their names.
macro_rules! runs {
    ($($name:ident: $times:literal,)*) => {
        const RUN: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            run(stringify!($name), $times);
        })*
    };
}

runs! {
    answer_events: 5_000,
    callback_query: 5_000,
    config: 3_000,
    discovery: 5_000,
    id_token: 5_000,
    share: 1_000,
    socket: 2_000,
    store_record: 5_000,
    token_response: 5_000,
}

#[test]
fn every_target_runs_here_and_with_libfuzzer() {
    let targets = TARGETS.map(|(name, _)| name);
    assert_eq!(RUN, targets);
    let manifest = include_str!("../Cargo.toml").lines();
    let bins: Vec<_> = manifest
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .collect();
    assert_eq!(bins, targets);
    for name in targets {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets").join(format!("{name}.rs"));
        let check = format!("authd_fuzz::{name}::check(data)");
        assert!(fs::read_to_string(program).unwrap().contains(&check), "{name} runs another target");
    }
}
