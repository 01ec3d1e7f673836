//! An authorization server that grants every request, records it, and can be told to answer
//! otherwise. Its path `/mcp` is an MCP server.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::to_bytes,
    extract::Request,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::form_urlencoded;

/// The scopes that the MCP server asks for.
pub(crate) const MCP_SCOPE: &str = "tools:read";

#[derive(Clone)]
pub(crate) struct AuthorizationServer {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    metadata: Value,
    requests: Vec<Received>,
    /// Answers to the next requests of a path.
    answers: HashMap<String, VecDeque<(u16, Value)>>,
    /// The parameters of the pushed authorization requests.
    pushed: Vec<HashMap<String, String>>,
    issued: u32,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    /// The parameters of the query or of the form.
    pub(crate) form: HashMap<String, String>,
    /// The body.
    pub(crate) body: String,
}

impl AuthorizationServer {
    /// A server with these changes of its metadata; null removes a field.
    pub(crate) async fn start(changes: Value) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut metadata = json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "registration_endpoint": format!("{url}/register"),
            "revocation_endpoint": format!("{url}/revoke"),
            "device_authorization_endpoint": format!("{url}/device"),
            "authorization_response_iss_parameter_supported": true,
            "code_challenge_methods_supported": ["S256"],
        });
        for (field, value) in changes.as_object().unwrap() {
            let text = value.to_string().replace("URL", &url);
            metadata[field] = serde_json::from_str(&text).unwrap();
        }
        let state = Arc::new(Mutex::new(State { metadata, ..State::default() }));
        let server = Self { url, state };
        let handler = server.clone();
        let router = Router::new().fallback(async move |request: Request| handler.receive(request).await);
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// The next request of this path gets this answer.
    pub(crate) fn answer(&self, path: &str, status: u16, body: Value) {
        self.state().answers.entry(path.to_owned()).or_default().push_back((status, body));
    }

    /// The requests of a path.
    pub(crate) fn requests(&self, path: &str) -> Vec<Received> {
        self.state().requests.iter().filter(|request| request.path == path).cloned().collect()
    }

    /// The last request of a path.
    pub(crate) fn last(&self, path: &str) -> Received {
        self.requests(path).pop().unwrap_or_else(|| panic!("no request of {path}"))
    }

    /// An id token.
    pub(crate) fn id_token(claims: &Value) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn receive(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
        let query = head.uri.query().unwrap_or_default();
        let fields = if query.is_empty() { body.as_str() } else { query };
        let form: HashMap<_, _> = form_urlencoded::parse(fields.as_bytes()).into_owned().collect();
        let path = head.uri.path().to_owned();
        let authorization = head.headers.get(header::AUTHORIZATION);
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let mut state = self.state();
        state.requests.push(Received {
            path: path.clone(),
            authorization: authorization.clone(),
            form: form.clone(),
            body,
        });
        if let Some((status, body)) = state.answers.get_mut(&path).and_then(VecDeque::pop_front) {
            return json_response(StatusCode::from_u16(status).unwrap(), &body);
        }
        let ok = |body: Value| json_response(StatusCode::OK, &body);
        match path.as_str() {
            "/.well-known/oauth-authorization-server" => ok(state.metadata.clone()),
            "/.well-known/oauth-protected-resource/mcp" => {
                ok(json!({"resource": format!("{}/mcp", self.url), "authorization_servers": [self.url]}))
            }
            "/mcp" if authorization.is_none() => {
                let challenge = format!("Bearer scope=\"{MCP_SCOPE}\"");
                (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
            }
            "/mcp" => ok(json!({"token": authorization})),
            "/authorize" => self.authorize(&state, form),
            "/register" => {
                state.issued += 1;
                json_response(StatusCode::CREATED, &json!({"client_id": format!("client-{}", state.issued)}))
            }
            "/push" => {
                state.pushed.push(form);
                let request_uri = format!("urn:request:{}", state.pushed.len() - 1);
                json_response(StatusCode::CREATED, &json!({"request_uri": request_uri, "expires_in": 60}))
            }
            "/device" => ok(json!({
                "device_code": "device-1", "user_code": "AB-CD", "expires_in": 600, "interval": 1,
                "verification_uri": format!("{}/enter", self.url),
                "verification_uri_complete": format!("{}/enter?code=AB-CD", self.url),
            })),
            "/token" => {
                state.issued += 1;
                let n = state.issued;
                ok(json!({"access_token": format!("at-{n}"), "refresh_token": format!("rt-{n}"),
                    "token_type": "bearer", "expires_in": 3600}))
            }
            "/revoke" => StatusCode::OK.into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    /// Redirects with a code.
    fn authorize(&self, state: &State, form: HashMap<String, String>) -> Response {
        let number = form.get("request_uri").and_then(|uri| uri.rsplit(':').next()?.parse::<usize>().ok());
        let form = number.map_or(form, |number| state.pushed[number].clone());
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("code", "code-1")
            .append_pair("state", &form["state"])
            .append_pair("iss", &self.url)
            .finish();
        let location = format!("{}?{query}", form["redirect_uri"]);
        (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
    }
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
