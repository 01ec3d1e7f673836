//! Runs `authd_fuzz::answer_events` under libFuzzer: see docs/fuzzing.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authd_fuzz::answer_events::check(data));
