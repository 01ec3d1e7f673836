//! Runs `authd_fuzz::id_token` under libFuzzer: see docs/fuzzing.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authd_fuzz::id_token::check(data));
