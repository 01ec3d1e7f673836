//! Every request is compared byte for byte with a recording of the real Codex CLI, except for
//! random and secret values.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails by panicking")]

use std::{iter, time::Duration};

use authd_oauth::{
    ApiKey, Attempt, Bearer, Callback, ClientIdentity, CodeResponse, DeviceStart, Endpoint, IdToken,
    Identity, Machine, Mode, ModePreference, Network, Provider, ProviderError, RefreshToken, Routing,
    headers,
};
use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

fn recorded(version: &str) -> Value {
    let text = match version {
        "0.34.0" => include_str!("wire/codex-0.34.0.json"),
        "0.169.0" => include_str!("wire/codex-0.169.0.json"),
        _ => include_str!("wire/codex-0.171.0.json"),
    };
    serde_json::from_str(text).unwrap()
}

fn client() -> ClientIdentity {
    let machine = Machine {
        system: "Debian".to_owned(),
        release: "12.0.0".to_owned(),
        architecture: "x86_64".to_owned(),
        terminal: "xterm".to_owned(),
    };
    ClientIdentity::codex("codex_cli_rs", "0.34.0", &machine)
}

fn attempt(workspace: Option<&str>) -> Attempt {
    let redirect_uri = Provider::openai().redirect_uri(1455);
    let workspace = workspace.map(ToOwned::to_owned);
    Attempt::new(
        redirect_uri,
        ModePreference::Auto,
        workspace,
        Timestamp::UNIX_EPOCH,
        Duration::from_secs(600),
    )
}

/// The value of a parameter in a query or form body.
fn parameter<'a>(text: &'a str, name: &str) -> &'a str {
    let start = text.find(&format!("{name}=")).unwrap() + name.len() + 1;
    text[start..].split('&').next().unwrap()
}

/// Runs a call against a server that sends one response. Returns the request's head and body.
async fn record_request(status: &str, body: &str, call: impl AsyncFnOnce(Endpoint)) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = Provider::with_issuer(&format!("http://{}", listener.local_addr().unwrap()));
    let response = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let n = stream.read(&mut piece).await.unwrap();
            read.extend_from_slice(&piece[..n]);
            let text = String::from_utf8_lossy(&read);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                break;
            }
        }
        stream.write_all(response.as_bytes()).await.unwrap();
        String::from_utf8(read).unwrap()
    });
    call(Endpoint::new(provider, client(), Network::default()).unwrap()).await;
    let text = server.await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// The routing of most workspaces: none.
const ROUTING: Routing = Routing { origin: None, region: None };

#[test]
fn authorize_url_is_the_recorded_one() {
    let attempt = attempt(None);
    let url = attempt.authorize_url(&Provider::openai());
    let (state, challenge) = (parameter(&url, "&state"), parameter(&url, "code_challenge"));
    assert_eq!((state.len(), challenge.len()), (43, 43));
    let expected = recorded("0.34.0")["authorize_url"].as_str().unwrap().to_owned();
    assert_eq!(url, expected.replace("{CHALLENGE:43}", challenge).replace("{STATE:43}", state));
}

#[test]
fn accepted_workspace_is_the_last_parameter() {
    let url = attempt(Some("acc-1,x")).authorize_url(&Provider::openai());
    assert!(url.ends_with("&originator=codex_cli_rs&allowed_workspace_id=acc-1%2Cx"), "{url}");
    let url = attempt(Some("a~b*c+d e/%7E\u{fc}")).authorize_url(&Provider::openai());
    assert!(url.ends_with("&allowed_workspace_id=a~b%2Ac%2Bd%20e%2F%257E%C3%BC"), "{url}");
}

#[tokio::test]
async fn code_exchange_is_the_recorded_one_without_client_identity() {
    let attempt = attempt(None);
    let query = format!("code=the%20code&state={}", attempt.state.as_str());
    let exchange = attempt.accept(Callback::parse(&query).unwrap(), Timestamp::UNIX_EPOCH).unwrap();
    let verifier = exchange.verifier.expose().to_owned();
    let response = r#"{"id_token":"i","access_token":"a","refresh_token":"r"}"#;
    let (head, body) = record_request("200 OK", response, async |endpoint| {
        endpoint.exchange_code(exchange).await.unwrap();
    })
    .await;
    assert_eq!(verifier.len(), 86);
    let record = &recorded("0.34.0")["code_exchange"];
    let expected =
        record["body"].as_str().unwrap().replace("{CODE}", "the%20code").replace("{VERIFIER:86}", &verifier);
    assert_eq!(body, expected);
    assert!(head.starts_with("post /oauth/token http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("content-type: {}", record["content_type"].as_str().unwrap())));
    assert!(
        !head.contains("originator") && !head.contains("user-agent") && !head.contains("cookie"),
        "{head}"
    );
}

#[tokio::test]
async fn api_key_exchange_is_the_recorded_one() {
    let (_, body) = record_request("200 OK", r#"{"access_token":"sk-1"}"#, async |endpoint| {
        let key = endpoint.exchange_api_key(&IdToken::new("a.b.c")).await.unwrap();
        assert_eq!(key.expose(), "sk-1");
    })
    .await;
    let expected =
        recorded("0.34.0")["api_key_exchange"]["body"].as_str().unwrap().replace("{ID_TOKEN}", "a.b.c");
    assert_eq!(body, expected);
}

#[tokio::test]
async fn refresh_is_the_recorded_one_without_the_dropped_fields() {
    let (head, body) = record_request("200 OK", r#"{"access_token":"a"}"#, async |endpoint| {
        endpoint.refresh(&RefreshToken::new("rt_1")).await.unwrap();
    })
    .await;
    let expected = recorded("0.34.0")["refresh"]["body"].as_str().unwrap().replace("{REFRESH_TOKEN}", "rt_1");
    assert_eq!(body, expected.replace(",\"scope\":\"openid profile email\"", ""));
    for version in ["0.169.0", "0.171.0"] {
        let newer = recorded(version)["refresh"]["body"].as_str().unwrap().replace("{REFRESH_TOKEN}", "rt_1");
        assert_eq!(body, newer.replace("\"refresh_reason\":\"proactive_expiry\",", ""));
    }
    assert!(
        head.contains("content-type: application/json") && head.contains("originator: codex_cli_rs"),
        "{head}"
    );
}

/// A refusal is final for authd exactly if it is for the newest Codex. The exception is a 401 with
/// JSON that is not an error of the provider: it may come from a proxy.
#[tokio::test]
async fn refusals_of_a_refresh_are_classified_like_the_recorded_ones() {
    let wire = recorded("0.171.0");
    for row in wire["refresh_refusals"]["rows"].as_array().unwrap() {
        let status = format!("{} Refused", row[0]);
        record_request(&status, row[1].as_str().unwrap(), async |endpoint| {
            let error = endpoint.refresh(&RefreshToken::new("rt_1")).await.unwrap_err();
            assert_eq!(error.is_permanent(), row[2] == "final" && row[1] != "{}", "{row}: {error:?}");
        })
        .await;
    }
}

/// The newest Codex sends the same fields, in another order and with another redirect host.
#[test]
fn newest_release_adds_no_field_to_the_authorize_url() {
    let url = attempt(None).authorize_url(&Provider::openai());
    let wire = recorded("0.171.0");
    let newest = wire["authorize_url"].as_str().unwrap();
    let names = |url: &str| {
        let query = url.split_once('?').unwrap().1.to_owned();
        let mut names: Vec<_> =
            query.split('&').map(|pair| pair.split('=').next().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&url), names(newest));
}

#[tokio::test]
async fn revoke_and_device_login_are_the_recorded_ones() {
    let wire = recorded("0.169.0");
    for call in ["revoke", "device_usercode", "device_poll", "device_exchange"] {
        assert_eq!(wire[call]["body"], recorded("0.171.0")[call]["body"], "{call}");
    }
    let (head, body) = record_request("200 OK", "{}", async |endpoint| {
        endpoint.revoke(&RefreshToken::new("rt_1")).await.unwrap();
    })
    .await;
    assert_eq!(body, wire["revoke"]["body"].as_str().unwrap().replace("{REFRESH_TOKEN}", "rt_1"));
    assert!(head.starts_with("post /oauth/revoke "), "{head}");
    let response = wire["device_usercode"]["answer"].to_string();
    let (head, body) = record_request("200 OK", &response, async |endpoint| {
        let start = endpoint.device_start().await.unwrap();
        assert_eq!((start.user_code.as_str(), start.interval), ("ABCD-1234", Duration::from_secs(1)));
    })
    .await;
    assert_eq!(body, wire["device_usercode"]["body"].as_str().unwrap());
    assert!(head.starts_with("post /api/accounts/deviceauth/usercode "), "{head}");
    let start = DeviceStart {
        id: "id-1".to_owned(),
        user_code: "ABCD-1234".to_owned(),
        interval: Duration::from_secs(1),
        expires_at: None,
    };
    let (_, body) = record_request("403 Forbidden", "", async |endpoint| {
        endpoint.device_poll(&start).await.unwrap();
    })
    .await;
    assert_eq!(body, wire["device_poll"]["body"].as_str().unwrap().replace("{ID}", "id-1"));
}

/// The recorded headers with these names, in this order.
fn recorded_headers(record: &Value, names: &[&str]) -> Vec<(String, String)> {
    let pairs = record["headers"].as_array().unwrap();
    let value =
        |name: &str| pairs.iter().find(|pair| pair[0] == name).unwrap()[1].as_str().unwrap().to_owned();
    names.iter().map(|name| (name.to_ascii_lowercase(), value(&name.to_ascii_lowercase()))).collect()
}

fn lower(list: Vec<(String, String)>) -> Vec<(String, String)> {
    list.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}

#[test]
fn built_headers_are_the_recorded_ones_in_the_documented_order() {
    let wire = recorded("0.34.0");
    let (client, nobody) = (client(), Identity::default());
    let identity = Identity { account_id: Some("{ACCOUNT_ID}".into()), ..Identity::default() };
    let list = |bearer: Bearer, facts: headers::HeaderInputs<'_>| {
        let secret = String::from_utf8(bearer.authorization().to_vec()).unwrap();
        assert_eq!(secret.strip_prefix("Bearer "), Some(bearer.expose()));
        let list: Vec<_> =
            iter::once(("Authorization".to_owned(), secret)).chain(headers::build(&facts)).collect();
        assert_eq!(bearer.mode(), facts.mode);
        list
    };
    let access = Bearer::Access(authd_oauth::AccessToken::new("{ACCESS_TOKEN}"));
    let all = list(
        access,
        headers::HeaderInputs {
            routing: &ROUTING,
            mode: Mode::ChatGpt,
            identity: &identity,
            client: &client,
            organization: Some("  "),
            project: None,
        },
    );
    let names = ["Authorization", "chatgpt-account-id", "version", "originator", "User-Agent"];
    assert_eq!(all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(lower(all), recorded_headers(&wire["responses_chatgpt"], &names));
    let all = list(
        Bearer::Key(ApiKey::new("{API_KEY}")),
        headers::HeaderInputs {
            routing: &ROUTING,
            mode: Mode::ApiKey,
            identity: &nobody,
            client: &client,
            organization: Some("org-1"),
            project: Some("proj-1"),
        },
    );
    let names = ["Authorization", "version", "OpenAI-Organization", "OpenAI-Project"];
    assert_eq!(all.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(lower(all), recorded_headers(&wire["responses_api_key"], &names));
}

#[test]
fn fedramp_header_is_the_last_one() {
    let identity = Identity { fedramp: true, ..Identity::default() };
    let client = client();
    let facts = headers::HeaderInputs {
        routing: &ROUTING,
        mode: Mode::ChatGpt,
        identity: &identity,
        client: &client,
        organization: None,
        project: None,
    };
    assert_eq!(headers::build(&facts).pop().unwrap(), ("X-OpenAI-Fedramp".to_owned(), "true".to_owned()));
}

#[tokio::test]
async fn errors_distinguish_whether_the_request_was_sent() {
    let token = RefreshToken::new("rt_1");
    // No server listens: nothing is sent.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoint =
        Endpoint::new(Provider::with_issuer(&format!("http://{free}")), client(), Network::default())
            .unwrap();
    let unsent = endpoint.refresh(&token).await.unwrap_err();
    assert!(matches!(unsent, ProviderError::NotSent { .. }) && !unsent.may_have_rotated(), "{unsent:?}");
    assert!(unsent.to_string().contains("no proxy"), "{unsent}");
    // The server reads the request and closes the connection.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut piece = [0; 4096];
        assert!(stream.read(&mut piece).await.unwrap() > 0);
    });
    let endpoint = Endpoint::new(Provider::with_issuer(&issuer), client(), Network::default()).unwrap();
    let no_response = endpoint.refresh(&token).await.unwrap_err();
    assert!(
        matches!(no_response, ProviderError::NoResponse { .. }) && no_response.may_have_rotated(),
        "{no_response:?}"
    );
    for (status, body, wanted) in [
        ("200 OK", "<html>welcome</html>".to_owned(), "InvalidResponse"),
        ("200 OK", "x".repeat((1 << 20) + 1), "InvalidResponse"),
        ("302 Found", String::new(), "InvalidResponse"),
        ("503 Service Unavailable", String::new(), "Unavailable"),
        ("429 Too Many Requests\r\nRetry-After: 17", String::new(), "Unavailable"),
        ("400 Bad Request", r#"{"error":{"code":"refresh_token_reused"}}"#.to_owned(), "Rejected"),
    ] {
        record_request(status, &body, async |endpoint| {
            let failure = endpoint.refresh(&RefreshToken::new("rt_1")).await.unwrap_err();
            assert!(format!("{failure:?}").starts_with(wanted), "{status}: {failure:?}");
            if status.starts_with("429") {
                assert!(
                    matches!(failure, ProviderError::Unavailable { retry_after: Some(wait), .. } if wait.as_secs() == 17)
                );
            }
        })
        .await;
    }
}

#[test]
fn debug_hides_the_tokens_of_a_code_response() {
    let response =
        CodeResponse::parse(br#"{"id_token":"iii","access_token":"aaa","refresh_token":"rrr"}"#).unwrap();
    let shown = format!("{response:?}");
    assert!(!shown.contains("iii") && !shown.contains("aaa") && !shown.contains("rrr"), "{shown}");
}
