//! Names and values as text.

use url::form_urlencoded;

/// Names and values as a query or a form body, in this order. Encoded as in the Codex CLI:
/// everything but letters, digits and `-_.~` is escaped, and a space becomes `%20`.
pub(crate) fn form<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    text.replace('+', "%20").replace('*', "%2A").replace("%7E", "~")
}
