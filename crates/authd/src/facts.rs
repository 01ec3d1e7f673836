//! What a profile's task publishes: everything a handler answers from, rendered once when it changes.
//! Handlers read it without a message, a lock held over an await, or a copy of a secret.

use std::{sync::Arc, time::Duration};

use authd_api::{Headers, Mode as ApiMode, ProfileName};
use authd_oauth::{
    ClientIdentity, Ended, Failure, Identity, Mode, Outlook, Provider, RecordError, Session, Standing,
    Trouble, headers,
    schedule::{self, Jitter},
};
use authd_store::StoreError;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::hygiene;

/// What is known of a profile.
#[derive(Clone, Debug)]
pub(crate) enum View {
    /// Its record has not been read yet.
    Unread,
    /// The store does not give its record now; it is tried again.
    Closed(Arc<StoreError>),
    /// The store has no record of it.
    Missing,
    /// Its record cannot be used.
    Unreadable(Arc<RecordError>),
    /// Everything.
    Known(Arc<Facts>),
}

impl View {
    /// The facts, if they are known.
    pub(crate) fn facts(&self) -> Option<&Arc<Facts>> {
        match self {
            Self::Known(facts) => Some(facts),
            Self::Unread | Self::Closed(_) | Self::Missing | Self::Unreadable(_) => None,
        }
    }
}

/// What every credential is rendered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rendering {
    /// How often a reload has changed it.
    pub(crate) revision: u32,
    /// Where the credentials are good.
    pub(crate) provider: Provider,
    /// Whom the requests name as their client.
    pub(crate) client: ClientIdentity,
    /// The `OpenAI-Organization` header.
    pub(crate) organization: Option<String>,
    /// The `OpenAI-Project` header.
    pub(crate) project: Option<String>,
}

/// One profile, as of its last change.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Its name.
    pub(crate) name: ProfileName,
    /// How things stand, whatever the time is.
    pub(crate) outlook: Outlook,
    /// Who is signed in.
    pub(crate) identity: Identity,
    /// The credential's mode.
    pub(crate) mode: Mode,
    /// Why that one.
    pub(crate) mode_reason: String,
    /// When the credential was issued.
    pub(crate) issued_at: Timestamp,
    /// When the next renewal is planned.
    pub(crate) refresh_at: Option<Timestamp>,
    /// The end of the grant, if it has ended.
    pub(crate) ended: Option<Ended>,
    /// What went wrong last.
    pub(crate) trouble: Option<Trouble>,
    /// Whether it can be renewed at all.
    pub(crate) renewable: bool,
    /// The credential, ready to use.
    pub(crate) ready: Arc<Ready>,
    /// What it was rendered with.
    rendering: Arc<Rendering>,
}

/// A credential, ready to use.
pub(crate) struct Ready {
    /// Counts up with every new one.
    pub(crate) generation: u64,
    /// The entity tag of the answer.
    pub(crate) etag: HeaderValue,
    /// The answer to a request for the headers.
    pub(crate) body: Bytes,
    /// The headers, as the relay puts them in.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The base URL they are good for.
    pub(crate) base_url: String,
    /// The ChatGPT backend they are good for.
    pub(crate) backend_url: String,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ready {{ generation: {}, [redacted] }}", self.generation)
    }
}

/// Whether a credential may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Yes.
    Fresh,
    /// Yes, and a renewal is due.
    Due,
    /// Not before a renewal.
    Expired,
    /// Not before a sign-in.
    LoginRequired,
}

impl Facts {
    /// The facts of a session. What is rendered is kept from the facts before, if it is the same still.
    pub(crate) fn of(
        name: &ProfileName,
        session: &Session,
        rendering: &Arc<Rendering>,
        before: Option<&Arc<Self>>,
    ) -> Self {
        let credential = session.credential();
        let grant = &session.record().grant;
        let same = before.filter(|old| {
            old.name == *name
                && old.ready.generation == credential.generation
                && old.identity == grant.identity
                && Arc::ptr_eq(&old.rendering, rendering)
        });
        let ready = same.map_or_else(|| Arc::new(render(name, session, rendering)), |old| old.ready.clone());
        Self {
            name: name.clone(),
            outlook: session.outlook(),
            identity: grant.identity.clone(),
            mode: credential.bearer.mode(),
            mode_reason: grant.mode_reason.clone(),
            issued_at: credential.issued_at,
            refresh_at: session.refresh_at(),
            ended: session.record().ended.clone(),
            trouble: session.trouble().cloned(),
            renewable: grant.holding.refresh_token().is_some(),
            ready,
            rendering: rendering.clone(),
        }
    }

    /// Whether a refresh was sent and never answered: the token may have been rotated.
    pub(crate) fn is_in_doubt(&self) -> bool {
        matches!(&self.trouble, Some(Trouble::Provider(Failure::Unanswered { .. }, _)))
    }

    /// Whether the credential lasts as long as a client's wish counts, whether or not a renewal would help.
    pub(crate) fn lasts(&self, span: Duration, now: Timestamp) -> bool {
        let Some(expires) = self.outlook.expires_at else { return true };
        let planned = || schedule::refresh_at(self.issued_at, expires, Jitter::NONE);
        let due = self.refresh_at.unwrap_or_else(planned);
        schedule::lifetime(now, expires) > schedule::wish(span, self.issued_at, expires, due, now)
    }

    /// Whether the credential may be handed out to somebody who needs it for `span`.
    pub(crate) fn freshness(&self, span: Duration, now: Timestamp) -> Freshness {
        if self.outlook.expires_at.is_none() {
            return if self.outlook.spent { Freshness::LoginRequired } else { Freshness::Fresh };
        }
        // What cannot be renewed is good until it expires.
        let enough = self.refresh_at.is_none() || self.lasts(span, now);
        match self.outlook.standing(now) {
            Standing::LoginRequired => Freshness::LoginRequired,
            Standing::Expired => Freshness::Expired,
            Standing::Ready | Standing::Refreshing | Standing::Unsaved if !enough => Freshness::Expired,
            Standing::Ready | Standing::Refreshing | Standing::Unsaved => match self.refresh_at {
                Some(due) if due <= now => Freshness::Due,
                _ => Freshness::Fresh,
            },
        }
    }
}

/// Equal facts need not be published again. What is rendered is compared by identity: it is replaced
/// when it changes, and only then.
impl PartialEq for Facts {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ready, &other.ready)
            && self.name == other.name
            && self.outlook == other.outlook
            && self.identity == other.identity
            && self.mode_reason == other.mode_reason
            && self.issued_at == other.issued_at
            && self.refresh_at == other.refresh_at
            && self.ended == other.ended
            && self.trouble == other.trouble
    }
}

fn base_url(rendering: &Rendering, mode: Mode) -> &str {
    match mode {
        Mode::ChatGpt => &rendering.provider.chatgpt_base_url,
        Mode::ApiKey => &rendering.provider.api_base_url,
    }
}

fn render(name: &ProfileName, session: &Session, rendering: &Rendering) -> Ready {
    let credential = session.credential();
    let mode = credential.bearer.mode();
    let base_url = match mode {
        Mode::ChatGpt => session.record().routing.applied(base_url(rendering, mode)),
        Mode::ApiKey => base_url(rendering, mode).to_owned(),
    };
    // The third place where a secret leaves: the value of a header.
    let pairs = headers::ready(&headers::Facts {
        bearer: &credential.bearer,
        identity: &session.record().grant.identity,
        client: &rendering.client,
        routing: &session.record().routing,
        organization: rendering.organization.as_deref(),
        project: rendering.project.as_deref(),
    });
    let message = Headers {
        profile: name.clone(),
        mode: match mode {
            Mode::ChatGpt => ApiMode::ChatGpt,
            Mode::ApiKey => ApiMode::ApiKey,
        },
        responses_url: format!("{base_url}/responses"),
        base_url: base_url.clone(),
        headers: pairs,
        generation: credential.generation,
        expires_at: credential.expires_at,
    };
    let body = serde_json::to_vec(&message).expect("a struct of strings and numbers has a JSON form");
    let body = Bytes::from(body.into_boxed_slice());
    hygiene::keep_out_of_swap(&body);
    let headers = message.headers.iter().filter_map(|(name, value)| header(name, value, &body)).collect();
    Ready {
        generation: credential.generation,
        etag: etag(credential.generation, rendering.revision),
        body,
        headers,
        base_url,
        backend_url: session.record().routing.applied(&rendering.provider.chatgpt_backend_url),
    }
}

/// The generation, which tells credentials apart; and what tells it from the same one rendered otherwise, after
/// a reload.
fn etag(generation: u64, revision: u32) -> HeaderValue {
    let tag = match revision {
        0 => format!("\"{generation}\""),
        _ => format!("\"{generation}-{revision}\""),
    };
    HeaderValue::from_str(&tag).expect("digits between quotes are a header value")
}

/// A header whose value is the piece of the answer's text that it stands in: the secret is there once. A
/// value that JSON has to write in another way is a copy.
fn header(name: &str, value: &str, text: &Bytes) -> Option<(HeaderName, HeaderValue)> {
    let there = std::str::from_utf8(text).ok()?.find(value);
    let mut value = match there {
        Some(start) => HeaderValue::from_maybe_shared(text.slice(start..start + value.len())),
        None => HeaderValue::from_str(value),
    }
    .ok()?;
    hygiene::keep_out_of_swap(value.as_bytes());
    value.set_sensitive(name.eq_ignore_ascii_case("authorization"));
    Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_there_once() {
        let text = Bytes::from_static(br#"{"a":"Bearer sk-1","b":"\"w\""}"#);
        let (_, value) = header("Authorization", "Bearer sk-1", &text).unwrap();
        assert!(value.is_sensitive() && value == "Bearer sk-1");
        assert!(text.as_ptr_range().contains(&value.as_bytes().as_ptr()));
        let (_, value) = header("OpenAI-Project", "\"w\"", &text).unwrap();
        assert_eq!(value, "\"w\"");
        assert!(header("no name", "x", &text).is_none() && header("x", "a\nb", &text).is_none());
    }
}
