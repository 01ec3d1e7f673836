//! The part of `authctl` that other crates may use: the reader of server-sent events. The command
//! line itself is the binary.

pub mod sse;
