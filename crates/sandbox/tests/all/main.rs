//! The sandbox, asked over real connections: that it answers as the provider does, and refuses as it does.

#![cfg(test)]

mod auth;
mod backend;
mod common;
mod device;
mod faults;
mod test_daemon;
mod tls;
