//! Refreshes and revocations at a defined provider: each request as a server receives it, the
//! authentication of the client, and what is refused before anything is sent.
#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use authd_oauth::{
    AccessToken, Authority, BearerGrant, ClientAuth, ClientIdentity, ClientSecret, Endpoint, Machine,
    Network, OauthClient, Provider, ProviderError, RefreshToken, Tokens,
};
use axum::{
    Router,
    body::to_bytes,
    extract::Request,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{StatusCode, header};
use tokio::net::TcpListener;

const TOKENS: &str = r#"{"access_token":"at-2","refresh_token":"rt-2","expires_in":60}"#;

/// A request as the server received it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Received {
    line: String,
    authorization: Option<String>,
    body: String,
}

/// A server that gives one answer to every request, and records the requests.
struct Server {
    url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    async fn start(status: u16, answer: &'static str) -> Self {
        Self::with(move || (StatusCode::from_u16(status).unwrap(), answer).into_response()).await
    }

    async fn with(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let record = received.clone();
        let router = Router::new().fallback(async move |request: Request| {
            let (head, body) = request.into_parts();
            let authorization = head.headers.get(header::AUTHORIZATION);
            let body = to_bytes(body, 1 << 16).await.unwrap();
            record.lock().unwrap().push(Received {
                line: format!("{} {}", head.method, head.uri),
                authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
                body: String::from_utf8(body.to_vec()).unwrap(),
            });
            answer()
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, received }
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    fn authority(&self, client: OauthClient) -> Authority {
        Authority {
            token_url: format!("{}/token?tenant=t", self.url),
            revocation_url: Some(format!("{}/revoke", self.url)),
            client,
            ..Authority::default()
        }
    }
}

fn endpoint() -> Endpoint {
    let text = String::new;
    let machine = Machine { system: text(), release: text(), architecture: text(), terminal: text() };
    Endpoint::new(Provider::openai(), ClientIdentity::codex("x", "0", &machine), Network::default()).unwrap()
}

fn client(auth: ClientAuth, secret_file: Option<&Path>) -> OauthClient {
    OauthClient { id: "a client:ü%+".to_owned(), auth, secret_file: secret_file.map(Path::to_owned) }
}

fn grant(authority: Authority, registered_secret: Option<&str>) -> BearerGrant {
    let tokens = Tokens {
        access_token: AccessToken::new("at-1"),
        refresh_token: Some(RefreshToken::new("rt-1")),
        expires_at: None,
    };
    let client_secret = registered_secret.map(ClientSecret::new);
    BearerGrant { tokens, client_secret, authority: authority.into() }
}

async fn refresh(grant: &BearerGrant) -> Result<(), ProviderError> {
    let token = grant.refresh_token().unwrap();
    endpoint().refresh_bearer(grant, token).await.map(drop)
}

/// A file with this content in a directory of the test run.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("client-{name}"));
    fs::write(&path, content).unwrap();
    path
}

/// A pipe that no program writes to.
fn pipe() -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("client-pipe");
    fs::remove_file(&path).ok();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

#[tokio::test]
async fn client_authenticates_by_its_method() {
    const ID: &str = "a%20client%3A%C3%BC%25%2B";
    const SECRET: &str = "s%3A%25%2B%20%C3%A9";
    let basic = format!("Basic {}", STANDARD.encode(format!("{ID}:{SECRET}")));
    let with_id = format!("&client_id={ID}");
    let with_secret = format!("&client_id={ID}&client_secret={SECRET}");
    for (auth, secret, authorization, fields) in [
        (ClientAuth::None, Some("s:%+ é"), None, &with_id),
        (ClientAuth::None, None, None, &with_id),
        (ClientAuth::Basic, Some("s:%+ é"), Some(basic), &String::new()),
        (ClientAuth::Post, Some("s:%+ é"), None, &with_secret),
        // A client that was registered without a secret has none to send.
        (ClientAuth::Basic, None, None, &with_id),
    ] {
        let server = Server::start(200, TOKENS).await;
        refresh(&grant(server.authority(client(auth, None)), secret)).await.unwrap();
        let body = format!("grant_type=refresh_token&refresh_token=rt-1{fields}");
        let line = "POST /token?tenant=t".to_owned();
        assert_eq!(server.received(), [Received { line, authorization, body }], "{auth:?}");
    }
}

#[tokio::test]
async fn refresh_and_revocation_name_the_token_and_the_resource() {
    let server = Server::start(200, TOKENS).await;
    let mut authority = server.authority(OauthClient { id: "id".to_owned(), ..OauthClient::default() });
    authority.resource = Some("https://mcp.example/mcp".to_owned());
    let mut grant = grant(authority, None);
    refresh(&grant).await.unwrap();
    assert!(endpoint().revoke_bearer(&grant).await.unwrap());
    grant.tokens.refresh_token = None;
    assert!(endpoint().revoke_bearer(&grant).await.unwrap());
    let bodies = server.received().into_iter().map(|received| (received.line, received.body));
    let expected = [
        (
            "POST /token?tenant=t",
            "grant_type=refresh_token&refresh_token=rt-1&resource=https%3A%2F%2Fmcp.example%2Fmcp&client_id=id",
        ),
        ("POST /revoke", "token=rt-1&token_type_hint=refresh_token&client_id=id"),
        ("POST /revoke", "token=at-1&token_type_hint=access_token&client_id=id"),
    ];
    assert_eq!(bodies.collect::<Vec<_>>(), expected.map(|(line, body)| (line.to_owned(), body.to_owned())));
    Arc::make_mut(&mut grant.authority).revocation_url = None;
    assert!(!endpoint().revoke_bearer(&grant).await.unwrap(), "the server offers none");
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn secret_of_the_file_counts_before_that_of_the_registration() {
    for content in ["from the file", "from the file\n", "from the file\r\n\n"] {
        let server = Server::start(200, TOKENS).await;
        let path = file("secret", content.as_bytes());
        let client = client(ClientAuth::Post, Some(&path));
        refresh(&grant(server.authority(client), Some("registered"))).await.unwrap();
        let received = server.received().remove(0);
        assert!(received.body.ends_with("&client_secret=from%20the%20file"), "{content:?}: {received:?}");
    }
}

#[tokio::test]
async fn request_whose_secret_cannot_be_read_is_not_sent() {
    let absent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("absent");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned();
    for (path, problem) in [
        (absent, "No such file"),
        (directory, "Is a directory"),
        (pipe(), "it is a pipe"),
        (PathBuf::from("/dev/null"), "it is empty"),
        (file("empty", b""), "it is empty"),
        (file("space", b" \n\t\n"), "it is empty"),
        (file("long", &[b's'; 4097]), "it has more than 4096 bytes"),
        (file("binary", b"secret\xff"), "it is not UTF-8"),
    ] {
        let server = Server::start(200, TOKENS).await;
        for auth in [ClientAuth::Basic, ClientAuth::Post] {
            let client = client(auth, Some(&path));
            let grant = grant(server.authority(client), None);
            let error = refresh(&grant).await.unwrap_err();
            assert!(matches!(error, ProviderError::NoClientSecret { .. }), "{error:?}");
            assert!(!error.may_have_rotated() && !error.is_permanent());
            let text = format!("{error} {error:?} {grant:?}");
            assert!(text.contains(problem) && text.contains(path.to_str().unwrap()), "{text}");
            assert!(!text.contains("ssss") && !text.contains("secret\u{fffd}"), "{text}");
        }
        assert_eq!(server.received(), [], "{problem}");
    }
    let server = Server::start(200, TOKENS).await;
    let client = client(ClientAuth::None, Some(Path::new("/absent")));
    refresh(&grant(server.authority(client), None)).await.unwrap();
}

#[tokio::test]
async fn private_address_is_refused_for_a_server_that_was_found_from_a_public_one() {
    let server = Server::start(200, TOKENS).await;
    let port = server.url.rsplit(':').next().unwrap();
    for host in [
        "http://127.0.0.1",
        "http://localhost",
        "https://10.0.0.1",
        "https://[::1]",
        "https://169.254.169.254",
    ] {
        let authority = Authority {
            token_url: format!("{host}:{port}/token"),
            revocation_url: Some(format!("{host}:{port}/revoke")),
            public_only: true,
            ..Authority::default()
        };
        assert!(!endpoint().is_reachable(&authority).await);
        let grant = grant(authority, None);
        let errors =
            [refresh(&grant).await.unwrap_err(), endpoint().revoke_bearer(&grant).await.unwrap_err()];
        for error in errors {
            assert!(matches!(error, ProviderError::NotSent { .. }), "{host}: {error:?}");
            assert!(error.to_string().contains("named a private address"), "{host}: {error}");
        }
    }
    assert_eq!(server.received(), []);
    let authority = server.authority(OauthClient::default());
    assert!(endpoint().is_reachable(&authority).await);
    refresh(&grant(authority, None)).await.unwrap();
}

#[tokio::test]
async fn redirect_of_a_token_endpoint_is_not_followed() {
    let redirect = || (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]).into_response();
    let server = Server::with(redirect).await;
    let error = refresh(&grant(server.authority(OauthClient::default()), None)).await.unwrap_err();
    assert!(matches!(error, ProviderError::InvalidResponse { .. }), "{error:?}");
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn error_with_status_200_is_an_error() {
    for (answer, code) in [
        (
            r#"{"error":"bad_refresh_token","error_description":"d","error_uri":"u"}"#,
            Some("bad_refresh_token"),
        ),
        (r#"{"error":"invalid_grant"}"#, Some("invalid_grant")),
        ("{}", None),
        ("error=bad_refresh_token", None),
    ] {
        let server = Server::start(200, answer).await;
        let error = refresh(&grant(server.authority(OauthClient::default()), None)).await.unwrap_err();
        assert_eq!(error.code().map(authd_oauth::ErrorCode::as_str), code, "{answer}: {error:?}");
        assert_eq!(error.is_permanent(), code == Some("invalid_grant"), "{error:?}");
    }
}
