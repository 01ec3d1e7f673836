//! What of a message's head is for the next hop alone (RFC 9110, section 7.6.1), and what goes through.
//! Everything that is not named here goes through as it came, and nothing is put in besides.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The one protocol that a connection may be switched to. Others ask for a hop of their own (`h2c`), and
/// whoever asks for an upgrade must do without one.
pub(super) const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// The fields of one hop. `Trailer` is none of them: it names what follows the body, which goes through.
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

/// How the names of the daemon's own fields begin. Only the daemon may set them.
const OWN_PREFIX: &str = "authd-";

/// The cookies of RFC 2965, which is obsolete. Some clients still keep them.
const SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");
const COOKIE2: HeaderName = HeaderName::from_static("cookie2");

/// Whether a request asks for a WebSocket, or an answer agrees to one.
pub(super) fn name_websocket(headers: &HeaderMap) -> bool {
    listed(headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"))
        && listed(headers, &header::UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

/// A request's headers without those that end here: its hop's, the client's own credential, and the name
/// it has for us. What the next hop must be told anew is put in.
pub(super) fn forwarded(mut headers: HeaderMap, websocket: bool) -> HeaderMap {
    // A weight (`trailers;q=0.5`) is not allowed here, so the word alone counts.
    let takes_trailers = listed(&headers, &header::TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    strip(&mut headers, &[header::AUTHORIZATION, header::HOST, header::COOKIE, COOKIE2, header::EXPECT]);
    if websocket {
        switching(&mut headers);
    } else if takes_trailers {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    headers
}

/// An answer's headers without those that end here. It is nobody's to keep, and sets no cookies for a
/// name that every upstream shares.
pub(super) fn returned(mut headers: HeaderMap, websocket: bool) -> HeaderMap {
    strip(&mut headers, &[header::SET_COOKIE, SET_COOKIE2]);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if websocket {
        switching(&mut headers);
    }
    headers
}

fn switching(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, WEBSOCKET);
}

/// Leaves out the hop's fields and the daemon's own, and others besides. A message has few of them: what there is is looked through,
/// because to look for what there might be would be to hash every name.
fn strip(headers: &mut HeaderMap, others: &[HeaderName]) {
    let named: Vec<HeaderName> =
        listed(headers, &header::CONNECTION).filter_map(|name| name.parse().ok()).collect();
    let ends_here = |name: &&HeaderName| {
        name.as_str().starts_with(OWN_PREFIX)
            || [&HOP_BY_HOP, others, &named].iter().any(|all| all.contains(name))
    };
    let gone: Vec<HeaderName> = headers.keys().filter(ends_here).cloned().collect();
    for name in &gone {
        headers.remove(name);
    }
}

/// The members of a field that is a list, over all its lines.
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
    fn what_the_connection_names_ends_here_and_the_rest_goes_through() {
        let asked = headers(
            "Host: authd\nConnection: close, X-Hop\nconnection: X-Other\nX-Hop: 1\nX-Other: 2\nX-End: 3\n\
             Keep-Alive: timeout=5\nProxy-Authorization: Basic eA==\nProxy-Connection: keep-alive\n\
             TE: gzip;q=0.5, trailers\nTrailer: X-Sum\nUpgrade: h2c\nTransfer-Encoding: chunked\n\
             Authorization: Bearer own\nCookie: a=b\nCookie2: $Version=1\nAuthd-Renewed: 7\n\
             Expect: 100-continue\nContent-Encoding: zstd\n",
        );
        let through =
            headers("Connection: te\nTE: trailers\nTrailer: X-Sum\nX-End: 3\nContent-Encoding: zstd\n");
        assert_eq!(forwarded(asked, false), through);
        let answered = headers(
            "Connection: X-Hop\nX-Hop: 1\nKeep-Alive: timeout=5\nProxy-Authenticate: Basic\nSet-Cookie: a=b\n\
             Set-Cookie2: a=b\nAuthd-Renewed: 7\nauthd-other: 1\n\
             Proxy-Authentication-Info: x\nTrailer: X-Sum\nContent-Encoding: br\nCache-Control: no-cache\n",
        );
        let through = headers("Trailer: X-Sum\nContent-Encoding: br\nCache-Control: no-cache\n");
        assert_eq!(returned(answered, false), through);
    }

    #[test]
    fn a_websocket_is_named_in_two_fields() {
        let both = "Connection: keep-alive, Upgrade\nUpgrade: WebSocket\n";
        assert!(name_websocket(&headers(both)));
        for other in ["Upgrade: websocket\n", "Connection: Upgrade\n", "Connection: Upgrade\nUpgrade: h2c\n"]
        {
            assert!(!name_websocket(&headers(other)), "{other}");
        }
        let key = "Sec-WebSocket-Key: x\n";
        let told = forwarded(headers(&format!("{both}{key}")), true);
        assert_eq!(told, headers(&format!("Connection: upgrade\nUpgrade: websocket\n{key}")));
    }
}
