//! The pages a browser sees, as pure functions: who is signed in, or what went wrong and what to do. No
//! script, no resource from anywhere, and every word that is not ours is escaped.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use sha2::{Digest, Sha256};

/// What a browser's return came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Signed in.
    SignedIn(Who),
    /// Signed in before; the same URL was opened again.
    AlreadySignedIn(Who),
    /// Not signed in.
    Failed {
        /// In a few words.
        title: String,
        /// What happened.
        sentence: String,
        /// What to do.
        remedy: String,
    },
    /// No login knows this return.
    UnknownState,
}

/// Where the link to a login's authorize URL leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// To this URL, and not again.
    To(String),
    /// Nowhere: it was used.
    Used,
    /// Nowhere: no pending login has it.
    Unknown,
}

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// The e-mail address.
    pub(crate) email: Option<String>,
    /// The plan's name.
    pub(crate) plan: Option<String>,
    /// The workspace.
    pub(crate) workspace: Option<String>,
    /// The mode's name.
    pub(crate) mode: String,
    /// Why that one.
    pub(crate) mode_reason: String,
    /// The profile.
    pub(crate) profile: String,
}

/// A page.
#[derive(Debug)]
pub(super) struct Page {
    /// Whether it tells of a success.
    pub(super) good: bool,
    /// The whole document.
    pub(super) html: String,
}

/// The page for an arrival.
pub(super) fn of(arrival: &Arrival) -> Page {
    match arrival {
        Arrival::SignedIn(who) => signed_in("You are signed in", who),
        Arrival::AlreadySignedIn(who) => signed_in("You are already signed in", who),
        Arrival::Failed { title, sentence, remedy } => failed(title, sentence, remedy),
        Arrival::UnknownState => failed(
            "This sign-in link does not work",
            "It is not one of ours, it has been used, or it has run out of time. Nothing was changed.",
            "run: authctl login",
        ),
    }
}

/// The page for a link that was used.
pub(super) fn used() -> Page {
    failed(
        "This sign-in link was used",
        "It works once. If that was not you, another program on this machine has opened it.",
        "run: authctl login",
    )
}

/// The policy that lets the page's own style in, and nothing else.
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

fn signed_in(title: &str, who: &Who) -> Page {
    let rows = [
        ("Account", who.email.as_deref()),
        ("Plan", who.plan.as_deref()),
        ("Workspace", who.workspace.as_deref()),
        ("Mode", Some(who.mode.as_str())),
        ("Profile", Some(who.profile.as_str())),
    ];
    let rows: String = rows
        .iter()
        .filter_map(|(name, value)| Some(format!("<dt>{name}</dt><dd>{}</dd>", escaped((*value)?))))
        .collect();
    let reason = match who.mode_reason.as_str() {
        "" => String::new(),
        reason => format!("<p class=\"quiet\">{} mode, because {}.</p>", escaped(&who.mode), escaped(reason)),
    };
    let body = format!("<dl>{rows}</dl>{reason}<p>You can close this tab and go back to your terminal.</p>");
    Page { good: true, html: document(title, "good", "status", "✓", &body) }
}

fn failed(title: &str, sentence: &str, remedy: &str) -> Page {
    let (words, command) = match remedy.split_once("authctl") {
        Some((words, rest)) => (words.trim_end(), Some(format!("authctl{rest}"))),
        None => (remedy, None),
    };
    let words = match words {
        "" => String::new(),
        words => format!("<p>{}</p>", escaped(&sentence_case(words))),
    };
    let command =
        command.map(|command| format!("<pre><code>{}</code></pre>", escaped(&command))).unwrap_or_default();
    let sentence = escaped(&sentence_case(sentence));
    let body = format!("<p>{sentence}</p>{words}{command}<p class=\"quiet\">You can close this tab.</p>");
    Page { good: false, html: document(title, "bad", "alert", "!", &body) }
}

fn document(title: &str, kind: &str, role: &str, mark: &str, body: &str) -> String {
    let title = escaped(title);
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

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
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
