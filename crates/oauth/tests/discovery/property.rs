//! Discovery with any replies.

use authd_oauth::discovery::{Discovery, DiscoveryFault, NextStep, Reply, Start, challenges};
use proptest::prelude::*;

/// Most requests of one discovery: the server, two documents of the resource, three of the issuer.
const MOST_REQUESTS: usize = 6;

fn replies() -> impl Strategy<Value = Vec<Option<Reply>>> {
    let status = prop::sample::select(vec![200, 204, 302, 400, 401, 403, 404, 405, 429, 500]);
    let challenge = prop::sample::select(vec![
        "",
        "Bearer",
        "Bearer resource_metadata=\"https://rs.example/about\"",
        "Bearer resource_metadata=\"http://rs.example\"",
        "Basic realm=x, Bearer scope=\"a b\"",
    ]);
    let body = prop::sample::select(vec![
        "",
        "{}",
        r#"{"resource":"https://rs.example/mcp","authorization_servers":["https://as.example/t"]}"#,
        r#"{"issuer":"https://as.example/t","authorization_endpoint":"https://as.example/a",
            "token_endpoint":"https://as.example/b","code_challenge_methods_supported":["S256"]}"#,
        r#"{"issuer":"https://rs.example/mcp","authorization_endpoint":"https://as.example/a",
            "token_endpoint":"https://as.example/b","code_challenge_methods_supported":["S256"]}"#,
    ]);
    let reply = (status, challenge, body).prop_map(|(status, challenge, body)| Reply {
        status,
        challenges: vec![challenge.to_owned()],
        body: body.into(),
    });
    prop::collection::vec(prop::option::weighted(0.9, reply), MOST_REQUESTS)
}

proptest! {
    #[test]
    fn discovery_ends_and_requests_https_only(replies in replies(), start in 0usize..3) {
        let url = "https://rs.example/mcp".to_owned();
        let starts: [fn(String) -> Start; 3] = [Start::Issuer, Start::Mcp, Start::Unknown];
        let start = starts[start](url);
        let mut discovery = Discovery::new(start);
        let mut replies = replies.into_iter();
        loop {
            match discovery.next_step() {
                NextStep::Ping(url) | NextStep::Get(url) => {
                    prop_assert_eq!(url.scheme(), "https");
                    let reply = replies.next();
                    prop_assert!(reply.is_some(), "more requests than {}", MOST_REQUESTS);
                    let slow = DiscoveryFault::TooSlow { host: "rs.example".to_owned() };
                    discovery = discovery.apply(reply.flatten().ok_or(slow));
                }
                NextStep::Done(result) => {
                    if let Ok(found) = &*result {
                        prop_assert!(found.server.token_url.starts_with("https://"));
                        prop_assert!(found.resource.is_none() || found.mcp.is_some());
                    }
                    // The end is final.
                    let after = discovery.clone().apply(Ok(Reply::default())).next_step();
                    prop_assert_eq!(after, discovery.next_step());
                    break;
                }
            }
        }
    }

    #[test]
    fn any_header_value_is_parsed_within_its_length(value in ".{0,200}") {
        for challenge in challenges(&value) {
            prop_assert!(!challenge.scheme.is_empty());
            let length: usize = challenge.params.iter().map(|(name, value)| name.len() + value.len()).sum();
            prop_assert!(length <= value.len());
        }
    }

    #[test]
    fn quoted_strings_keep_their_text(text in "[ -~]{0,40}") {
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        let parsed = challenges(&format!("Bearer scope=\"{escaped}\", error=x"));
        prop_assert_eq!(parsed[0].param("scope"), Some(text.as_str()));
        prop_assert_eq!(parsed[0].error(), Some("x"));
    }
}
