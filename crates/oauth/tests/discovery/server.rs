//! A small HTTP server with fixed replies. It records the requests.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use authd_oauth::{
    ClientIdentity, DiscoveryRun, Endpoint, Machine, Network, Provider,
    discovery::{DiscoveryFault, Start},
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) type Handler = Box<dyn Fn() -> Response + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    replies: Arc<Mutex<HashMap<String, Handler>>>,
    requests: Arc<Mutex<Vec<(Method, String, HeaderMap)>>>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, replies: Arc::default(), requests: Arc::default() };
        let router = Router::new().fallback(reply).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// Sets the reply for a path.
    pub(crate) fn on(&self, path: &str, reply: impl Fn() -> Response + Send + Sync + 'static) -> &Self {
        self.replies.lock().unwrap().insert(path.to_owned(), Box::new(reply));
        self
    }

    pub(crate) fn on_json(&self, path: &str, body: &Value) -> &Self {
        let body = body.to_string();
        self.on(path, move || body.clone().into_response())
    }

    /// Valid metadata of the issuer with this path.
    pub(crate) fn metadata(&self, path: &str) -> Value {
        let url = &self.url;
        json!({
            "issuer": format!("{url}{path}"),
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "code_challenge_methods_supported": ["plain", "S256"],
        })
    }

    /// The paths of the requests so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(_, path, _)| path.clone()).collect()
    }

    /// The methods and headers of the requests so far.
    pub(crate) fn requests(&self) -> Vec<(Method, HeaderMap)> {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .map(|(method, _, headers)| (method.clone(), headers.clone()))
            .collect()
    }

    pub(crate) async fn discover(&self, start: fn(String) -> Start, path: &str) -> DiscoveryRun {
        discover(start(format!("{}{path}", self.url)), Duration::from_secs(30)).await
    }

    /// The fault of a discovery of the issuer.
    pub(crate) async fn fault(&self) -> DiscoveryFault {
        self.discover(Start::Issuer, "").await.result.unwrap_err()
    }
}

async fn reply(State(server): State<Server>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let recorded = (request.method().clone(), path.clone(), request.headers().clone());
    server.requests.lock().unwrap().push(recorded);
    let replies = server.replies.lock().unwrap();
    replies.get(&path).map_or_else(|| StatusCode::NOT_FOUND.into_response(), |reply| reply())
}

pub(crate) async fn discover(start: Start, timeout: Duration) -> DiscoveryRun {
    let text = String::new;
    let machine = Machine { system: text(), release: text(), architecture: text(), terminal: text() };
    let client = ClientIdentity::codex("x", "0", &machine);
    let network = Network { timeout, ..Network::default() };
    Endpoint::new(Provider::openai(), client, network).unwrap().discover(start).await
}

pub(crate) fn status(status: u16) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

pub(crate) fn redirect(target: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, target.to_owned())]).into_response()
}

pub(crate) fn challenge(value: &str) -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, value.to_owned())]).into_response()
}
