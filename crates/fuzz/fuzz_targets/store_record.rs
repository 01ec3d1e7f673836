//! Runs `authd_fuzz::store_record` under libFuzzer: see docs/fuzzing.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authd_fuzz::store_record::check(data));
