//! Scopes (RFC 6749, section 3.3).

/// Most scopes of a definition, of a request, and of a report.
pub const MAX_SCOPES: usize = 100;

/// Longest scope, in bytes.
const MAX_SCOPE: usize = 512;

/// Whether a text is a scope token (RFC 6749, section 3.3).
pub fn is_scope(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    (1..=MAX_SCOPE).contains(&text.len()) && text.bytes().all(is_allowed)
}
