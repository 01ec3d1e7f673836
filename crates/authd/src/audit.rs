//! The audit log: which process used which profile, and when. Its lines contain no secret.
//!
//! A handler records a use in memory, without I/O. One task writes the lines:
//!
//! ```text
//! record ──► Coalescer ──► queue (bounded) ──► Writer ──► LogFiles, or the journal
//!                                               Reader ──────┘
//! ```
//!
//! The first use in a minute is a line at once. Equal uses in the same minute are one more line
//! with their count.

mod coalescer;
mod files;
mod journal;
mod log;
mod logins;
mod reader;
#[cfg(test)]
mod tests;
mod usage;
mod writer;

pub(crate) use self::{
    log::AuditLog,
    logins::record_logins,
    reader::{AuditReader, Filter},
    usage::{Usage, path_segment},
    writer::AuditWriter,
};
