//! `GET /oauth/authorize`: validates the request, lets the user or the query select an account, and
//! redirects the browser with a code.

use std::{sync::Arc, time::SystemTime};

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use html_escape::encode_quoted_attribute;
use http::{StatusCode, header};
use url::Url;

use crate::{Account, Shared, ledger::Code, params::Params, response};

const REQUIRED: [&str; 7] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "code_challenge",
    "code_challenge_method",
    "state",
];
const OPTIONAL: [&str; 6] = [
    "id_token_add_organizations",
    "codex_cli_simplified_flow",
    "originator",
    "allowed_workspace_id",
    "account",
    "decision",
];

/// The handler. Two parameters exist in the sandbox only: `account=NAME` selects an account without
/// a page, and `decision` is `approve`, `deny` or `no_entitlement`.
pub(crate) async fn authorize(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    match AuthorizeRequest::parse(&query, &shared.client_id) {
        Ok(request) => decide(&shared, &query, &request),
        Err(reason) => response::page(StatusCode::BAD_REQUEST, "Invalid request", &paragraph(&reason)),
    }
}

/// A valid request.
struct AuthorizeRequest {
    redirect: Url,
    /// The redirect URI as sent, which the code exchange must repeat.
    redirect_uri: String,
    scope: String,
    challenge: String,
    state: String,
    organizations: bool,
    /// The allowed workspaces; empty if all are allowed.
    workspaces: Vec<String>,
    account: Option<String>,
    decision: Decision,
}

#[derive(Clone, Copy)]
enum Decision {
    Approve,
    Deny,
    NoEntitlement,
}

impl AuthorizeRequest {
    fn parse(query: &str, client_id: &str) -> Result<Self, String> {
        let params = Params::from_form(query)?.exactly(&REQUIRED, &OPTIONAL)?;
        let expect = |name: &str, value: &str| match params.get(name) {
            sent if sent == value => Ok(()),
            _ => Err(format!("{name} must be {value}")),
        };
        expect("response_type", "code")?;
        expect("client_id", client_id)?;
        expect("code_challenge_method", "S256")?;
        let scope = params.get("scope");
        for required in ["openid", "offline_access"] {
            if !scope.split(' ').any(|word| word == required) {
                return Err(format!("scope must contain {required}"));
            }
        }
        let challenge = params.get("code_challenge");
        if challenge.len() != 43
            || !challenge.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        {
            return Err("code_challenge must be 43 characters of base64url".into());
        }
        let workspaces = params.get("allowed_workspace_id");
        Ok(Self {
            redirect: parse_redirect_uri(params.get("redirect_uri"))?,
            redirect_uri: params.get("redirect_uri").to_owned(),
            scope: scope.to_owned(),
            challenge: challenge.to_owned(),
            state: params.get("state").to_owned(),
            organizations: params.get("id_token_add_organizations") == "true",
            workspaces: workspaces.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect(),
            account: Some(params.get("account")).filter(|name| !name.is_empty()).map(str::to_owned),
            decision: match params.get("decision") {
                "" | "approve" => Decision::Approve,
                "deny" => Decision::Deny,
                "no_entitlement" => Decision::NoEntitlement,
                other => return Err(format!("unknown decision: {other}")),
            },
        })
    }

    fn allows(&self, account: &Account) -> bool {
        self.workspaces.is_empty() || self.workspaces.contains(&account.account_id)
    }
}

fn decide(shared: &Shared, query: &str, request: &AuthorizeRequest) -> Response {
    match request.decision {
        Decision::Deny => {
            return redirect(
                request,
                &[("error", "access_denied"), ("error_description", "The user denied the request")],
            );
        }
        Decision::NoEntitlement => {
            let description = "missing_codex_entitlement: Codex is not enabled for this workspace";
            return redirect(request, &[("error", "access_denied"), ("error_description", description)]);
        }
        Decision::Approve => {}
    }
    let Some(name) = request.account.clone().or_else(|| shared.next_account()) else {
        return account_page(shared, query, request);
    };
    let mut ledger = shared.ledger();
    let Some(account) = ledger.account(&name) else {
        return response::page(StatusCode::BAD_REQUEST, "Invalid request", &paragraph("no such account"));
    };
    if !request.allows(&account) {
        let description = "The account is not a member of an allowed workspace";
        return redirect(request, &[("error", "access_denied"), ("error_description", description)]);
    }
    let code = ledger.issue_code(Code {
        account: name,
        redirect_uri: request.redirect_uri.clone(),
        challenge: request.challenge.clone(),
        organizations: request.organizations,
        issued_at: SystemTime::now(),
    });
    drop(ledger);
    redirect(request, &[("code", &code), ("scope", &request.scope)])
}

/// Redirects the browser to the client.
fn redirect(request: &AuthorizeRequest, pairs: &[(&str, &str)]) -> Response {
    let mut target = request.redirect.clone();
    target.query_pairs_mut().extend_pairs(pairs).append_pair("state", &request.state);
    (StatusCode::FOUND, [(header::LOCATION, target.as_str())]).into_response()
}

/// The sign-in page. Each link repeats the request with a selected account or decision.
fn account_page(shared: &Shared, query: &str, request: &AuthorizeRequest) -> Response {
    let link = |parameters: &[(&str, &str)], text: &str| {
        let added = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let target = format!("/oauth/authorize?{query}&{added}");
        let (target, text) = (encode_quoted_attribute(&target), encode_quoted_attribute(text));
        format!("<li><a href=\"{target}\">{text}</a></li>")
    };
    let mut list = String::new();
    for account in shared.ledger().accounts().iter().filter(|account| request.allows(account)) {
        let plan = account.plan.as_deref().unwrap_or("no plan");
        let text = format!("Continue as {} ({}, {plan})", account.email, account.name);
        list += &link(&[("account", &account.name)], &text);
    }
    list += &link(&[("decision", "deny")], "Deny");
    list += &link(&[("decision", "no_entitlement")], "Deny: Codex is not enabled for the workspace");
    response::page(StatusCode::OK, "Sign in to the sandbox", &format!("<ul>{list}</ul>"))
}

/// Parses the redirect URI, which must be on loopback.
fn parse_redirect_uri(text: &str) -> Result<Url, String> {
    let error = || "redirect_uri must be http://localhost:{port}/auth/callback".to_owned();
    let url = Url::parse(text).map_err(|_| error())?;
    let port = url.port().ok_or_else(error)?;
    let registered = ["localhost", "127.0.0.1"].map(|host| format!("http://{host}:{port}/auth/callback"));
    if registered.iter().any(|allowed| allowed == text) { Ok(url) } else { Err(error()) }
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>", encode_quoted_attribute(text))
}
