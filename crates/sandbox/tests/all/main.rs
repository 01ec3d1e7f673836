//! Tests of the sandbox over real connections: its responses and its errors are those of the
//! provider.

#![cfg(test)]

mod auth;
mod backend;
mod common;
mod device;
mod faults;
mod test_daemon;
mod tls;
