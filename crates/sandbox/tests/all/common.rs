//! A minimal HTTP client, and the steps of a login. The client adds only the header `Host`, and
//! does not retry.

use std::io;

use authd_sandbox::Sandbox;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;

pub(crate) const CLIENT: &str = "app_EMoamEEZ73f0CkXaXp7hrann";
pub(crate) const VERIFIER: &str = "a-verifier-long-enough-to-be-one-0123456789-0123456789";
pub(crate) const REDIRECT: &str = "http://localhost:1455/auth/callback";

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Whether the body was received completely.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn error_code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) async fn call(
    sandbox: &Sandbox,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<String>,
) -> io::Result<Answer> {
    let stream = TokioIo::new(TcpStream::connect(sandbox.address()).await?);
    let (mut sender, connection) = http1::handshake(stream).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let host = sandbox.address().to_string();
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body.into()))).unwrap();
    let (head, mut body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
    let (mut bytes, mut complete) = (Vec::new(), true);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            complete = false;
            break;
        };
        bytes.extend(frame.into_data().unwrap_or_default());
    }
    let body = String::from_utf8(bytes).unwrap();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, complete })
}

pub(crate) async fn get(sandbox: &Sandbox, path: &str, headers: &[(&str, &str)]) -> Answer {
    call(sandbox, "GET", path, headers, "").await.unwrap()
}

pub(crate) async fn post_json(
    sandbox: &Sandbox,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let headers = [&[("content-type", "application/json")], headers].concat();
    call(sandbox, "POST", path, &headers, body.to_string()).await.unwrap()
}

pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub(crate) async fn post_form(sandbox: &Sandbox, path: &str, pairs: &[(&str, &str)]) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    call(sandbox, "POST", path, &headers, form(pairs)).await.unwrap()
}

pub(crate) fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

/// The query of a valid authorize request.
pub(crate) fn authorize_pairs() -> Vec<(&'static str, String)> {
    [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", REDIRECT),
        ("scope", "openid profile email offline_access"),
        ("code_challenge", &challenge(VERIFIER)),
        ("code_challenge_method", "S256"),
        ("id_token_add_organizations", "true"),
        ("codex_cli_simplified_flow", "true"),
        ("state", "a-state"),
        ("originator", "codex_cli_rs"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

pub(crate) fn authorize_path(pairs: &[(&'static str, String)]) -> String {
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    format!("/oauth/authorize?{}", form(&pairs))
}

/// The parameters of the redirect when this account signs in.
pub(crate) async fn redirected(sandbox: &Sandbox, account: &str) -> Vec<(String, String)> {
    let url = format!("{}{}", sandbox.url(), authorize_path(&authorize_pairs()));
    let to = sandbox.browser().redirect(&url, account).await.unwrap();
    assert!(to.starts_with(REDIRECT), "{to}");
    url::Url::parse(&to).unwrap().query_pairs().into_owned().collect()
}

pub(crate) async fn code(sandbox: &Sandbox, account: &str) -> String {
    let pairs = redirected(sandbox, account).await;
    pairs.into_iter().find(|(name, _)| name == "code").expect("a code").1
}

pub(crate) async fn redeem(sandbox: &Sandbox, code: &str, redirect: &str, verifier: &str) -> Answer {
    let pairs = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", redirect),
        ("client_id", CLIENT),
        ("code_verifier", verifier),
    ];
    post_form(sandbox, "/oauth/token", &pairs).await
}

/// Signs in, and returns the tokens.
pub(crate) async fn sign_in(sandbox: &Sandbox, account: &str) -> Value {
    let code = code(sandbox, account).await;
    let answer = redeem(sandbox, &code, REDIRECT, VERIFIER).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

pub(crate) fn refresh_body(token: &Value) -> Value {
    json!({"client_id": CLIENT, "grant_type": "refresh_token", "refresh_token": token})
}

pub(crate) async fn refresh(sandbox: &Sandbox, token: &Value) -> Answer {
    post_json(sandbox, "/oauth/token", &[], &refresh_body(token)).await
}

pub(crate) async fn exchange(sandbox: &Sandbox, id_token: &str) -> Answer {
    let pairs = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("client_id", CLIENT),
        ("requested_token", "openai-api-key"),
        ("subject_token", id_token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
    ];
    post_form(sandbox, "/oauth/token", &pairs).await
}

/// The claims of a JWT.
pub(crate) fn claims(jwt: &Value) -> Value {
    let parts: Vec<&str> = jwt.as_str().unwrap().split('.').collect();
    assert_eq!(parts.len(), 3);
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap()
}
