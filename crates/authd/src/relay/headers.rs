//! Removes the headers that belong to one hop (RFC 9110, section 7.6.1), and those of the client's
//! own credential. All others are forwarded unchanged.

use authd_oauth::headers::OF_CREDENTIAL;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The only protocol that a connection may switch to. Others, such as `h2c`, belong to one hop, and
/// a client that requests an upgrade must work without it.
pub(super) const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// The headers of one hop. `Trailer` is not among them: trailers are forwarded.
static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authentication-info"),
];

/// Prefix of the daemon's own headers. Only the daemon may set them.
const OWN_PREFIX: &str = "authd-";

/// The cookies of RFC 2965. It is obsolete, but some clients still store them.
const SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");
const COOKIE2: HeaderName = HeaderName::from_static("cookie2");

const ORIGINATOR: HeaderName = HeaderName::from_static("originator");
const VERSION: HeaderName = HeaderName::from_static("version");

/// Whether a message requests or accepts a WebSocket.
pub(super) fn is_websocket_upgrade(headers: &HeaderMap) -> bool {
    listed(headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"))
        && listed(headers, &header::UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

/// The headers of a request to the upstream: without those of the hop, those of the client's own
/// credential, and `Host`.
pub(super) fn forwarded(mut headers: HeaderMap, websocket: bool) -> HeaderMap {
    // `trailers` takes no weight (RFC 9110, section 10.1.4).
    let takes_trailers = listed(&headers, &header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    strip(&mut headers, &[&OF_CREDENTIAL, &[header::HOST, header::COOKIE, COOKIE2, header::EXPECT]]);
    if let Some(version) = stated_version(&headers) {
        headers.entry(VERSION).or_insert(version);
    }
    if websocket {
        set_upgrade(&mut headers);
    } else if takes_trailers {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    headers
}

/// The version in a user agent `{originator}/{version} (…`. The Codex CLI sends no `version` header
/// to a provider that its user has configured, and the daemon's own version would be another one.
fn stated_version(headers: &HeaderMap) -> Option<HeaderValue> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    let product = text(&header::USER_AGENT)?.split(' ').next()?;
    product.strip_prefix(text(&ORIGINATOR)?)?.strip_prefix('/')?.parse().ok()
}

/// The headers of a response to the client: without those of the hop and without cookies, because
/// all upstreams share the host `authd`. Caches must not store it.
pub(super) fn returned(mut headers: HeaderMap, websocket: bool) -> HeaderMap {
    strip(&mut headers, &[&[header::SET_COOKIE, SET_COOKIE2]]);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if websocket {
        set_upgrade(&mut headers);
    }
    headers
}

fn set_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// Removes the headers of the hop, the daemon's own, and `others`. Comparing the few names of a
/// message is faster than hashing every name that could be there.
fn strip(headers: &mut HeaderMap, others: &[&[HeaderName]]) {
    let named: Vec<HeaderName> =
        listed(headers, &header::CONNECTION).filter_map(|name| name.parse().ok()).collect();
    let is_removed = |name: &&HeaderName| {
        name.as_str().starts_with(OWN_PREFIX)
            || [&HOP_BY_HOP[..], &named].iter().chain(others).any(|all| all.contains(name))
    };
    let removed: Vec<HeaderName> = headers.keys().filter(is_removed).cloned().collect();
    for name in &removed {
        headers.remove(name);
    }
}

/// The members of a list header, over all its lines.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> HeaderMap {
        let pairs = text.split_terminator('\n').filter_map(|line| line.split_once(": "));
        pairs.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).fold(
            HeaderMap::new(),
            |mut all, (name, value): (HeaderName, HeaderValue)| {
                all.append(name, value);
                all
            },
        )
    }

    #[test]
    fn hop_headers_are_removed_and_all_others_forwarded() {
        let request = headers(
            "Host: authd\nConnection: close, X-Hop\nconnection: X-Other\nX-Hop: 1\nX-Other: 2\nX-End: 3\n\
             Keep-Alive: timeout=5\nProxy-Authorization: Basic eA==\nProxy-Connection: keep-alive\n\
             TE: gzip;q=0.5, trailers\nTrailer: X-Sum\nUpgrade: h2c\nTransfer-Encoding: chunked\n\
             Authorization: Bearer own\nChatGPT-Account-ID: own\nX-OpenAI-Fedramp: true\n\
             X-OpenAI-Account-Routing-Override: eu\nCookie: a=b\nCookie2: $Version=1\nAuthd-Renewed: 7\n\
             Expect: 100-continue\nContent-Encoding: zstd\n",
        );
        let expected =
            headers("Connection: te\nTE: trailers\nTrailer: X-Sum\nX-End: 3\nContent-Encoding: zstd\n");
        assert_eq!(forwarded(request, false), expected);
        let response = headers(
            "Connection: X-Hop\nX-Hop: 1\nKeep-Alive: timeout=5\nProxy-Authenticate: Basic\nSet-Cookie: a=b\n\
             Set-Cookie2: a=b\nAuthd-Renewed: 7\nauthd-other: 1\n\
             Proxy-Authentication-Info: x\nTrailer: X-Sum\nContent-Encoding: br\nCache-Control: no-cache\n",
        );
        let expected = headers("Trailer: X-Sum\nContent-Encoding: br\nCache-Control: no-cache\n");
        assert_eq!(returned(response, false), expected);
    }

    #[test]
    fn version_of_a_codex_user_agent_is_stated_in_its_header() {
        let agent = "originator: codex_exec\nUser-Agent: codex_exec/0.180.0 (Debian 12.0.0; x86_64) xterm\n";
        for (request, version) in [
            (agent.to_owned(), Some("0.180.0")),
            (format!("{agent}version: 0.181.0\n"), Some("0.181.0")),
            ("User-Agent: codex_exec/0.180.0\n".to_owned(), None),
            ("originator: own\nUser-Agent: curl/8.0\n".to_owned(), None),
        ] {
            let forwarded = forwarded(headers(&request), false);
            assert_eq!(forwarded.get(VERSION).map(|value| value.to_str().unwrap()), version, "{request}");
        }
    }

    #[test]
    fn websocket_needs_two_headers() {
        let both = "Connection: keep-alive, Upgrade\nUpgrade: WebSocket\n";
        assert!(is_websocket_upgrade(&headers(both)));
        for other in ["Upgrade: websocket\n", "Connection: Upgrade\n", "Connection: Upgrade\nUpgrade: h2c\n"]
        {
            assert!(!is_websocket_upgrade(&headers(other)), "{other}");
        }
        let key = "Sec-WebSocket-Key: x\n";
        let request = forwarded(headers(&format!("{both}{key}")), true);
        assert_eq!(request, headers(&format!("Connection: upgrade\nUpgrade: websocket\n{key}")));
    }
}
