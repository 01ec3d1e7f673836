//! The token endpoint's answers: good ones, refusals, and whatever else is at the other end of a network.

use authd_oauth::{
    CodeResponse, ProviderError, RefreshResponse, Tokens,
    error_response::{self, Call},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;

use crate::blanked;

/// The fields that are secret.
const SECRET: [&str; 3] = ["id_token", "access_token", "refresh_token"];

/// The statuses that a first byte chooses from.
const STATUSES: [u16; 12] = [200, 204, 302, 400, 401, 403, 404, 408, 429, 500, 502, 503];

/// The first byte chooses a status, the rest is the body.
pub fn check(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    succeeded(body);
    let status = STATUSES[usize::from(first) % STATUSES.len()];
    for call in [Call::Refresh, Call::Other] {
        failed(call, StatusCode::from_u16(status).expect("a status"), body);
    }
}

fn succeeded(body: &[u8]) {
    let now = Timestamp::UNIX_EPOCH;
    let refreshed = RefreshResponse::parse(body);
    match CodeResponse::parse(body) {
        Ok(answer) => {
            if let Some(blanked) = blanked(body, &SECRET) {
                let others = CodeResponse::parse(blanked.as_bytes()).expect("the same but for the secrets");
                assert_eq!(format!("{answer:?}"), format!("{others:?}"), "a secret is shown");
            }
            let (tokens, id_token) = Tokens::issued(answer, now);
            let refreshed = refreshed.expect("what brings all tokens brings those of a refresh");
            let mut merged = tokens.clone();
            let brought = merged.merge(refreshed, now);
            assert_eq!(
                brought.map(|brought| brought.expose().to_owned()).as_deref(),
                Some(id_token.expose())
            );
            for secret in [tokens.access_token.expose(), id_token.expose()] {
                let bearer = HeaderValue::from_str(&format!("Bearer {secret}"));
                assert!(!secret.is_empty() && bearer.is_ok(), "a token that no header can hold");
            }
            assert_eq!(merged.access_token.expose(), tokens.access_token.expose());
            assert_eq!(merged.expires_at, tokens.expires_at);
            assert!(merged.refresh_token.is_some());
        }
        Err(failure) => {
            garbled(&failure);
            if let Err(failure) = refreshed {
                garbled(&failure);
            }
        }
    }
}

/// A success that is none is not final: it may be a portal's.
fn garbled(failure: &ProviderError) {
    assert!(
        matches!(failure, ProviderError::InvalidResponse { .. }) && !failure.is_permanent(),
        "{failure:?}"
    );
    short(failure);
}

fn failed(call: Call, status: StatusCode, body: &[u8]) {
    let mut headers = HeaderMap::new();
    // Any date or number, if it can stand in a header at all.
    if let Ok(value) = HeaderValue::from_bytes(&body[..body.len().min(40)]) {
        headers.insert(header::RETRY_AFTER, value);
    }
    let failure = error_response::classify(call, status, &headers, body, Timestamp::UNIX_EPOCH);
    short(&failure);
    assert!(!matches!(failure, ProviderError::NotSent { .. }), "an answer came: {failure:?}");
    if let ProviderError::Rejected { code, .. } = &failure {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
        assert!((1..=64).contains(&code.as_str().len()) && code.as_str().bytes().all(fits), "{code}");
    }
    // A refresh ends a grant for good only on the provider's word, in JSON, or on a bare 401.
    if call == Call::Refresh && failure.is_permanent() {
        let said = body.trim_ascii().starts_with(b"{") || body.trim_ascii().starts_with(b"[");
        assert!(said || (status == StatusCode::UNAUTHORIZED && body.is_empty()), "{failure:?}");
    }
}

/// Nothing of a body but a code is ever copied.
fn short(failure: &ProviderError) {
    let (said, shown) = (failure.to_string(), format!("{failure:?}"));
    assert!(said.len() < 200 && shown.len() < 240, "{said} {shown}");
    assert!(!said.contains(char::is_control), "{said:?}");
}
