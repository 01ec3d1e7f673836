//! Parses `WWW-Authenticate` (RFC 9110, section 11.6.1): a list of challenges, each a scheme with a
//! `token68` or parameters, whose values are tokens or quoted strings.

/// Longest value that is parsed, in bytes. Servers send some hundred.
const MAX_VALUE: usize = 8 << 10;

/// One challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpChallenge {
    /// The scheme, in lower case.
    pub scheme: String,
    /// The parameters, their names in lower case. The first of several with one name counts.
    pub params: Vec<(String, String)>,
}

impl HttpChallenge {
    /// The value of a parameter.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(param, _)| param == name).map(|(_, value)| value.as_str())
    }

    /// Where the metadata of the protected resource is (RFC 9728, section 5.1).
    pub fn resource_metadata(&self) -> Option<&str> {
        self.param("resource_metadata")
    }

    /// The scopes that the request needs (RFC 6750, section 3).
    pub fn scopes(&self) -> Option<Vec<String>> {
        let scopes = self.param("scope")?.split(' ').filter(|scope| crate::scope::is_scope(scope));
        Some(scopes.map(str::to_owned).collect())
    }

    /// The error code (RFC 6750, section 3.1).
    pub fn error(&self) -> Option<&str> {
        self.param("error")
    }
}

/// The challenges of a header value. Parsing stops at the first byte that fits nowhere; what came
/// before it counts.
pub fn challenges(value: &str) -> Vec<HttpChallenge> {
    let mut rest = value.get(..value.len().min(MAX_VALUE)).unwrap_or_default();
    let mut found: Vec<HttpChallenge> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((word, after)) = token(rest) else { return found };
        if let Some((value, after)) = param_value(after) {
            // A parameter of the newest challenge.
            let Some(challenge) = found.last_mut() else { return found };
            challenge.params.push((word.to_ascii_lowercase(), value));
            rest = after;
        } else {
            found.push(HttpChallenge { scheme: word.to_ascii_lowercase(), params: Vec::new() });
            rest = skip_token68(after);
        }
        if !(rest.is_empty() || rest.starts_with([' ', '\t', ','])) {
            return found;
        }
    }
}

/// A token (RFC 9110, section 5.6.2) and the text after it.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
    let end = text.find(|letter| !is_token(letter)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The value after `=`, and the text after it. `None` if no value follows.
fn param_value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches([' ', '\t']).strip_prefix('=')?.trim_start_matches([' ', '\t']);
    match text.strip_prefix('"') {
        Some(text) => quoted(text),
        None => token(text).map(|(value, rest)| (value.to_owned(), rest)),
    }
}

/// The rest of a quoted string (RFC 9110, section 5.6.4) and the text after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(letters.next()?.1),
            letter if letter.is_control() && letter != '\t' => return None,
            letter => value.push(letter),
        }
    }
    None
}

/// Skips the `token68` of a challenge without parameters.
fn skip_token68(text: &str) -> &str {
    let Some(word) = text.strip_prefix(' ').map(|text| text.trim_start_matches(' ')) else { return text };
    let is_token68 = |letter: char| letter.is_ascii_alphanumeric() || "-._~+/".contains(letter);
    let end = word.find(|letter| !is_token68(letter)).unwrap_or(word.len());
    let rest = word[end..].trim_start_matches('=');
    let is_alone = end > 0 && (rest.is_empty() || rest.trim_start_matches([' ', '\t']).starts_with(','));
    if is_alone { rest } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Vec<(String, Vec<(String, String)>)> {
        challenges(value).into_iter().map(|challenge| (challenge.scheme, challenge.params)).collect()
    }

    fn expected(all: &[(&str, &[(&str, &str)])]) -> Vec<(String, Vec<(String, String)>)> {
        let params = |params: &[(&str, &str)]| {
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        all.iter().map(|(scheme, all)| ((*scheme).to_owned(), params(all))).collect()
    }

    #[test]
    fn challenges_of_rfc_9110_are_parsed() {
        for (value, challenges) in [
            ("", &[][..]),
            ("Bearer", &[("bearer", &[][..])]),
            ("BEARER Realm=\"x\"", &[("bearer", &[("realm", "x")])]),
            (
                "Basic realm=\"simple\", Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\"\"",
                &[
                    ("basic", &[("realm", "simple")]),
                    ("newauth", &[("realm", "apps"), ("type", "1"), ("title", "Login to \"apps\"")]),
                ],
            ),
            (
                "Negotiate YWJj==, Bearer error = invalid_token , scope=\"a b\"",
                &[("negotiate", &[]), ("bearer", &[("error", "invalid_token"), ("scope", "a b")])],
            ),
            (
                ", ,Bearer resource_metadata=\"https://rs.example/x?a=1,b=2\"",
                &[("bearer", &[("resource_metadata", "https://rs.example/x?a=1,b=2")])],
            ),
            ("Bearer, Basic", &[("bearer", &[]), ("basic", &[])]),
            // What is malformed ends the list.
            ("realm=\"x\", Bearer", &[]),
            ("Bearer scope=\"never closed", &[("bearer", &[]), ("scope", &[])]),
            ("Bearer a=\"x\"junk, b=c", &[("bearer", &[("a", "x")])]),
        ] {
            assert_eq!(parsed(value), expected(challenges), "{value}");
        }
    }

    #[test]
    fn the_parameters_of_oauth_are_read() {
        let challenge = &challenges(
            "Bearer error=\"insufficient_scope\", scope=\"files:read  files:write\", \
             resource_metadata=\"https://rs.example/.well-known/oauth-protected-resource\"",
        )[0];
        assert_eq!(challenge.error(), Some("insufficient_scope"));
        assert_eq!(challenge.scopes().unwrap(), ["files:read", "files:write"]);
        assert!(challenge.resource_metadata().unwrap().starts_with("https://rs.example/"));
        assert_eq!(challenges("Bearer")[0].scopes(), None);
    }
}
