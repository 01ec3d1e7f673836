//! Discovery against real servers on loopback: every order of documents, and every malformed one.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod chain;
mod faults;
mod property;
mod server;
