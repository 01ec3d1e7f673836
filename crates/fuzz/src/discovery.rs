//! Discovery: the replies of a provider or an MCP server, as a whole discovery reads them.

use authd_oauth::{
    definition::ProviderDefinition,
    discovery::{Discovered, Discovery, DiscoveryFault, NextStep, Reply, Start, challenges, report},
};
use url::Url;

/// Where every discovery begins.
const URL: &str = "https://rs.example/mcp";

/// Most requests of one discovery.
const MOST_REQUESTS: usize = 6;

/// Checks the replies of a discovery. The first byte selects how it begins. Each reply is a status,
/// a line with the challenges, and the body, up to a zero byte.
pub fn check(data: &[u8]) {
    let Some((&first, replies)) = data.split_first() else { return };
    let starts: [fn(String) -> Start; 3] = [Start::Issuer, Start::Mcp, Start::Unknown];
    let start = starts[usize::from(first) % starts.len()](URL.to_owned());
    let mut replies = replies.split(|byte| *byte == 0).map(reply);
    let mut discovery = Discovery::new(start);
    for _ in 0..=MOST_REQUESTS {
        match discovery.next_step() {
            NextStep::Ping(url) | NextStep::Get(url) => {
                assert!(is_safe(url.as_str()), "a request to {url}");
                let reply = replies.next().unwrap_or(Reply { status: 404, ..Reply::default() });
                discovery = discovery.apply(Ok(reply));
            }
            NextStep::Done(result) => {
                match *result {
                    Ok(found) => check_found(&found),
                    Err(fault) => check_fault(&fault),
                }
                return;
            }
        }
    }
    panic!("discovery does not end");
}

fn reply(bytes: &[u8]) -> Reply {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (status, challenge) = (text().trim().parse().unwrap_or(200), text());
    check_challenges(&challenge);
    Reply { status, challenges: vec![challenge], body: lines.next().unwrap_or_default().to_vec() }
}

/// A challenge contains no more text than the header.
fn check_challenges(value: &str) {
    for challenge in challenges(value) {
        let length: usize = challenge.params.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(!challenge.scheme.is_empty() && length <= value.len(), "{challenge:?} in {value:?}");
        let scopes = challenge.scopes().unwrap_or_default();
        assert!(scopes.iter().all(|scope| !scope.is_empty() && !scope.contains(' ')), "{scopes:?}");
    }
}

/// Every URL may receive secrets, and no text can write to a terminal.
fn check_found(found: &Discovered) {
    let server = &found.server;
    assert!(is_safe(&server.authorize_url) && is_safe(&server.token_url), "{server:?}");
    for url in [
        &server.device_authorization_url,
        &server.registration_url,
        &server.revocation_url,
        &server.pushed_authorization_url,
        &server.userinfo_url,
    ] {
        assert!(url.as_ref().is_none_or(|url| is_safe(url)), "{server:?}");
    }
    assert!(!server.requires_pushed_authorization || server.pushed_authorization_url.is_some());
    for aspect in report(&ProviderDefinition::of_mcp(URL), Ok(found)) {
        assert!(!aspect.detail.contains(char::is_control), "{aspect:?}");
    }
}

/// A message is a short sentence with a remedy.
fn check_fault(fault: &DiscoveryFault) {
    let (message, remedy) = (fault.to_string(), fault.remedy());
    assert!(!message.is_empty() && !remedy.is_empty());
    assert!(!message.contains(char::is_control), "{message:?}");
}

/// Whether a URL is https, or http to this machine.
fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default();
    let is_loopback = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    url.username().is_empty() && (url.scheme() == "https" || url.scheme() == "http" && is_loopback)
}
