//! The well-known URLs of metadata documents.

use url::Url;

/// The URLs where the metadata of an issuer may be, in the order in which they are tried: RFC 8414
/// with the path inserted, OpenID Connect with the path inserted, OpenID Connect with the path
/// appended. An issuer without a path has two.
pub fn authorization_server_urls(issuer: &Url) -> Vec<Url> {
    let mut urls = vec![
        inserted(issuer, "/.well-known/oauth-authorization-server"),
        inserted(issuer, "/.well-known/openid-configuration"),
    ];
    let path = trimmed_path(issuer);
    if !path.is_empty() {
        urls.push(at(issuer, &format!("{path}/.well-known/openid-configuration")));
    }
    urls
}

/// The URLs where the metadata of a protected resource may be: with the path inserted (RFC 9728,
/// section 3.1), then at the root.
pub fn protected_resource_urls(resource: &Url) -> Vec<Url> {
    const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
    let mut urls = vec![inserted(resource, WELL_KNOWN)];
    if !trimmed_path(resource).is_empty() {
        urls.push(at(resource, WELL_KNOWN));
    }
    urls
}

/// The origin of a URL as an issuer, without a path.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

fn inserted(url: &Url, well_known: &str) -> Url {
    at(url, &format!("{well_known}{}", trimmed_path(url)))
}

fn trimmed_path(url: &Url) -> &str {
    url.path().trim_end_matches('/')
}

fn at(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_path(path);
    url.set_query(None);
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_urls_are_tried_in_the_documented_order() {
        let urls = |make: fn(&Url) -> Vec<Url>, url: &str| -> Vec<String> {
            make(&Url::parse(url).unwrap()).into_iter().map(String::from).collect()
        };
        let (server, resource) = (authorization_server_urls, protected_resource_urls);
        for root in ["https://as.example", "https://as.example/"] {
            assert_eq!(
                urls(server, root),
                [
                    "https://as.example/.well-known/oauth-authorization-server",
                    "https://as.example/.well-known/openid-configuration",
                ]
            );
        }
        for tenant in ["https://as.example:8443/a/b", "https://as.example:8443/a/b/"] {
            assert_eq!(
                urls(server, tenant),
                [
                    "https://as.example:8443/.well-known/oauth-authorization-server/a/b",
                    "https://as.example:8443/.well-known/openid-configuration/a/b",
                    "https://as.example:8443/a/b/.well-known/openid-configuration",
                ]
            );
        }
        assert_eq!(
            urls(resource, "https://rs.example/mcp?x=1"),
            [
                "https://rs.example/.well-known/oauth-protected-resource/mcp",
                "https://rs.example/.well-known/oauth-protected-resource",
            ]
        );
        assert_eq!(
            urls(resource, "https://rs.example"),
            ["https://rs.example/.well-known/oauth-protected-resource"]
        );
    }
}
