//! Runs `authd_fuzz::config` under libFuzzer: see docs/fuzzing.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authd_fuzz::config::check(data));
