//! Runs `authd_fuzz::token_response` under libFuzzer: see docs/fuzzing.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| authd_fuzz::token_response::check(data));
