//! Device login: codes for machines without a browser, and the page where a person approves them.
//! The provider makes the PKCE pair and hands the verifier over; the exchange is the token endpoint's.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::{
    Shared,
    ledger::{Code, Ledger},
    params::{self, Params, refuse},
    reply, tokens,
};

/// Stands in the ledger for `{issuer}/deviceauth/callback`, since the issuer has a name for each way to reach it.
pub(crate) const REDIRECT: &str = "issuer:deviceauth/callback";
/// How long a person has to approve.
const LIFETIME: Duration = Duration::from_secs(900);

/// The device logins that were started, oldest first.
#[derive(Default)]
pub(crate) struct DeviceLogins(Vec<DeviceLogin>);

struct DeviceLogin {
    id: String,
    user_code: String,
    started_at: SystemTime,
    state: DeviceState,
}

enum DeviceState {
    Pending,
    Denied,
    Approved { code: String, challenge: String, verifier: String },
}

impl DeviceLogins {
    fn start(&mut self, ledger: &mut Ledger, now: SystemTime) -> (String, String) {
        self.0.retain(|login| login.started_at + LIFETIME > now);
        let id = ledger.note(tokens::secret("deviceauth_", 32));
        let user_code = tokens::user_code();
        let state = DeviceState::Pending;
        self.0.push(DeviceLogin { id: id.clone(), user_code: user_code.clone(), started_at: now, state });
        (id, user_code)
    }

    /// Approves with an account, or denies with none. False if no such login is pending.
    pub(crate) fn decide(
        &mut self,
        ledger: &mut Ledger,
        user_code: &str,
        account: Option<&str>,
        now: SystemTime,
    ) -> bool {
        let pending = |login: &&mut DeviceLogin| {
            login.user_code == user_code && matches!(login.state, DeviceState::Pending)
        };
        let Some(login) = self.0.iter_mut().find(pending) else { return false };
        login.state = match account {
            None => DeviceState::Denied,
            Some(account) if ledger.account(account).is_none() => return false,
            Some(account) => {
                let verifier = ledger.note(tokens::secret("", 86));
                let challenge = tokens::challenge(&verifier);
                let code = ledger.issue_code(Code {
                    account: account.to_owned(),
                    redirect_uri: REDIRECT.to_owned(),
                    challenge: challenge.clone(),
                    organizations: true,
                    issued_at: now,
                });
                DeviceState::Approved { code, challenge, verifier }
            }
        };
        true
    }
}

/// `POST /api/accounts/deviceauth/usercode`
pub(crate) async fn user_code(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    if !shared.device_login {
        return reply::error(StatusCode::NOT_FOUND, "not_found", "Not found");
    }
    let params = match read(&headers, &body, &["client_id"]) {
        Ok(params) => params,
        Err(reason) => return refuse(&reason),
    };
    if params.get("client_id") != shared.client_id {
        return refuse("unknown client_id");
    }
    let mut ledger = shared.ledger();
    let (id, user_code) = shared.devices().start(&mut ledger, SystemTime::now());
    drop(ledger);
    let interval = shared.device_interval.to_string();
    reply::json_with(
        StatusCode::OK,
        &json!({"device_auth_id": id, "user_code": user_code, "interval": interval}),
    )
}

/// `POST /api/accounts/deviceauth/token`: 403 while the person has not decided.
pub(crate) async fn poll(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let params = match read(&headers, &body, &["device_auth_id", "user_code"]) {
        Ok(params) => params,
        Err(reason) => return refuse(&reason),
    };
    let devices = shared.devices();
    let (id, user_code) = (params.get("device_auth_id"), params.get("user_code"));
    let login = devices.0.iter().find(|login| login.id == id && login.user_code == user_code);
    match login.map(|login| &login.state) {
        None => reply::error(StatusCode::NOT_FOUND, "not_found", "Unknown device authorization"),
        Some(DeviceState::Pending) => {
            reply::error(StatusCode::FORBIDDEN, "authorization_pending", "Device authorization is pending")
        }
        Some(DeviceState::Denied) => {
            reply::error(StatusCode::BAD_REQUEST, "access_denied", "The user denied the request")
        }
        Some(DeviceState::Approved { code, challenge, verifier }) => reply::json_with(
            StatusCode::OK,
            &json!({"authorization_code": code, "code_challenge": challenge, "code_verifier": verifier}),
        ),
    }
}

/// `GET /codex/device`: the form for a person.
pub(crate) async fn page(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let code = Params::from_form(&query.unwrap_or_default())
        .map_or_else(|_| String::new(), |p| p.get("user_code").to_owned());
    let mut choices = String::new();
    for account in shared.ledger().accounts() {
        let (name, email) = (reply::escape(&account.name), reply::escape(&account.email));
        let _ = write!(
            choices,
            "<p><button name=\"account\" value=\"{name}\">Continue as {email} ({name})</button></p>"
        );
    }
    let form = format!(
        "<form method=\"post\"><p><label>Code <input name=\"user_code\" value=\"{}\" autofocus></label></p>\
         {choices}<p><button name=\"account\" value=\"\">Deny</button></p></form>",
        reply::escape(&code)
    );
    reply::page(StatusCode::OK, "Enter the code shown on your device", &form)
}

/// `POST /codex/device`: the person's decision.
pub(crate) async fn decide(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let params =
        match Params::from_body(&headers, &body).and_then(|p| p.exactly(&["user_code"], &["account"])) {
            Ok(params) => params,
            Err(reason) => {
                return reply::page(StatusCode::BAD_REQUEST, "Invalid request", &reply::escape(&reason));
            }
        };
    let account = Some(params.get("account")).filter(|name| !name.is_empty());
    let user_code = params.get("user_code").trim().to_ascii_uppercase();
    if shared.decide_device(&user_code, account) {
        let title = if account.is_some() { "You are signed in" } else { "You denied the request" };
        reply::page(StatusCode::OK, title, "<p>You may close this page.</p>")
    } else {
        reply::page(StatusCode::NOT_FOUND, "No such code", "<p>It is wrong, used or expired.</p>")
    }
}

fn read(headers: &HeaderMap, body: &str, names: &[&str]) -> Result<Params, String> {
    if params::content_type(headers) != "application/json" {
        return Err("the body must be JSON".into());
    }
    Params::from_json(body)?.exactly(names, &[])
}
