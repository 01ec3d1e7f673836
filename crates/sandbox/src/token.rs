//! `POST /oauth/token` with its three grants, and `POST /oauth/revoke`.
//! It words the answers; whether a credential is good is the ledger's decision.

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
    ledger::{CodeRefused, ExchangeRefused, RefreshRefused, Tokens},
    params::{self, Params, refuse},
    reply,
};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ID_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:id_token";

/// The token endpoint.
pub(crate) async fn token(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let is_form = params::content_type(&headers) == "application/x-www-form-urlencoded";
    let params = match Params::from_body(&headers, &body) {
        Ok(params) => params,
        Err(reason) => return refuse(&reason),
    };
    let answer = match params.get("grant_type") {
        "refresh_token" => refresh(&shared, params),
        "authorization_code" if is_form => redeem(&shared, params, &headers),
        TOKEN_EXCHANGE if is_form => exchange(&shared, params),
        "authorization_code" | TOKEN_EXCHANGE => Err("this grant is sent as a form".into()),
        other => Err(format!("unsupported grant_type: {other:?}")),
    };
    answer.unwrap_or_else(|reason| refuse(&reason))
}

/// The revocation endpoint; a token it does not know is no error.
pub(crate) async fn revoke(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let checked = || {
        if params::content_type(&headers) != "application/json" {
            return Err("the body must be JSON".to_owned());
        }
        let params = Params::from_json(&body)?;
        match params.get("token_type_hint") {
            "refresh_token" => {
                let params = params.exactly(&["token", "token_type_hint", "client_id"], &[])?;
                right_client(&shared, &params)?;
                Ok(params)
            }
            "access_token" => params.exactly(&["token", "token_type_hint"], &[]),
            _ => Err("token_type_hint must be refresh_token or access_token".into()),
        }
    };
    match checked() {
        Ok(params) => {
            shared.ledger().revoke_token(params.get("token"));
            Json(json!({})).into_response()
        }
        Err(reason) => refuse(&reason),
    }
}

fn redeem(shared: &Shared, params: Params, headers: &HeaderMap) -> Result<Response, String> {
    let params =
        params.exactly(&["grant_type", "code", "redirect_uri", "client_id", "code_verifier"], &[])?;
    right_client(shared, &params)?;
    // Codes of the device flow were "sent" to the issuer itself, by whatever name the client knows it.
    let device = format!("{}/deviceauth/callback", issuer(shared, headers));
    let redirect_uri = match params.get("redirect_uri") {
        sent if sent == device => crate::device::REDIRECT,
        other => other,
    };
    let tokens = shared.ledger().redeem(
        params.get("code"),
        redirect_uri,
        params.get("code_verifier"),
        SystemTime::now(),
    );
    Ok(match tokens {
        Ok(tokens) => issued(&tokens),
        Err(CodeRefused::NotLive) => {
            reply::error(StatusCode::BAD_REQUEST, "invalid_grant", "The authorization code is not valid.")
        }
        Err(CodeRefused::OtherRedirect) => {
            reply::error(StatusCode::BAD_REQUEST, "invalid_grant", "The redirect URI does not match.")
        }
        Err(CodeRefused::OtherVerifier) => {
            let message = "Invalid request. Please try again later.";
            reply::error(StatusCode::BAD_REQUEST, "token_exchange_user_error", message)
        }
    })
}

fn refresh(shared: &Shared, params: Params) -> Result<Response, String> {
    let params =
        params.exactly(&["client_id", "grant_type", "refresh_token"], &["scope", "refresh_reason"])?;
    right_client(shared, &params)?;
    let tokens = shared.ledger().refresh(params.get("refresh_token"), SystemTime::now());
    let (code, message) = match tokens {
        Ok(tokens) => return Ok(issued(&tokens)),
        Err(RefreshRefused::Reused) => (
            "refresh_token_reused",
            "Your refresh token has already been used to generate a new access token. Please try signing in again.",
        ),
        Err(RefreshRefused::Invalidated) => (
            "refresh_token_invalidated",
            "Your refresh token has been invalidated. Please try signing in again.",
        ),
        Err(RefreshRefused::Expired) => {
            ("refresh_token_expired", "Your refresh token has expired. Please try signing in again.")
        }
        Err(RefreshRefused::Unknown) => {
            ("token_expired", "Could not validate your token. Please try signing in again.")
        }
    };
    Ok(reply::error(StatusCode::UNAUTHORIZED, code, message))
}

fn exchange(shared: &Shared, params: Params) -> Result<Response, String> {
    let params = params.exactly(
        &["grant_type", "client_id", "requested_token", "subject_token", "subject_token_type"],
        &[],
    )?;
    right_client(shared, &params)?;
    if params.get("requested_token") != "openai-api-key" {
        return Err("requested_token must be openai-api-key".into());
    }
    if params.get("subject_token_type") != ID_TOKEN_TYPE {
        return Err(format!("subject_token_type must be {ID_TOKEN_TYPE}"));
    }
    let message = match shared.ledger().exchange(params.get("subject_token"), SystemTime::now()) {
        Ok(key) => return Ok(unstored(json!({"access_token": key}))),
        Err(ExchangeRefused::NoOrganization) => "Invalid ID token: missing organization_id",
        Err(ExchangeRefused::Expired) => "Invalid ID token: expired",
        Err(ExchangeRefused::Unknown) => "Invalid ID token: bad signature",
    };
    Ok(reply::error(StatusCode::UNAUTHORIZED, "invalid_subject_token", message))
}

fn issued(tokens: &Tokens) -> Response {
    unstored(json!({
        "id_token": tokens.id_token,
        "access_token": tokens.access_token,
        "refresh_token": tokens.refresh_token,
        "token_type": "Bearer",
        "expires_in": tokens.expires_in,
    }))
}

fn unstored(body: serde_json::Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn right_client(shared: &Shared, params: &Params) -> Result<(), String> {
    if params.get("client_id") == shared.client_id { Ok(()) } else { Err("unknown client_id".into()) }
}

/// The issuer's address as this client knows it.
fn issuer(shared: &Shared, headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    format!("{}://{host}", if shared.tls { "https" } else { "http" })
}
