//! The routing of a workspace.

use authd_oauth::Routing;

use serde_json::json;

fn parsed(origin: &str, region: &str) -> Routing {
    let account =
        json!({"id": "acc", "workspace_backend_origin": origin, "account_routing_override": region});
    let list = json!({"accounts": [{"id": "other"}, account]}).to_string();
    let map = json!({"accounts": {"acc": account}}).to_string();
    let hosts = ["eu.example.com".to_owned(), "127.0.0.1:8455".to_owned()];
    let [list, map] = [list, map].map(|body| Routing::parse(body.as_bytes(), "acc", &hosts).expect("known"));
    assert_eq!(list, map);
    list
}

#[test]
fn workspace_is_routed_to_its_own_host_and_region() {
    let government =
        parsed("https://gov.chatgpt.com", "us").apply_to("https://chatgpt.com/backend-api/codex");
    assert_eq!(government, "https://gov.chatgpt.com/backend-api/codex");
    let routing = parsed("https://eu.chatgpt.com", "eu");
    assert_eq!(routing.region.as_deref(), Some("eu"));
    let url = "https://chatgpt.com/backend-api/codex";
    assert_eq!(routing.apply_to(url), "https://eu.chatgpt.com/backend-api/codex");
    assert_eq!(Routing::default().apply_to(url), url);
    assert_eq!(parsed("http://127.0.0.1:8455/", "us").origin.as_deref(), Some("http://127.0.0.1:8455"));
}

#[test]
fn unsafe_origins_and_regions_are_ignored() {
    for origin in [
        "http://eu.chatgpt.com",
        "https://chatgpt.com.example.com",
        "https://example.com",
        "https://evilchatgpt.com",
        "https://eu.chatgpt.com/path",
        "https://user@eu.chatgpt.com",
        "https://eu.chatgpt.com:444",
        "https://eu.example.com:444",
        "http://eu.example.com",
        "javascript:alert(1)",
        "",
    ] {
        assert_eq!(parsed(origin, "us").origin, None, "{origin}");
    }
    for region in ["", "a b", "x\r\ny", &"x".repeat(33)] {
        assert_eq!(parsed("https://eu.chatgpt.com", region).region, None, "{region}");
    }
    for body in ["", "[]", r#"{"accounts":[]}"#, r#"{"accounts":{"other":{}}}"#, r#"{"accounts":7}"#] {
        assert_eq!(Routing::parse(body.as_bytes(), "acc", &[]), None, "{body}");
    }
}
