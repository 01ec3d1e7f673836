//! The rules for single values of a definition.

use std::collections::BTreeMap;

use url::Url;

use super::error::{InvalidDefinition, invalid};
use crate::{
    provider::{is_secure_url, is_this_machine},
    scope::{MAX_SCOPES, is_scope},
};

/// Longest text of a definition, in bytes.
const MAX_TEXT: usize = 512;

/// Most elements of a list.
const MAX_LIST: usize = 100;

/// The parameters of an authorization request that authd sets itself.
const RESERVED_PARAMS: [&str; 13] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "resource",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

type Check = Result<(), InvalidDefinition>;

/// A URL that may receive secrets.
pub(super) fn url(key: &'static str, url: &str) -> Check {
    if url.len() <= MAX_TEXT && is_secure_url(url) {
        return Ok(());
    }
    invalid(key, "must be an https URL, or http on loopback, without a user name and a fragment")
}

/// An identifier that well-known paths are made from.
pub(super) fn issuer(key: &'static str, text: &str) -> Check {
    url(key, text)?;
    match Url::parse(text) {
        Ok(parsed) if parsed.query().is_none() => Ok(()),
        _ => invalid(key, "must be a URL without a query"),
    }
}

/// A resource indicator (RFC 8707, section 2).
pub(super) fn resource(text: &str) -> Check {
    match Url::parse(text) {
        Ok(url) if url.query().is_none() && url.fragment().is_none() && text.len() <= MAX_TEXT => Ok(()),
        _ => invalid("resource", "must be an absolute URI without a query and a fragment"),
    }
}

/// An https URL with a path, which is the client id itself.
pub(super) fn client_metadata_url(text: &str) -> Check {
    let is_document = |url: Url| url.scheme() == "https" && url.path().len() > 1 && url.query().is_none();
    if is_secure_url(text) && Url::parse(text).is_ok_and(is_document) && text.len() <= MAX_TEXT {
        return Ok(());
    }
    invalid("client_metadata_url", "must be the https URL of your client metadata document, with a path")
}

pub(super) fn printable(key: &'static str, text: Option<&str>) -> Check {
    let Some(text) = text else { return Ok(()) };
    let is_printable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_printable && !text.trim().is_empty() && text.len() <= MAX_TEXT {
        return Ok(());
    }
    invalid(key, "must be printable ASCII, not empty, and at most 512 characters")
}

pub(super) fn scopes(scopes: Option<&[String]>) -> Check {
    let scopes = scopes.unwrap_or_default();
    if scopes.len() <= MAX_SCOPES && scopes.iter().all(|scope| is_scope(scope)) {
        return Ok(());
    }
    invalid("scopes", "must be a list of scopes, each without spaces, quotes and backslashes")
}

pub(super) fn authorize_params(params: Option<&BTreeMap<String, String>>) -> Check {
    let Some(params) = params else { return Ok(()) };
    if let Some(name) = params.keys().find(|name| RESERVED_PARAMS.contains(&name.as_str())) {
        return invalid("authorize_params", format!("must not contain {name}, which authd sets itself"));
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_param = |(name, value): (&String, &String)| {
        let is_name = (1..=64).contains(&name.len()) && name.bytes().all(is_allowed);
        is_name && printable("authorize_params", Some(value)).is_ok()
    };
    if params.len() <= MAX_LIST && params.iter().all(is_param) {
        return Ok(());
    }
    invalid("authorize_params", "must be names of letters, digits and _-. with printable, non-empty values")
}

pub(super) fn git_hosts(hosts: Option<&[String]>) -> Check {
    let is_host = |host: &String| {
        let url = Url::parse(&format!("https://{host}/"));
        let same = |url: &Url| url.as_str() == format!("https://{host}/");
        url.is_ok_and(|url| same(&url) && url.username().is_empty() && url.path() == "/")
    };
    let hosts = hosts.unwrap_or_default();
    if hosts.len() <= MAX_LIST && hosts.iter().all(is_host) {
        return Ok(());
    }
    invalid("git_hosts", "must be a list of hosts such as [\"gitlab.example.com\"], in lower case")
}

/// A redirect URI of a native app on the loopback interface (RFC 8252, section 7.3).
pub(super) fn redirect_uri(text: &str) -> Check {
    let with_port = text.replacen(":{port}/", ":1/", 1);
    let is_loopback = |url: &Url| url.scheme() == "http" && url.host_str().is_some_and(is_this_machine);
    let is_plain = |url: &Url| {
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.port().is_some()
    };
    match Url::parse(&with_port) {
        Ok(url) if is_loopback(&url) && is_plain(&url) && !with_port.contains(['{', '}']) => Ok(()),
        _ => invalid(
            "redirect_uri",
            "must be an http URL on 127.0.0.1, [::1] or localhost, with a port or {port}, such as \
             \"http://127.0.0.1:{port}/callback\"",
        ),
    }
}
