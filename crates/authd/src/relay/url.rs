//! The URL of a relayed request.

use super::RelayError;

/// The URL below a base URL. Without a path it is the base URL itself, with or without a slash at
/// its end. The query of the base URL comes before that of the request.
pub(super) fn join(base: &str, tail: &str, query: Option<&str>) -> Result<String, RelayError> {
    if leaves_base(tail) {
        return Err(RelayError::PathOutsideBaseUrl);
    }
    let (path, own_query) = base.split_once('?').map_or((base, None), |(path, query)| (path, Some(query)));
    let (path, slash) = if tail.is_empty() { (path, "") } else { (path.trim_end_matches('/'), "/") };
    let queries: Vec<&str> = [own_query, query].into_iter().flatten().collect();
    let (separator, query) = if queries.is_empty() { ("", String::new()) } else { ("?", queries.join("&")) };
    Ok([path, slash, tail, separator, &query].concat())
}

/// Whether a path below the base URL leaves it.
fn leaves_base(tail: &str) -> bool {
    tail.split('/').any(is_dot_segment) || tail.contains('\\')
}

/// Whether a segment is `.` or `..`, in any percent-encoding.
fn is_dot_segment(segment: &str) -> bool {
    let strip_dot = |text| [".", "%2e", "%2E"].iter().find_map(|dot| str::strip_prefix(text, dot));
    strip_dot(segment).is_some_and(|rest| rest.is_empty() || strip_dot(rest).is_some_and(str::is_empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_and_query_are_added_to_the_base_url() {
        for (base, tail, query, expected) in [
            ("https://a.example/v1", "x/y", Some("a=b"), "https://a.example/v1/x/y?a=b"),
            ("https://a.example/v1/", "x/", Some(""), "https://a.example/v1/x/?"),
            ("https://a.example", "x", None, "https://a.example/x"),
            ("https://a.example/mcp", "", None, "https://a.example/mcp"),
            ("https://a.example/mcp/", "", Some("s=1"), "https://a.example/mcp/?s=1"),
            ("https://a.example/mcp?tenant=t", "", None, "https://a.example/mcp?tenant=t"),
            ("https://a.example/mcp?tenant=t", "x", Some("s=1"), "https://a.example/mcp/x?tenant=t&s=1"),
        ] {
            assert_eq!(join(base, tail, query).unwrap(), expected);
        }
    }

    #[test]
    fn path_that_leaves_the_base_url_is_refused() {
        for tail in ["..", "x/../y", "x/%2E%2e", "./x", "x\\y"] {
            assert!(join("https://a.example/v1", tail, None).is_err(), "{tail}");
        }
    }
}
