//! `GET /oauth/authorize`: checks what the client asks, lets a person (or the query) choose an account, and sends
//! the browser back with a code. The exchange of the code is the token endpoint's.

use std::{sync::Arc, time::SystemTime};

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use url::Url;

use crate::{Account, Shared, ledger::Code, params::Params, reply};

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

/// The handler. Two parameters are the sandbox's own: `account=NAME` chooses without a page, and `decision` is
/// `approve`, `deny` or `no_entitlement`.
pub(crate) async fn authorize(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    match Asked::read(&query, &shared.client_id) {
        Ok(asked) => decide(&shared, &query, &asked),
        Err(reason) => reply::page(StatusCode::BAD_REQUEST, "Invalid request", &paragraph(&reason)),
    }
}

/// A request that is in order.
struct Asked {
    redirect: Url,
    /// The redirect URI to the letter: the exchange must repeat it.
    redirect_uri: String,
    scope: String,
    challenge: String,
    state: String,
    organizations: bool,
    /// The only workspaces allowed; empty if any is.
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

impl Asked {
    fn read(query: &str, client_id: &str) -> Result<Self, String> {
        let params = Params::from_form(query)?.exactly(&REQUIRED, &OPTIONAL)?;
        let expect = |name: &str, value: &str| match params.get(name) {
            sent if sent == value => Ok(()),
            _ => Err(format!("{name} must be {value}")),
        };
        expect("response_type", "code")?;
        expect("client_id", client_id)?;
        expect("code_challenge_method", "S256")?;
        let scope = params.get("scope");
        for wanted in ["openid", "offline_access"] {
            if !scope.split(' ').any(|word| word == wanted) {
                return Err(format!("scope must contain {wanted}"));
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
            redirect: callback(params.get("redirect_uri"))?,
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

fn decide(shared: &Shared, query: &str, asked: &Asked) -> Response {
    match asked.decision {
        Decision::Deny => {
            return back(
                asked,
                &[("error", "access_denied"), ("error_description", "The user denied the request")],
            );
        }
        Decision::NoEntitlement => {
            let description = "missing_codex_entitlement: Codex is not enabled for this workspace";
            return back(asked, &[("error", "access_denied"), ("error_description", description)]);
        }
        Decision::Approve => {}
    }
    let Some(name) = asked.account.clone().or_else(|| shared.next_account()) else {
        return choose(shared, query, asked);
    };
    let mut ledger = shared.ledger();
    let Some(account) = ledger.account(&name) else {
        return reply::page(StatusCode::BAD_REQUEST, "Invalid request", &paragraph("no such account"));
    };
    if !asked.allows(&account) {
        let description = "The account is not a member of an allowed workspace";
        return back(asked, &[("error", "access_denied"), ("error_description", description)]);
    }
    let code = ledger.issue_code(Code {
        account: name,
        redirect_uri: asked.redirect_uri.clone(),
        challenge: asked.challenge.clone(),
        organizations: asked.organizations,
        issued_at: SystemTime::now(),
    });
    drop(ledger);
    back(asked, &[("code", &code), ("scope", &asked.scope)])
}

/// Sends the browser back to the client.
fn back(asked: &Asked, pairs: &[(&str, &str)]) -> Response {
    let mut target = asked.redirect.clone();
    target.query_pairs_mut().extend_pairs(pairs).append_pair("state", &asked.state);
    (StatusCode::FOUND, [(header::LOCATION, target.as_str())]).into_response()
}

/// The page on which a person chooses: every link is the same request with the choice added.
fn choose(shared: &Shared, query: &str, asked: &Asked) -> Response {
    let link = |choice: &[(&str, &str)], text: &str| {
        let choice = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(choice).finish();
        let target = reply::escape(&format!("/oauth/authorize?{query}&{choice}"));
        format!("<li><a href=\"{target}\">{}</a></li>", reply::escape(text))
    };
    let mut list = String::new();
    for account in shared.ledger().accounts().iter().filter(|account| asked.allows(account)) {
        let plan = account.plan.as_deref().unwrap_or("no plan");
        let text = format!("Continue as {} ({}, {plan})", account.email, account.name);
        list += &link(&[("account", &account.name)], &text);
    }
    list += &link(&[("decision", "deny")], "Deny");
    list += &link(&[("decision", "no_entitlement")], "Deny: Codex is not enabled for the workspace");
    reply::page(StatusCode::OK, "Sign in to the sandbox", &format!("<ul>{list}</ul>"))
}

/// The client's callback, which for this client is on loopback and nowhere else.
fn callback(text: &str) -> Result<Url, String> {
    let wrong = || "redirect_uri must be http://localhost:{port}/auth/callback".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    let port = url.port().ok_or_else(wrong)?;
    let registered = ["localhost", "127.0.0.1"].map(|host| format!("http://{host}:{port}/auth/callback"));
    if registered.iter().any(|right| right == text) { Ok(url) } else { Err(wrong()) }
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>", reply::escape(text))
}
