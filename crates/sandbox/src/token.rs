//! `POST /oauth/token` with its three grants, and `POST /oauth/revoke`.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use crate::{
    Shared,
    ledger::{CodeError, ExchangeError, RefreshError, Tokens},
    params::{self, Params, invalid_request},
    response,
};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:id_token";

/// The token endpoint.
pub(crate) async fn token(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let is_form = params::content_type(&headers) == "application/x-www-form-urlencoded";
    let params = match Params::from_body(&headers, &body) {
        Ok(params) => params,
        Err(reason) => return invalid_request(&reason),
    };
    let result = match params.get("grant_type") {
        "refresh_token" => refresh(&shared, params),
        "authorization_code" if is_form => redeem(&shared, params, &headers),
        TOKEN_EXCHANGE if is_form => exchange(&shared, params),
        "authorization_code" | TOKEN_EXCHANGE => Err("this grant must be sent as a form".into()),
        other => Err(format!("unsupported grant_type: {other:?}")),
    };
    result.unwrap_or_else(|reason| invalid_request(&reason))
}

/// The revocation endpoint. An unknown token is not an error.
pub(crate) async fn revoke(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let parse = || {
        if params::content_type(&headers) != "application/json" {
            return Err("the body must be JSON".to_owned());
        }
        let params = Params::from_json(&body)?;
        match params.get("token_type_hint") {
            "refresh_token" => {
                let params = params.exactly(&["token", "token_type_hint", "client_id"], &[])?;
                check_client_id(&shared, &params)?;
                Ok(params)
            }
            "access_token" => params.exactly(&["token", "token_type_hint"], &[]),
            _ => Err("token_type_hint must be refresh_token or access_token".into()),
        }
    };
    match parse() {
        Ok(params) => {
            shared.ledger().revoke_token(params.get("token"));
            Json(json!({})).into_response()
        }
        Err(reason) => invalid_request(&reason),
    }
}

fn redeem(shared: &Shared, params: Params, headers: &HeaderMap) -> Result<Response, String> {
    let params =
        params.exactly(&["grant_type", "code", "redirect_uri", "client_id", "code_verifier"], &[])?;
    check_client_id(shared, &params)?;
    // The redirect URI of a device code starts with the issuer, as the client addresses it.
    let device_redirect = format!("{}/deviceauth/callback", issuer(shared, headers));
    let redirect_uri = match params.get("redirect_uri") {
        sent if sent == device_redirect => crate::device::REDIRECT,
        other => other,
    };
    let tokens = shared.ledger().redeem(
        params.get("code"),
        redirect_uri,
        params.get("code_verifier"),
        SystemTime::now(),
    );
    Ok(match tokens {
        Ok(tokens) => token_response(&tokens),
        Err(CodeError::Invalid) => {
            response::error(StatusCode::BAD_REQUEST, "invalid_grant", "The authorization code is not valid.")
        }
        Err(CodeError::RedirectMismatch) => {
            response::error(StatusCode::BAD_REQUEST, "invalid_grant", "The redirect URI does not match.")
        }
        Err(CodeError::VerifierMismatch) => {
            let message = "Invalid request. Please try again later.";
            response::error(StatusCode::BAD_REQUEST, "token_exchange_user_error", message)
        }
    })
}

fn refresh(shared: &Shared, params: Params) -> Result<Response, String> {
    let params =
        params.exactly(&["client_id", "grant_type", "refresh_token"], &["scope", "refresh_reason"])?;
    check_client_id(shared, &params)?;
    let tokens = shared.ledger().refresh(params.get("refresh_token"), SystemTime::now());
    let (code, message) = match tokens {
        Ok(tokens) => return Ok(token_response(&tokens)),
        Err(RefreshError::Reused) => (
            "refresh_token_reused",
            "Your refresh token has already been used to generate a new access token. Please try signing in again.",
        ),
        Err(RefreshError::Invalidated) => (
            "refresh_token_invalidated",
            "Your refresh token has been invalidated. Please try signing in again.",
        ),
        Err(RefreshError::Expired) => {
            ("refresh_token_expired", "Your refresh token has expired. Please try signing in again.")
        }
        Err(RefreshError::Unknown) => {
            ("token_expired", "Could not validate your token. Please try signing in again.")
        }
    };
    Ok(response::error(StatusCode::UNAUTHORIZED, code, message))
}

fn exchange(shared: &Shared, params: Params) -> Result<Response, String> {
    let params = params.exactly(
        &["grant_type", "client_id", "requested_token", "subject_token", "subject_token_type"],
        &[],
    )?;
    check_client_id(shared, &params)?;
    if params.get("requested_token") != "openai-api-key" {
        return Err("requested_token must be openai-api-key".into());
    }
    if params.get("subject_token_type") != ID_TOKEN_TYPE {
        return Err(format!("subject_token_type must be {ID_TOKEN_TYPE}"));
    }
    let message = match shared.ledger().exchange(params.get("subject_token"), SystemTime::now()) {
        Ok(key) => return Ok(no_store(json!({"access_token": key}))),
        Err(ExchangeError::NoOrganization) => "Invalid ID token: missing organization_id",
        Err(ExchangeError::Expired) => "Invalid ID token: expired",
        Err(ExchangeError::Unknown) => "Invalid ID token: bad signature",
    };
    Ok(response::error(StatusCode::UNAUTHORIZED, "invalid_subject_token", message))
}

fn token_response(tokens: &Tokens) -> Response {
    no_store(json!({
        "id_token": tokens.id_token,
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "token_type": "Bearer",
        "expires_in": tokens.expires_in,
    }))
}

fn no_store(body: serde_json::Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn check_client_id(shared: &Shared, params: &Params) -> Result<(), String> {
    if params.get("client_id") == shared.client_id { Ok(()) } else { Err("unknown client_id".into()) }
}

/// The URL of the issuer, as the client addresses it.
fn issuer(shared: &Shared, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    format!("{}://{host}", if shared.tls { "https" } else { "http" })
}
