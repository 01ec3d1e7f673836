//! The pages for browsers: the signed-in user, or the error and its remedy. They contain no script
//! and load nothing, and all variable text is escaped.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use html_escape::encode_quoted_attribute as escape_html;
use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::handler::{CallbackOutcome, SignedInUser};

/// A page.
#[derive(Debug)]
pub(super) struct Page {
    /// Whether the login succeeded.
    pub(super) good: bool,
    /// The HTML document.
    pub(super) html: String,
}

/// The page for the outcome of a redirect.
pub(super) fn outcome_page(outcome: &CallbackOutcome) -> Page {
    match outcome {
        CallbackOutcome::SignedIn(user) => signed_in("You are signed in", user),
        CallbackOutcome::AlreadySignedIn(user) => signed_in("You are already signed in", user),
        CallbackOutcome::Failed { title, detail, hint } => failed(title, detail, hint),
        CallbackOutcome::UnknownState => failed(
            "This sign-in link does not work",
            "It is unknown, was used before, or has expired. Nothing was changed.",
            "run: authctl login",
        ),
    }
}

/// The page for a link that was used before.
pub(super) fn used_link_page() -> Page {
    failed(
        "This sign-in link was used",
        "It works once. If you did not open it, another program on this machine did.",
        "run: authctl login",
    )
}

/// The content security policy: the page's own style, and nothing else.
pub(super) fn policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let hash = STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        HeaderValue::try_from(policy).expect("a hash in base64 is a header value")
    });
    POLICY.clone()
}

fn signed_in(title: &str, user: &SignedInUser) -> Page {
    let rows = [
        ("Account", user.email.as_deref()),
        ("Plan", user.plan.as_deref()),
        ("Workspace", user.workspace.as_deref()),
        ("Provider", user.provider.as_deref()),
        ("Mode", user.mode.as_deref()),
        ("Profile", Some(user.profile.as_str())),
    ];
    let rows: String = rows
        .iter()
        .filter_map(|(name, value)| Some(format!("<dt>{name}</dt><dd>{}</dd>", escape_html((*value)?))))
        .collect();
    let reason = match (&user.mode, user.mode_reason.as_str()) {
        (None, _) | (_, "") => String::new(),
        (Some(mode), reason) => {
            format!("<p class=\"quiet\">{} mode, because {}.</p>", escape_html(mode), escape_html(reason))
        }
    };
    let body = format!("<dl>{rows}</dl>{reason}<p>You can close this tab and go back to your terminal.</p>");
    Page { good: true, html: document(title, "good", "status", "✓", &body) }
}

fn failed(title: &str, detail: &str, hint: &str) -> Page {
    // A hint may name further steps after the first command.
    let (text, command, rest) = match hint.split_once("authctl") {
        Some((text, rest)) => {
            let (command, rest) = rest.split_once(';').unwrap_or((rest, ""));
            (text.trim_end(), Some(format!("authctl{command}")), rest.trim_start())
        }
        None => (hint, None, ""),
    };
    let paragraph = |text: &str| match text {
        "" => String::new(),
        text => format!("<p>{}</p>", escape_html(&sentence_case(text))),
    };
    let (text, rest) = (paragraph(text), paragraph(rest));
    let command = command
        .map(|command| format!("<pre><code>{}</code></pre>", escape_html(&command)))
        .unwrap_or_default();
    let detail = sentence_case(detail);
    let detail = escape_html(&detail);
    let body = format!("<p>{detail}</p>{text}{command}{rest}<p class=\"quiet\">You can close this tab.</p>");
    Page { good: false, html: document(title, "bad", "alert", "!", &body) }
}

fn document(title: &str, kind: &str, role: &str, mark: &str, body: &str) -> String {
    let title = escape_html(title);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title} – authd</title>\
         <style>{STYLE}</style></head><body><main class=\"{kind}\" role=\"{role}\">\
         <div class=\"mark\" aria-hidden=\"true\">{mark}</div><h1>{title}</h1>{body}</main></body></html>\n"
    )
}

fn sentence_case(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#f4f5f7;--card:#fff;--text:#1a1d21;--quiet:#5b6470;--line:#dfe3e8;--good:#0a7d4b;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--ground:#111417;--card:#1b1f24;--text:#e8eaed;--quiet:#a2abb6;--line:#30363d;--good:#4cc38a;--bad:#ff8a80}}\
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.25rem;background:var(--ground);color:var(--text);font:1rem/1.55 system-ui,sans-serif}\
main{width:100%;max-width:30rem;background:var(--card);border:1px solid var(--line);border-radius:1rem;padding:2rem 1.75rem;box-shadow:0 .5rem 2rem rgb(0 0 0/.06)}\
.mark{width:3rem;height:3rem;border-radius:50%;display:grid;place-items:center;font-size:1.5rem;font-weight:700;color:var(--card)}\
.good .mark{background:var(--good)}.bad .mark{background:var(--bad)}\
h1{font-size:1.5rem;line-height:1.25;margin:1rem 0 1rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.4rem 1.25rem;margin:0 0 1rem}dt{color:var(--quiet)}dd{margin:0;overflow-wrap:anywhere}\
p{margin:0 0 .75rem}.quiet{color:var(--quiet)}\
pre{margin:0 0 .75rem;padding:.65rem .85rem;border:1px solid var(--line);border-radius:.5rem;background:var(--ground);white-space:pre-wrap;overflow-wrap:anywhere}code{font:.95rem ui-monospace,monospace}";
