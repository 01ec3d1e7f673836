//! Responses of the token endpoint: tokens, errors, and responses of other servers such as captive
//! portals.

use authd_oauth::{
    BearerResponse, CodeResponse, ErrorCode, ProviderError, RefreshResponse, Tokens,
    definition::is_scope,
    error_response::{self, Call},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;

use crate::with_other_secrets;

/// The fields that are secret.
const SECRET: [&str; 3] = ["id_token", "access_token", "refresh_token"];

/// The statuses that the first byte selects.
const STATUSES: [u16; 12] = [200, 204, 302, 400, 401, 403, 404, 408, 429, 500, 502, 503];

/// Checks a response. The first byte selects the status, the rest is the body.
pub fn check(data: &[u8]) {
    let Some((&first, body)) = data.split_first() else { return };
    check_success(body);
    check_bearer(body);
    let status = STATUSES[usize::from(first) % STATUSES.len()];
    for call in [Call::Refresh, Call::BearerRefresh, Call::Other] {
        check_error(call, StatusCode::from_u16(status).expect("a status"), body);
    }
}

fn check_success(body: &[u8]) {
    let now = Timestamp::UNIX_EPOCH;
    let refreshed = RefreshResponse::parse(body);
    match CodeResponse::parse(body) {
        Ok(answer) => {
            if let Some(changed) = with_other_secrets(body, &SECRET) {
                let others = CodeResponse::parse(changed.as_bytes()).expect("only the secrets differ");
                assert_eq!(format!("{answer:?}"), format!("{others:?}"), "a secret is visible");
            }
            let (tokens, id_token) = Tokens::issued(answer, now);
            let refreshed = refreshed.expect("a complete response is also valid for a refresh");
            let mut merged = tokens.clone();
            let new_id_token = merged.merge(refreshed, now);
            assert_eq!(
                new_id_token.map(|token| token.expose().to_owned()).as_deref(),
                Some(id_token.expose())
            );
            for secret in [tokens.access_token.expose(), id_token.expose()] {
                let bearer = HeaderValue::from_str(&format!("Bearer {secret}"));
                assert!(!secret.is_empty() && bearer.is_ok(), "a token is not a valid header value");
            }
            assert_eq!(merged.access_token.expose(), tokens.access_token.expose());
            assert_eq!(merged.expires_at, tokens.expires_at);
            assert!(merged.refresh_token.is_some());
        }
        Err(failure) => {
            check_invalid(&failure);
            if let Err(failure) = refreshed {
                check_invalid(&failure);
            }
        }
    }
}

/// Checks a success of a defined provider. GitHub's errors have the status of one.
fn check_bearer(body: &[u8]) {
    let now = Timestamp::UNIX_EPOCH;
    let refreshed = RefreshResponse::parse_bearer(body);
    let issued = BearerResponse::parse(body, now);
    for failure in [refreshed.as_ref().err(), issued.as_ref().err()].into_iter().flatten() {
        check_invalid(failure);
    }
    let status = error_response::status_of_token_response(StatusCode::OK, body);
    if status != StatusCode::OK {
        assert!(status == StatusCode::BAD_REQUEST && issued.is_err(), "a token is taken for an error");
    }
    let Ok(issued) = issued else { return };
    assert!(refreshed.is_ok(), "a complete response is also valid for a refresh");
    // A token that is not usable counts as absent.
    let is_present = [true, issued.tokens.refresh_token.is_some(), issued.id_token.is_some()];
    let names = ["access_token", "refresh_token", "id_token"].into_iter().zip(is_present);
    let present: Vec<_> = names.filter_map(|(name, is_present)| is_present.then_some(name)).collect();
    if let Some(changed) = with_other_secrets(body, &present) {
        let others = BearerResponse::parse(changed.as_bytes(), now).expect("only the secrets differ");
        assert_eq!(format!("{issued:?}"), format!("{others:?}"), "a secret is visible");
    }
    let BearerResponse { tokens, scopes, .. } = issued;
    let Tokens { access_token, expires_at, .. } = &tokens;
    let header = format!("{} {}", access_token.scheme(), access_token.expose());
    assert!(HeaderValue::from_str(&header).is_ok(), "a token is not a valid header value");
    assert!(!access_token.scheme().contains(' ') && !access_token.expose().is_empty());
    assert!(expires_at.is_none_or(|at| at > now), "it has expired already");
    assert!(scopes.iter().flatten().all(|scope| is_scope(scope)), "not a scope");
}

/// An invalid success does not end a login: it may come from a captive portal.
fn check_invalid(failure: &ProviderError) {
    assert!(
        matches!(failure, ProviderError::InvalidResponse { .. }) && !failure.is_permanent(),
        "{failure:?}"
    );
    check_message(failure);
}

fn check_error(call: Call, status: StatusCode, body: &[u8]) {
    let mut headers = HeaderMap::new();
    // Any date or number that is a valid header value.
    if let Ok(value) = HeaderValue::from_bytes(&body[..body.len().min(40)]) {
        headers.insert(header::RETRY_AFTER, value);
    }
    let failure = error_response::classify(call, status, &headers, body, Timestamp::UNIX_EPOCH);
    check_message(&failure);
    assert!(!matches!(failure, ProviderError::NotSent { .. }), "a response was received: {failure:?}");
    if let Some(code) = failure.code() {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
        assert!((1..=64).contains(&code.as_str().len()) && code.as_str().bytes().all(fits), "{code}");
    }
    if call == Call::BearerRefresh && failure.is_permanent() {
        let code = failure.code().map(ErrorCode::as_str);
        assert!(code == Some("invalid_grant") && status.is_client_error(), "{failure:?}");
    }
    // Only a JSON error of the provider or an empty 401 ends a grant permanently.
    if call == Call::Refresh && failure.is_permanent() {
        let is_json = body.trim_ascii().starts_with(b"{") || body.trim_ascii().starts_with(b"[");
        assert!(is_json || (status == StatusCode::UNAUTHORIZED && body.is_empty()), "{failure:?}");
    }
}

/// A message contains nothing of the body except an error code.
fn check_message(failure: &ProviderError) {
    let (message, debug) = (failure.to_string(), format!("{failure:?}"));
    assert!(message.len() < 200 && debug.len() < 240, "{message} {debug}");
    assert!(!message.contains(char::is_control), "{message:?}");
}
