//! Fuzz targets. Each target is a function of bytes that asserts properties of the code for this
//! input, not only that it does not panic. `cargo fuzz` searches for input that breaks them. A test
//! runs each target on its seeds and on some thousand mutations. docs/fuzzing.md says how to run
//! them.
//!
//! The targets use the public interfaces of the packages only.

pub mod answer_events;
pub mod callback_query;
pub mod config;
mod daemon;
pub mod discovery;
pub mod id_token;
pub mod mutation;
pub mod share;
pub mod socket;
pub mod store_record;
pub mod token_response;

use serde_json::Value;

/// A target: its name, which is also the directory of its seeds, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 9] = [
    ("answer_events", answer_events::check),
    ("callback_query", callback_query::check),
    ("config", config::check),
    ("discovery", discovery::check),
    ("id_token", id_token::check),
    ("share", share::check),
    ("socket", socket::check),
    ("store_record", store_record::check),
    ("token_response", token_response::check),
];

/// The same JSON object with other secrets in these fields; `None` if `serde_json` cannot parse it,
/// for example because an unknown field contains invalid UTF-8 or a number out of range.
fn with_other_secrets(json: &[u8], fields: &[&str]) -> Option<String> {
    let mut value: Value = serde_json::from_slice(json).ok()?;
    for name in fields {
        if let Some(secret @ Value::String(_)) = value.get_mut(name) {
            *secret = Value::from("x");
        }
    }
    Some(value.to_string())
}
