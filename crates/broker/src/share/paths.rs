//! Which paths a share may use. A path is compared by its segments, and a path that two programs
//! could read differently is refused: the upstream may normalise what this check does not.

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path can be read in more than one way.
    #[error(
        "the path contains an empty or dot segment, `%`, `;`, a backslash or a character outside of ASCII"
    )]
    Ambiguous,
    /// The path is not below one of the allowed paths.
    #[error("the share does not allow this path")]
    NotAllowed,
}

/// Checks a path below the profile's base URL, without a leading slash, against the allowed ones;
/// all are allowed if the list is empty.
pub(super) fn check(path: &str, allowed: &[Box<str>]) -> Result<(), PathError> {
    if !is_plain(path) {
        return Err(PathError::Ambiguous);
    }
    let is_below =
        |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if allowed.is_empty() || allowed.iter().any(|prefix| is_below(prefix)) {
        Ok(())
    } else {
        Err(PathError::NotAllowed)
    }
}

/// An allowed path in the form that [`check`] compares with. `None` if it can be read in more than
/// one way.
pub(super) fn parse(text: &str) -> Option<Box<str>> {
    let path = text.strip_prefix('/').unwrap_or(text);
    let path = path.strip_suffix('/').unwrap_or(path);
    (!path.is_empty() && is_plain(path)).then(|| path.into())
}

/// Whether every program reads the path in the same way: no empty or dot segment, and only
/// characters that are allowed in a segment and need no percent-encoding (RFC 3986, section 3.3).
fn is_plain(path: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&b);
    let is_plain = |segment: &str| {
        !segment.is_empty() && !matches!(segment, "." | "..") && segment.bytes().all(is_allowed)
    };
    path.split('/').all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(path: &str, allowed: &[&str]) -> Result<(), PathError> {
        let allowed: Vec<_> = allowed.iter().map(|text| parse(text).unwrap()).collect();
        check(path, &allowed)
    }

    #[test]
    fn path_is_allowed_at_and_below_a_prefix() {
        for path in ["responses", "responses/resp_1", "responses/resp_1/cancel", "models"] {
            assert_eq!(checked(path, &["responses", "/models/"]), Ok(()), "{path}");
            assert_eq!(checked(path, &[]), Ok(()), "{path}");
        }
        for path in ["response", "responses2", "files", "files/responses", "Responses"] {
            assert_eq!(checked(path, &["responses", "/models/"]), Err(PathError::NotAllowed), "{path}");
        }
    }

    #[test]
    fn ambiguous_path_is_refused_whatever_is_allowed() {
        let paths = [
            "",
            "/",
            "responses/",
            "/responses",
            "responses//x",
            "responses/../files",
            "responses/./x",
            "..",
            "responses/%2e%2e/files",
            "responses%2Ffiles",
            "responses/%2E./x",
            "responses\\..\\files",
            "responses/%5c",
            "responses;v=1",
            "r%65sponses",
            "responses/x%00",
            "responses/\u{e9}",
        ];
        for path in paths {
            for allowed in [&[][..], &["responses"]] {
                assert_eq!(checked(path, allowed), Err(PathError::Ambiguous), "{path}");
            }
        }
    }

    #[test]
    fn ambiguous_prefix_is_refused() {
        for text in ["", "/", "//", "a//b", "../a", "a/..", "a%2fb", "a b", "a?b", "a#b"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
