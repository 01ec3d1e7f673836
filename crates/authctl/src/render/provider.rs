//! The list of providers, and what one of them offers.

use authd_api::{
    DiscoveryRequest, Provider, ProviderAspect, ProviderAspectState, ProviderCheck, ProviderDefinedIn,
};

use crate::{sanitize::line, screen::Screen};

/// A line for each provider: name, place of its definition, URL.
pub(crate) fn providers(all: &[Provider], screen: &Screen) -> String {
    let width = all.iter().map(|provider| provider.name.chars().count()).max().unwrap_or(0);
    all.iter()
        .map(|provider| {
            let defined_in = match provider.defined_in {
                ProviderDefinedIn::BuiltIn => "built in",
                ProviderDefinedIn::Configuration => "configuration",
                ProviderDefinedIn::Added => "added",
                ProviderDefinedIn::Template => "template",
                ProviderDefinedIn::Unknown => "?",
            };
            let url = match provider {
                Provider { issuer: Some(issuer), .. } => issuer.clone(),
                Provider { mcp: Some(mcp), .. } => format!("MCP server {mcp}"),
                Provider { authorize_url: Some(url), .. } => format!("endpoints by name, {url}"),
                _ => String::new(),
            };
            let error = provider.error.as_ref().map(|error| format!("  not used: {}\n", line(error)));
            // The padding is outside of the style, which adds characters of no width.
            let padding = width - provider.name.chars().count();
            let name = screen.style.bold(&line(&provider.name));
            let text = format!("{name}{:padding$}  {defined_in:13}  {}", "", line(&url));
            format!("{}\n{}", text.trim_end(), error.unwrap_or_default())
        })
        .collect()
}

/// The requests of a discovery, each with its status.
pub(crate) fn discovery_requests(check: &ProviderCheck) -> String {
    let request = |DiscoveryRequest { method, url, status }: &DiscoveryRequest| {
        let status = status.map_or_else(|| "---".to_owned(), |status| status.to_string());
        format!("{} {}  {status}\n", line(method), line(url))
    };
    check.requests.iter().map(request).collect()
}

/// A line for each aspect, after the requests if discovery failed.
pub(crate) fn provider_check(check: &ProviderCheck, screen: &Screen) -> String {
    let style = screen.style;
    let width = check.aspects.iter().map(|aspect| aspect.aspect.chars().count()).max().unwrap_or(0);
    let aspect = |ProviderAspect { aspect, state, detail, remedy }: &ProviderAspect| {
        let mark = match state {
            ProviderAspectState::Offered => style.green("✓"),
            ProviderAspectState::Absent => "-".to_owned(),
            ProviderAspectState::Warning | ProviderAspectState::Unknown => style.yellow("!"),
            ProviderAspectState::Failed => style.red("✗"),
        };
        let remedy = remedy.as_ref().map(|remedy| format!("  {:width$}    → {}\n", "", line(remedy)));
        format!("{mark} {:width$}  {}\n{}", line(aspect), line(detail), remedy.unwrap_or_default())
    };
    let requests = if check.ok { String::new() } else { discovery_requests(check) };
    requests + &check.aspects.iter().map(aspect).collect::<String>()
}

#[cfg(test)]
mod tests {
    use jiff::{Timestamp, tz::TimeZone};

    use super::*;
    use crate::output::Style;

    #[test]
    fn a_failed_check_shows_its_requests_and_nothing_can_write_to_the_terminal() {
        let screen =
            Screen { now: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC, width: None, style: Style(false) };
        let failed = ProviderCheck {
            provider: "lab".to_owned(),
            ok: false,
            transient: false,
            requests: vec![DiscoveryRequest {
                method: "GET".to_owned(),
                url: "https://as.example/x".to_owned(),
                status: Some(200),
            }],
            aspects: vec![ProviderAspect {
                aspect: "discovery".to_owned(),
                state: ProviderAspectState::Failed,
                detail: "no\u{1b}[2J".to_owned(),
                remedy: Some("check the URL".to_owned()),
            }],
        };
        let text = provider_check(&failed, &screen);
        assert!(text.starts_with("GET https://as.example/x  200\n✗ discovery  no"), "{text}");
        assert!(text.ends_with("             → check the URL\n") && !text.contains('\u{1b}'), "{text}");
        let passed = ProviderCheck { ok: true, ..failed };
        assert!(!provider_check(&passed, &screen).contains("GET"));
    }
}
