//! The proxy: the configured one, or else that of the environment.

use std::env;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{NoProxy, Proxy};
use url::{ParseError, Url};

/// Parses a proxy's URL. The default scheme is http, as in other programs.
pub(super) fn parse(proxy: &str) -> Result<Url, ParseError> {
    match Url::parse(proxy) {
        Ok(url) if url.has_host() => Ok(url),
        // The parser takes `proxy.example:3128` for a scheme and a path.
        Ok(_) | Err(ParseError::RelativeUrlWithoutBase) => Url::parse(&format!("http://{proxy}")),
        Err(error) => Err(error),
    }
}

/// The proxy in use as text, without user name and password.
pub(super) fn describe(configured: Option<&str>) -> String {
    let proxy = configured
        .map(str::to_owned)
        .or_else(|| variable(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]));
    let Some(proxy) = proxy else { return "no proxy".to_owned() };
    match proxy.rsplit_once('@') {
        None => format!("proxy {proxy}"),
        Some((before, host)) => match before.split_once("://") {
            None => format!("proxy {host}"),
            Some((scheme, _)) => format!("proxy {scheme}://{host}"),
        },
    }
}

/// The first of these environment variables that is set and not empty.
pub(super) fn variable(names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| env::var(name).ok().filter(|value| !value.is_empty()))
}

/// The configured proxy for reqwest, which reads the environment itself if none is configured.
pub(super) fn for_reqwest(configured: &Url) -> reqwest::Result<Proxy> {
    Ok(Proxy::all(configured.as_str())?.no_proxy(NoProxy::from_env()))
}

/// The same rules for hyper's client. Without a configured proxy, those of the environment or
/// system.
pub(super) fn matcher(configured: Option<&Url>) -> Matcher {
    match configured {
        Some(proxy) => {
            let excluded = env::var("NO_PROXY").or_else(|_| env::var("no_proxy")).unwrap_or_default();
            Matcher::builder().all(proxy.as_str()).no(excluded).build()
        }
        None => Matcher::from_system(),
    }
}
