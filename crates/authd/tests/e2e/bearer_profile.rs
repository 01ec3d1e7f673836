//! A profile of a defined provider as a sign-in leaves it in the store, and the servers that its
//! token is for.

use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, Mutex},
};

use age::{Encryptor, x25519};
use authd_oauth::{AccessToken, Authority, BearerGrant, Grant, GrantSecrets, Record, RefreshToken, Tokens};
use authd_sandbox::{
    Sandbox,
    test_daemon::{TestDaemon, TestDaemonConfig},
};
use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;
use tokio::net::TcpListener;

use crate::helpers::AUTHD;

/// A server that records its requests, and answers with the responses that the test queues.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    requests: Vec<http::request::Parts>,
    responses: VecDeque<Response>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let handler_state = state.clone();
        let router = Router::new().fallback(async move |request: Request| {
            let mut state = handler_state.lock().unwrap();
            state.requests.push(request.into_parts().0);
            state.responses.pop_front().unwrap_or_else(|| "ok".into_response())
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    /// Queues a response. Without one the server answers 200.
    pub(crate) fn answer(&self, response: impl IntoResponse) {
        self.state.lock().unwrap().responses.push_back(response.into_response());
    }

    /// Queues a response with this status and challenge.
    pub(crate) fn challenge(&self, status: StatusCode, challenge: &str) {
        self.answer((status, [("www-authenticate", challenge.to_owned())], "refused"));
    }

    /// Queues the response of a token endpoint to a refresh.
    pub(crate) fn issue(&self, access_token: &str) {
        let body = json!({"access_token": access_token, "token_type": "Bearer", "expires_in": 3600});
        self.answer(([("content-type", "application/json")], body.to_string()));
    }

    /// Takes the requests: method and path with query, and the token.
    pub(crate) fn requests(&self) -> Vec<(String, String)> {
        let requests = std::mem::take(&mut self.state.lock().unwrap().requests);
        let described = requests.iter().map(|request| {
            let token = request.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            (format!("{} {}", request.method, request.uri), token.unwrap_or_default())
        });
        described.collect()
    }

    /// The header of the last request.
    pub(crate) fn last_header(&self, name: &str) -> Option<String> {
        let state = self.state.lock().unwrap();
        let value = state.requests.last()?.headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }
}

/// The grant of a sign-in at the provider `lab`: a token of an hour without a refresh token.
pub(crate) fn grant(authority: Authority) -> Grant {
    let now = authd_broker::now();
    let tokens = Tokens {
        access_token: AccessToken::new("at-1"),
        refresh_token: None,
        expires_at: Some(now + jiff::SignedDuration::from_hours(1)),
    };
    let mut authority = Authority { provider: "lab".to_owned(), ..authority };
    if authority.client.id.is_empty() {
        "client-1".clone_into(&mut authority.client.id);
    }
    let grant = BearerGrant { tokens, client_secret: None, authority: Arc::new(authority) };
    Grant {
        identity: Arc::default(),
        secrets: GrantSecrets::Bearer(Box::new(grant)),
        mode_reason: "".into(),
        issued_at: now,
    }
}

/// The same with a refresh token.
pub(crate) fn renewable(authority: Authority) -> Grant {
    let mut grant = grant(authority);
    if let GrantSecrets::Bearer(bearer) = &mut grant.secrets {
        bearer.tokens.refresh_token = Some(RefreshToken::new("rt-1"));
    }
    grant
}

/// A daemon whose profile `lab` has this grant, and whose profile `default` is of the sandbox.
pub(crate) async fn daemon(sandbox: &Sandbox, grant: Grant) -> TestDaemon {
    let mut daemon = TestDaemon::start(TestDaemonConfig::new(AUTHD, sandbox).store("file")).await;
    daemon.sign_in("default", "plus").await;
    assert!(daemon.sigterm_and_wait().await.success());
    let keys = fs::read_to_string(daemon.state().join("store.key")).unwrap();
    let identity: x25519::Identity = keys.lines().find_map(|line| line.parse().ok()).unwrap();
    let record = Record::new(grant, "grant-1".into(), 1).to_text();
    let recipient = identity.to_public();
    let encryptor = Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient)).unwrap();
    let mut writer = encryptor
        .wrap_output(fs::File::create(daemon.state().join("store/profile.lab.age")).unwrap())
        .unwrap();
    std::io::Write::write_all(&mut writer, secrecy::ExposeSecret::expose_secret(&record).as_bytes()).unwrap();
    writer.finish().unwrap();
    daemon.start_again().await;
    // The response waits until the record is read.
    daemon.request("GET", "/v1/profiles/lab/headers", &[], "").await;
    daemon
}
