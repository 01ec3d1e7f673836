//! An authorization server that grants every request, records it, and can be told to answer
//! otherwise. It rotates its refresh tokens, and detects the use of an old one. Its path `/mcp` is
//! an MCP server. Several test targets use this file.

pub(crate) mod grants;

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use authd_sandbox::TokenInfo;
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, StatusCode, header};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify};
use url::form_urlencoded;

use self::grants::Grants;

/// The scopes that the MCP server asks for.
pub(crate) const MCP_SCOPE: &str = "tools:read";

/// The e-mail address in the id token of a login with the scope `openid`.
pub(crate) const EMAIL: &str = "user@lab.example";

#[derive(Clone)]
pub(crate) struct AuthorizationServer {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    arrived: Arc<Notify>,
}

/// An answer to a request, other than the usual one.
pub(crate) enum Answer {
    /// This status and body, without any effect.
    Json(u16, Value),
    /// The request has its effect. Then the connection breaks.
    Lost,
    /// The request has its effect, and no response.
    Held,
}

#[derive(Default)]
struct State {
    metadata: Value,
    requests: Vec<Received>,
    /// Answers to the next requests of a path.
    answers: HashMap<String, VecDeque<Answer>>,
    /// The parameters of the pushed authorization requests.
    pushed: Vec<HashMap<String, String>>,
    /// The parameters of the last authorization request.
    authorized: HashMap<String, String>,
    grants: Grants,
    lifetime: Option<u64>,
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
        let server = Self { url, state, arrived: Arc::default() };
        let handler = server.clone();
        let router = Router::new().fallback(async move |request: Request| handler.receive(request).await);
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// The definition of a provider `lab` with this server. It has the daemon register a client.
    pub(crate) fn definition(&self) -> String {
        format!("[providers.lab]\nissuer = '{}'\nregistration = 'auto'\nscopes = ['openid']\n", self.url)
    }

    /// The next request of this path gets this answer.
    pub(crate) fn answer(&self, path: &str, status: u16, body: Value) {
        self.answer_with(path, Answer::Json(status, body));
    }

    /// The same with any answer.
    pub(crate) fn answer_with(&self, path: &str, answer: Answer) {
        self.state().answers.entry(path.to_owned()).or_default().push_back(answer);
    }

    /// Returns when at least `n` requests of this path have arrived, and had their effect.
    pub(crate) async fn wait_for(&self, path: &str, n: usize) {
        loop {
            let arrived = self.arrived.notified();
            if self.requests(path).len() >= n {
                return;
            }
            arrived.await;
        }
    }

    /// Sets the lifetime of the access tokens from now on, in seconds. It is an hour at first.
    pub(crate) fn set_lifetime(&self, seconds: u64) {
        self.state().lifetime = Some(seconds);
    }

    /// How many clients the server has registered.
    pub(crate) fn registrations(&self) -> usize {
        self.state().grants.registrations()
    }

    /// How many refresh tokens were rotated. A rotation counts even if its response was lost.
    pub(crate) fn rotations(&self) -> usize {
        self.state().grants.rotations()
    }

    /// Whether the server accepts this client.
    pub(crate) fn knows_client(&self, id: &str) -> bool {
        self.state().grants.knows_client(id)
    }

    /// The origin and state of a refresh token; `None` if the server did not issue it.
    pub(crate) fn token_info(&self, token: &str) -> Option<TokenInfo> {
        self.state().grants.token_info(token)
    }

    /// The clients, logins and tokens now.
    pub(crate) fn checkpoint(&self) -> Grants {
        self.state().grants.clone()
    }

    /// Returns to the clients, logins and tokens of a checkpoint. Later ones become unknown.
    pub(crate) fn rewind(&self, to: &Grants) {
        self.state().grants = to.clone();
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
        // A probe of the network, which sends and changes nothing.
        if head.method == Method::HEAD {
            return StatusCode::METHOD_NOT_ALLOWED.into_response();
        }
        let body = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
        let query = head.uri.query().unwrap_or_default();
        let fields = if query.is_empty() { body.as_str() } else { query };
        let form: HashMap<_, _> = form_urlencoded::parse(fields.as_bytes()).into_owned().collect();
        let path = head.uri.path().to_owned();
        let authorization = head.headers.get(header::AUTHORIZATION);
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        let (response, answer) = {
            let mut state = self.state();
            let answer = state.answers.get_mut(&path).and_then(VecDeque::pop_front);
            let request = Received { path, authorization, form, body };
            let response = match &answer {
                Some(Answer::Json(status, body)) => {
                    json_response(StatusCode::from_u16(*status).unwrap(), body)
                }
                _ => self.respond(&mut state, &request),
            };
            state.requests.push(request);
            (response, answer)
        };
        self.arrived.notify_waiters();
        match answer {
            None | Some(Answer::Json(..)) => response,
            Some(Answer::Lost) => {
                let broken = io::Error::from(io::ErrorKind::ConnectionReset);
                Body::from_stream(futures_util::stream::iter([Err::<String, _>(broken)])).into_response()
            }
            Some(Answer::Held) => std::future::pending().await,
        }
    }

    /// The usual response.
    fn respond(&self, state: &mut State, request: &Received) -> Response {
        let Received { path, authorization, form, .. } = request;
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
            "/authorize" => self.authorize(state, form),
            "/register" => json_response(StatusCode::CREATED, &json!({"client_id": state.grants.register()})),
            "/push" => {
                state.pushed.push(form.clone());
                let request_uri = format!("urn:request:{}", state.pushed.len() - 1);
                json_response(StatusCode::CREATED, &json!({"request_uri": request_uri, "expires_in": 60}))
            }
            "/device" => ok(json!({
                "device_code": "device-1", "user_code": "AB-CD", "expires_in": 600, "interval": 1,
                "verification_uri": format!("{}/enter", self.url),
                "verification_uri_complete": format!("{}/enter?code=AB-CD", self.url),
            })),
            "/token" => self.issue(state, form),
            "/revoke" => StatusCode::OK.into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    /// Issues tokens.
    fn issue(&self, state: &mut State, form: &HashMap<String, String>) -> Response {
        let client_id = form.get("client_id").map(String::as_str);
        if client_id.is_some_and(|id| !state.grants.knows_client(id)) {
            return json_response(StatusCode::UNAUTHORIZED, &json!({"error": "invalid_client"}));
        }
        let n = match form.get("refresh_token") {
            Some(token) => state.grants.refresh(token),
            None => Some(state.grants.sign_in()),
        };
        let Some(n) = n else {
            return json_response(StatusCode::BAD_REQUEST, &json!({"error": "invalid_grant"}));
        };
        let mut body = json!({"access_token": format!("at-{n}"), "refresh_token": format!("rt-{n}"),
            "token_type": "bearer", "expires_in": state.lifetime.unwrap_or(3600)});
        let is_openid = |scope: &String| scope.split(' ').any(|scope| scope == "openid");
        if form.contains_key("code") && state.authorized.get("scope").is_some_and(is_openid) {
            let claims = json!({"iss": self.url, "aud": client_id, "sub": "user-1", "email": EMAIL});
            body["id_token"] = Self::id_token(&claims).into();
        }
        json_response(StatusCode::OK, &body)
    }

    /// Redirects with a code.
    fn authorize(&self, state: &mut State, form: &HashMap<String, String>) -> Response {
        let number = form.get("request_uri").and_then(|uri| uri.rsplit(':').next()?.parse::<usize>().ok());
        let form = number.map_or(form, |number| &state.pushed[number]).clone();
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("code", "code-1")
            .append_pair("state", &form["state"])
            .append_pair("iss", &self.url)
            .finish();
        let location = format!("{}?{query}", form["redirect_uri"]);
        state.authorized = form;
        (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
    }
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// The key `ports` of the callback, with free ports. A registration is for both, so it can be used
/// again although one of them is in use at a later start.
pub(crate) fn callback_ports() -> String {
    let listeners = [0; 2].map(|port| std::net::TcpListener::bind(("127.0.0.1", port)).unwrap());
    format!("ports = {:?}", listeners.map(|listener| listener.local_addr().unwrap().port()))
}
