//! Calls to a defined provider. Each goes to the server that the grant, or the sign-in, names.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::FileTypeExt,
    path::Path,
};

use bytes::Bytes;
use http::{Method, header};
use reqwest::RequestBuilder;
use secrecy::zeroize::Zeroizing;

use super::{Endpoint, PROBE_TIMEOUT, REVOKE_TIMEOUT};
use crate::{
    Authority, BearerGrant, ClientAuth, ClientSecret, OauthClient, ProviderError, RefreshResponse,
    RefreshToken,
    authority::{ClientFields, client_fields},
    error_response::Call,
    form::form,
};

/// Longest file of a client's secret, in bytes.
const MAX_SECRET: usize = 4 << 10;

impl Endpoint {
    /// Spends a refresh token (RFC 6749, section 6). Must not be cancelled once it is sent.
    pub async fn refresh_bearer(
        &self,
        grant: &BearerGrant,
        token: &RefreshToken,
    ) -> Result<RefreshResponse, ProviderError> {
        let BearerGrant { authority, client_secret, .. } = grant;
        let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", token.expose())];
        fields.extend(authority.resource_field());
        let (secret, url) = (client_secret.as_ref(), &authority.token_url);
        let request = self.authenticated(authority, secret, url, &fields).await?;
        RefreshResponse::parse_bearer(&self.call_token_endpoint(Call::BearerRefresh, request).await?)
    }

    /// Revokes a grant (RFC 7009, section 2.1): by its refresh token, if it has one. Returns
    /// whether the server offers revocation.
    pub async fn revoke_bearer(&self, grant: &BearerGrant) -> Result<bool, ProviderError> {
        let Some(url) = &grant.authority.revocation_url else { return Ok(false) };
        let (token, hint) = match grant.refresh_token() {
            Some(token) => (token.expose(), "refresh_token"),
            None => (grant.tokens.access_token.expose(), "access_token"),
        };
        let fields = [("token", token), ("token_type_hint", hint)];
        let secret = grant.client_secret.as_ref();
        let request = self.authenticated(&grant.authority, secret, url, &fields).await?;
        self.call(Call::Other, request.timeout(REVOKE_TIMEOUT)).await?;
        Ok(true)
    }

    /// Why the file with a client's secret cannot be used, if there is one.
    pub async fn unusable_secret(&self, client: &OauthClient) -> Option<String> {
        let path = client.secret_file.as_ref().filter(|_| client.auth != ClientAuth::None)?;
        match read_secret(path).await {
            Err(ProviderError::NoClientSecret { detail }) => Some(detail),
            _ => None,
        }
    }

    /// Whether the authorization server responds at all. No secret is sent.
    pub async fn is_reachable(&self, authority: &Authority) -> bool {
        let Authority { public_only, token_url, .. } = authority;
        match self.http.request_within(*public_only, Method::HEAD, token_url) {
            Ok(request) => request.timeout(PROBE_TIMEOUT).send().await.is_ok(),
            Err(_) => false,
        }
    }

    /// A request with a form body in which the client authenticates: with the secret in its file,
    /// or with that of its registration.
    pub(super) async fn authenticated(
        &self,
        Authority { client, public_only, .. }: &Authority,
        registered_secret: Option<&ClientSecret>,
        url: &str,
        fields: &[(&str, &str)],
    ) -> Result<RequestBuilder, ProviderError> {
        let file = match (client.auth, &client.secret_file) {
            (ClientAuth::None, _) | (_, None) => None,
            (_, Some(path)) => Some(read_secret(path).await?),
        };
        let secret = file.as_ref().or(registered_secret);
        let ClientFields { id, secret, authorization } = client_fields(client, secret);
        // A pushed request has the client id among its parameters.
        let id = id.filter(|(name, _)| fields.iter().all(|(field, _)| field != name));
        // Secrets leave the process here: in the form body, and in the client's own header.
        let body = form(fields.iter().copied().chain(id).chain(secret));
        let request = self.http.request_within(*public_only, Method::POST, url)?;
        let request = request
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(body);
        Ok(match authorization {
            Some(value) => request.header(header::AUTHORIZATION, value),
            None => request,
        })
    }

    /// The body of a success. GitHub's token endpoint sends errors with status 200, too.
    pub(super) async fn call_token_endpoint(
        &self,
        call: Call,
        request: RequestBuilder,
    ) -> Result<Bytes, ProviderError> {
        let (status, headers, body) = self.send(request).await?;
        let status = crate::error_response::status_of_token_response(status, &body);
        if status.is_success() { Ok(body) } else { Err(super::classify(call, status, &headers, &body)) }
    }
}

/// Reads a client's secret at each use, so that a new secret needs no restart.
async fn read_secret(path: &Path) -> Result<ClientSecret, ProviderError> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        secret_in(&path).map_err(|problem| ProviderError::NoClientSecret {
            detail: format!("the file {} with the client's secret cannot be used: {problem}", path.display()),
        })
    });
    read.await.map_err(|error| ProviderError::NoClientSecret { detail: error.to_string() })?
}

/// The secret in a file, without the space around it. A pipe is refused: to open one could take
/// forever.
fn secret_in(path: &Path) -> Result<ClientSecret, String> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        return Err("it is a pipe".to_owned());
    }
    // The buffer has its final size: one that grows would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_SECRET + 1));
    let limit = MAX_SECRET as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|it| it.to_string())?;
    if bytes.len() > MAX_SECRET {
        return Err(format!("it has more than {MAX_SECRET} bytes"));
    }
    match std::str::from_utf8(&bytes).map(str::trim) {
        Ok("") => Err("it is empty".to_owned()),
        Ok(secret) => Ok(ClientSecret::new(secret)),
        Err(_) => Err("it is not UTF-8".to_owned()),
    }
}
