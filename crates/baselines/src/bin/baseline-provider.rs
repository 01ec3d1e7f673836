//! An authorization server for the comparison with other programs. It signs every user in, rotates
//! refresh tokens, and prints its address. Usage: `baseline-provider`
//!
//! `POST /control?lifetime=SECONDS&delay=MILLISECONDS&hung=USER` sets the lifetime of the next
//! access tokens, the time that a refresh takes, and the user whose refreshes get no response.
//! `GET /refreshes?user=USER` returns the number of refreshes of a user since then.

use std::{
    collections::HashMap,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, RawForm, State},
    http::StatusCode,
    response::Redirect,
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::form_urlencoded;

/// The length of an access token, in bytes.
const TOKEN_LENGTH: usize = 1_500;

#[derive(Default)]
struct Provider {
    address: String,
    control: Control,
    /// The user of every valid refresh token.
    refresh_tokens: HashMap<String, String>,
    issued: u32,
    /// The users of the refreshes since the last change of `control`.
    refreshes: Vec<String>,
}

/// What the benchmark sets.
#[derive(Clone, Default)]
struct Control {
    lifetime: u64,
    delay: Duration,
    hung: Option<String>,
}

type Parameters = HashMap<String, String>;
type Shared = Arc<Mutex<Provider>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    writeln!(std::io::stdout().lock(), "{address}")?;
    let control = Control { lifetime: 3_600, ..Control::default() };
    let provider: Shared = Arc::new(Mutex::new(Provider { address, control, ..Provider::default() }));
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(metadata))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
        .route("/control", post(control_next))
        .route("/refreshes", get(refreshes))
        .with_state(provider);
    Ok(axum::serve(listener, router).await?)
}

async fn metadata(State(provider): State<Shared>) -> Json<Value> {
    let issuer = lock(&provider).address.clone();
    Json(json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "scopes_supported": ["openid", "offline_access"],
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
    }))
}

/// Redirects at once. The client id is the user, and the code.
async fn authorize(Query(query): Query<Parameters>) -> Redirect {
    let of = |name: &str| query.get(name).cloned().unwrap_or_default();
    Redirect::to(&format!("{}?code={}&state={}", of("redirect_uri"), of("client_id"), of("state")))
}

async fn token(
    State(provider): State<Shared>,
    RawForm(form): RawForm,
) -> Result<Json<Value>, (StatusCode, Json<Value>)> {
    let form: Parameters = form_urlencoded::parse(&form).into_owned().collect();
    let of = |name: &str| form.get(name).cloned().unwrap_or_default();
    let user = if of("grant_type") == "refresh_token" {
        let (user, control) = {
            let mut provider = lock(&provider);
            let user = provider.refresh_tokens.remove(&of("refresh_token"));
            provider.refreshes.extend(user.clone());
            (user, provider.control.clone())
        };
        let user = user.ok_or_else(|| (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))))?;
        if control.hung.as_deref() == Some(&user) {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(control.delay).await;
        user
    } else {
        of("code")
    };
    let mut provider = lock(&provider);
    provider.issued += 1;
    let number = provider.issued;
    let refresh_token = format!("rt-{number}");
    provider.refresh_tokens.insert(refresh_token.clone(), user);
    Ok(Json(json!({
        "access_token": format!("{number:0TOKEN_LENGTH$}"),
        "token_type": "Bearer",
        "expires_in": provider.control.lifetime,
        "refresh_token": refresh_token,
    })))
}

async fn control_next(State(provider): State<Shared>, Query(query): Query<Parameters>) {
    let number =
        |name: &str, default| query.get(name).and_then(|value| value.parse().ok()).unwrap_or(default);
    let mut provider = lock(&provider);
    provider.refreshes.clear();
    provider.control = Control {
        lifetime: number("lifetime", 3_600),
        delay: Duration::from_millis(number("delay", 0)),
        hung: query.get("hung").cloned(),
    };
}

async fn refreshes(State(provider): State<Shared>, Query(query): Query<Parameters>) -> String {
    let refreshes = &lock(&provider).refreshes;
    refreshes.iter().filter(|user| query.get("user") == Some(user)).count().to_string()
}

fn lock(provider: &Shared) -> std::sync::MutexGuard<'_, Provider> {
    provider.lock().unwrap_or_else(PoisonError::into_inner)
}
