//! Hides OAuth from the clients of a relayed MCP server, and reads the scopes that the server
//! demands. An MCP client that sees a sign of OAuth ignores its configured headers and begins a
//! sign-in of its own.

use authd_oauth::{
    definition::MAX_SCOPES,
    discovery::{HttpChallenge, challenges},
};
use http::{HeaderMap, StatusCode, header};

/// The metadata of OAuth (RFC 9728, RFC 8414, `OpenID` Connect Discovery), below `/.well-known/`.
const METADATA: [&str; 3] =
    ["oauth-protected-resource", "oauth-authorization-server", "openid-configuration"];

/// Whether OAuth metadata is at this path, or at the one that a suffix was added to.
pub(crate) fn is_oauth_metadata(path: &str) -> bool {
    let mut segments = path.split('/').skip_while(|segment| *segment != ".well-known");
    segments.nth(1).is_some_and(|name| METADATA.contains(&name))
}

/// The scopes that an upstream demands of a token that lacks them (RFC 6750, section 3.1).
pub(crate) fn missing_scopes(status: StatusCode, headers: &HeaderMap) -> Vec<String> {
    if status != StatusCode::FORBIDDEN {
        return Vec::new();
    }
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let is_scope_challenge = |challenge: &HttpChallenge| {
        challenge.scheme == "bearer" && challenge.error() == Some("insufficient_scope")
    };
    let mut scopes = values.flat_map(challenges).filter(is_scope_challenge);
    let mut scopes = scopes.find_map(|challenge| challenge.scopes()).unwrap_or_default();
    scopes.truncate(MAX_SCOPES);
    scopes
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn metadata_is_recognised_at_every_place_where_clients_look() {
        for path in [
            "/.well-known/oauth-protected-resource",
            "/.well-known/oauth-protected-resource/v1",
            ".well-known/oauth-authorization-server/v1/profiles/-/relay",
            "/v1/.well-known/openid-configuration",
            ".well-known/openid-configuration",
        ] {
            assert!(is_oauth_metadata(path), "{path}");
        }
        for path in [
            "",
            "/v1",
            "mcp",
            ".well-known",
            ".well-known/mcp.json",
            "oauth-protected-resource",
            "x.well-known/oauth-protected-resource",
        ] {
            assert!(!is_oauth_metadata(path), "{path}");
        }
    }

    #[test]
    fn only_a_403_that_demands_scopes_names_missing_ones() {
        let found = |status: u16, lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(line));
            }
            missing_scopes(StatusCode::from_u16(status).unwrap(), &headers).join(" ")
        };
        let challenge = r#"Bearer scope="a b", error="insufficient_scope", resource_metadata="https://x/""#;
        assert_eq!(found(403, &[challenge]), "a b");
        assert_eq!(found(403, &["Basic realm=x", challenge]), "a b");
        assert_eq!(found(401, &[challenge]), "");
        for other in [
            "",
            "Bearer",
            r#"Bearer scope="a""#,
            r#"Bearer error="insufficient_scope""#,
            r#"Bearer error="invalid_token", scope="a""#,
            r#"DPoP error="insufficient_scope", scope="a""#,
        ] {
            assert_eq!(found(403, &[other]), "", "{other}");
        }
        let many = format!("Bearer error=insufficient_scope, scope=\"{}\"", "s ".repeat(1000));
        let headers = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, many.parse().unwrap())]);
        assert_eq!(missing_scopes(StatusCode::FORBIDDEN, &headers).len(), MAX_SCOPES);
    }
}
