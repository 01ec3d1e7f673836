//! What must hold whatever comes in. Each target is a function of bytes that asserts properties: more than
//! that nothing panics. `cargo fuzz` looks for bytes that break them, and a test gives each its seeds and
//! some thousand changed seeds at every run. How to run them: docs/fuzzing.md.
//!
//! A target uses what the packages offer anyway; none has a door of its own for it.

pub mod answer_events;
pub mod callback_query;
pub mod config;
pub mod id_token;
pub mod mutation;
pub mod socket;
pub mod store_record;
pub mod token_response;

use serde_json::Value;

/// A target: its name, which its seeds' directory has too, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("answer_events", answer_events::check),
    ("callback_query", callback_query::check),
    ("config", config::check),
    ("id_token", id_token::check),
    ("socket", socket::check),
    ("store_record", store_record::check),
    ("token_response", token_response::check),
];

/// The same JSON object with other secrets in these fields; nothing if there is something in it, where nobody reads,
/// that is no value: bytes that are no text, numbers that are none.
fn blanked(json: &[u8], secret: &[&str]) -> Option<String> {
    let mut value: Value = serde_json::from_slice(json).ok()?;
    for name in secret {
        if let Some(secret @ Value::String(_)) = value.get_mut(name) {
            *secret = Value::from("x");
        }
    }
    Some(value.to_string())
}
