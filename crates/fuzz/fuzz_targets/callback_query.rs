//! Runs `authd_fuzz::callback_query` under libFuzzer: see docs/fuzzing.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authd_fuzz::callback_query::check(data));
