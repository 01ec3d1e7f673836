//! Device login: codes for machines without a browser, and the page where the user approves them.
//! The provider creates the PKCE pair, and returns the verifier with the code.

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use html_escape::encode_quoted_attribute;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::{
    Shared,
    ledger::{Code, Ledger},
    params::{self, Params, invalid_request},
    response, tokens,
};

/// The redirect URI of device codes in the ledger. The real one starts with the issuer, whose URL
/// depends on the request.
pub(crate) const REDIRECT: &str = "issuer:deviceauth/callback";
/// The lifetime of a user code.
pub(crate) const LIFETIME: Duration = Duration::from_secs(900);

/// The started device logins, oldest first.
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
        let id = ledger.record_secret(tokens::secret("deviceauth_", 32));
        let user_code = tokens::user_code();
        let state = DeviceState::Pending;
        self.0.push(DeviceLogin { id: id.clone(), user_code: user_code.clone(), started_at: now, state });
        (id, user_code)
    }

    /// Approves a login with an account, or denies it without one. False if the code is not pending
    /// or the account is unknown.
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
                let verifier = ledger.record_secret(tokens::secret("", 86));
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
        return response::error(StatusCode::NOT_FOUND, "not_found", "Not found");
    }
    let params = match parse_body(&headers, &body, &["client_id"]) {
        Ok(params) => params,
        Err(reason) => return invalid_request(&reason),
    };
    if params.get("client_id") != shared.client_id {
        return invalid_request("unknown client_id");
    }
    let mut ledger = shared.ledger();
    let now = SystemTime::now();
    let (id, user_code) = shared.devices().start(&mut ledger, now);
    drop(ledger);
    let interval = shared.device_interval.to_string();
    let mut body = json!({"device_auth_id": id, "user_code": user_code, "interval": interval});
    if let Some(lifetime) = shared.device_lifetime {
        body["expires_at"] = json!(tokens::rfc3339(now + lifetime));
    }
    response::json_with(StatusCode::OK, &body)
}

/// `POST /api/accounts/deviceauth/token`: 403 while the login is pending.
pub(crate) async fn poll(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let params = match parse_body(&headers, &body, &["device_auth_id", "user_code"]) {
        Ok(params) => params,
        Err(reason) => return invalid_request(&reason),
    };
    let devices = shared.devices();
    let (id, user_code) = (params.get("device_auth_id"), params.get("user_code"));
    let login = devices.0.iter().find(|login| login.id == id && login.user_code == user_code);
    match login.map(|login| &login.state) {
        None => response::error(StatusCode::NOT_FOUND, "not_found", "Unknown device authorization"),
        Some(DeviceState::Pending) => {
            let message = "Device authorization is pending. Please try again.";
            response::error(StatusCode::FORBIDDEN, "deviceauth_authorization_pending", message)
        }
        Some(DeviceState::Denied) => {
            response::error(StatusCode::BAD_REQUEST, "access_denied", "The user denied the request")
        }
        Some(DeviceState::Approved { code, challenge, verifier }) => response::json_with(
            StatusCode::OK,
            &json!({"authorization_code": code, "code_challenge": challenge, "code_verifier": verifier}),
        ),
    }
}

/// `GET /codex/device`: the form for the user.
pub(crate) async fn page(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let code = Params::from_form(&query.unwrap_or_default())
        .map_or_else(|_| String::new(), |p| p.get("user_code").to_owned());
    let mut buttons = String::new();
    for account in shared.ledger().accounts() {
        let (name, email) = (encode_quoted_attribute(&account.name), encode_quoted_attribute(&account.email));
        let _ = write!(
            buttons,
            "<p><button name=\"account\" value=\"{name}\">Continue as {email} ({name})</button></p>"
        );
    }
    let form = format!(
        "<form method=\"post\"><p><label>Code <input name=\"user_code\" value=\"{}\" autofocus></label></p>\
         {buttons}<p><button name=\"account\" value=\"\">Deny</button></p></form>",
        encode_quoted_attribute(&code)
    );
    response::page(StatusCode::OK, "Enter the code shown on your device", &form)
}

/// `POST /codex/device`: the decision of the user.
pub(crate) async fn decide(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let params =
        match Params::from_body(&headers, &body).and_then(|p| p.exactly(&["user_code"], &["account"])) {
            Ok(params) => params,
            Err(reason) => {
                return response::page(
                    StatusCode::BAD_REQUEST,
                    "Invalid request",
                    &encode_quoted_attribute(&reason),
                );
            }
        };
    let account = Some(params.get("account")).filter(|name| !name.is_empty());
    let user_code = params.get("user_code").trim().to_ascii_uppercase();
    if shared.decide_device(&user_code, account) {
        let title = if account.is_some() { "You are signed in" } else { "You denied the request" };
        response::page(StatusCode::OK, title, "<p>You may close this page.</p>")
    } else {
        response::page(StatusCode::NOT_FOUND, "No such code", "<p>It is wrong, used or expired.</p>")
    }
}

fn parse_body(headers: &HeaderMap, body: &str, names: &[&str]) -> Result<Params, String> {
    if params::content_type(headers) != "application/json" {
        return Err("the body must be JSON".into());
    }
    Params::from_json(body)?.exactly(names, &[])
}
