//! The list of providers, and what one of them offers.

use authd_api::{
    DiscoveryRequest, Profile, Provider, ProviderAspect, ProviderAspectState, ProviderCheck,
    ProviderDefinedIn,
};
use serde_json::Value;

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

/// A line for each MCP server: name, URL, and the profiles that are signed in there.
pub(crate) fn mcp_servers(servers: &[(&Provider, Vec<&Profile>)], screen: &Screen) -> String {
    if servers.is_empty() {
        return "there is no MCP server; to add one: authctl mcp add NAME URL\n".to_owned();
    }
    let rows: Vec<_> = servers.iter().map(|(provider, profiles)| mcp_server(provider, profiles)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (names, urls) = (width(0), width(1));
    let show = |[name, url, status]: &[String; 3]| {
        // The padding is outside of the style, which adds characters of no width.
        let padding = names - name.chars().count();
        format!("{}{:padding$}  {url:urls$}  {status}\n", screen.style.bold(name), "")
    };
    rows.iter().map(show).collect()
}

/// The name, the URL and the status of an MCP server.
fn mcp_server(provider: &Provider, profiles: &[&Profile]) -> [String; 3] {
    let profile = |one: &&Profile| format!("profile {}, {}", one.name, super::state(one.state).0);
    let name = line(&provider.name).into_owned();
    let status = match (&provider.error, profiles) {
        (Some(error), _) => format!("not used: {}", line(error)),
        (None, []) => format!("not signed in; run: authctl login --provider {name}"),
        (None, profiles) => profiles.iter().map(profile).collect::<Vec<_>>().join("; "),
    };
    [name, line(provider.mcp.as_deref().unwrap_or_default()).into_owned(), status]
}

/// How programs use the sign-in to an MCP server.
pub(crate) fn mcp_usage(name: &str, url: &str) -> String {
    let url = line(url);
    // A token that cannot be had is an error, and not an empty header.
    let helper =
        format!(r#"token=$(authctl token {name}) && printf '{{"Authorization": "Bearer %s"}}' "$token""#);
    let (helper, quoted_url) = (Value::from(helper), Value::from(&*url));
    format!(
        "\nUse it:\n  \
         curl -H @<(authctl headers {name}) {url}\n  \
         authctl token {name}\n\
         Claude Code, in .mcp.json:\n  \
         {{\"mcpServers\": {{\"{name}\": {{\"type\": \"http\", \"url\": {quoted_url},\n    \
         \"headersHelper\": {helper}}}}}}}\n\
         A client without OAuth gets a URL, and a key to send as \"Authorization: Bearer KEY\":\n  \
         authctl share {name} --loopback --ttl 30d --json"
    )
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
    use serde_json::json;

    use super::*;
    use crate::output::Style;

    fn screen() -> Screen {
        Screen { now: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC, width: None, style: Style(false) }
    }

    fn server(fields: &Value) -> Provider {
        let mut server = json!({"name": "lab", "defined_in": "added"});
        server.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(server).unwrap()
    }

    #[test]
    fn mcp_servers_are_aligned_and_say_what_to_do_next() {
        let linear = server(&json!({"name": "linear", "mcp": "https://mcp.linear.app/mcp"}));
        let (lab, newer) =
            (server(&json!({"mcp": "https://a.example"})), server(&json!({"error": "no\u{1b}[2J"})));
        let profile: Profile = serde_json::from_value(json!({"name": "work", "default": false,
            "state": "login_required", "generation": 1, "provider": "linear"}))
        .unwrap();
        let text = mcp_servers(&[(&linear, vec![&profile]), (&lab, vec![]), (&newer, vec![])], &screen());
        let expected = "\
            linear  https://mcp.linear.app/mcp  profile work, signed out\n\
            lab     https://a.example           not signed in; run: authctl login --provider lab\n\
            lab                                 not used: no";
        assert!(text.starts_with(expected) && !text.contains('\u{1b}'), "{text}");
        assert!(mcp_servers(&[], &screen()).contains("authctl mcp add NAME URL"));
    }

    #[test]
    fn headers_helper_of_the_usage_prints_headers_or_fails() {
        let usage = mcp_usage("linear", "https://mcp.linear.app/mcp");
        let (start, end) = (usage.find("{\"mcpServers").unwrap(), usage.rfind("}}}").unwrap() + 3);
        let config: Value = serde_json::from_str(&usage[start..end]).unwrap();
        let helper = config["mcpServers"]["linear"]["headersHelper"].as_str().unwrap();
        let run = |authctl: &str| {
            let script = format!("authctl() {{ {authctl}; }}; {helper}");
            std::process::Command::new("sh").args(["-c", &script]).output().unwrap()
        };
        let headers: Value = serde_json::from_slice(&run("echo $1-$2").stdout).unwrap();
        assert_eq!(headers, json!({"Authorization": "Bearer token-linear"}));
        let failed = run("return 4");
        assert_eq!((failed.status.code(), &*failed.stdout), (Some(4), &[][..]));
    }

    #[test]
    fn a_failed_check_shows_its_requests_and_nothing_can_write_to_the_terminal() {
        let screen = screen();
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
