//! What of `authctl` somebody else may use: the reader of an answer's events. The rest is the command line,
//! in `main.rs`.

pub mod sse;
