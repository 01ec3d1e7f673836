//! A credential as it is handed out, rendered once when it changes. The secret in it is the session's own, in the
//! same place: what is rendered goes around it.

use authd_api::{Headers, ProfileName};
use authd_oauth::{Bearer, ClientIdentity, Credential, Mode, Provider, headers};
use bytes::Bytes;
use http::HeaderValue;
use secrecy::zeroize::Zeroizing;

use crate::{hygiene, reply};

/// How the credential's own header is called.
const AUTHORIZATION: &str = "Authorization";

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

/// A credential, ready to use. A copy is the same in the same places.
#[derive(Clone)]
pub(crate) struct Ready {
    /// The answer to a request for the headers, without the secret; and its entity tag behind it.
    text: Bytes,
    /// Where in the text the secret belongs.
    gap: usize,
    /// Where the answer ends.
    end: usize,
    /// The secret as JSON says it, if that is not as it is.
    escaped: Option<Box<Bytes>>,
    /// The credential's own header; none, if a store gave back what can be no header.
    pub(super) authorization: Option<HeaderValue>,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ready { [redacted] }")
    }
}

/// What stands beside the secret wherever it is used.
pub(super) struct Beside<'a> {
    pub(super) credential: &'a Credential,
    pub(super) rendering: &'a Rendering,
}

impl Beside<'_> {
    pub(super) fn base_url(&self) -> String {
        let provider = &self.rendering.provider;
        match self.credential.bearer.mode() {
            Mode::ChatGpt => self.credential.routing.applied(&provider.chatgpt_base_url),
            Mode::ApiKey => provider.api_base_url.clone(),
        }
    }

    pub(super) fn backend_url(&self) -> String {
        self.credential.routing.applied(&self.rendering.provider.chatgpt_backend_url)
    }

    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let Credential { bearer, identity, routing, .. } = self.credential;
        let Rendering { client, organization, project, .. } = self.rendering;
        let (mode, organization, project) = (bearer.mode(), organization.as_deref(), project.as_deref());
        headers::beside(&headers::Facts { mode, identity, client, routing, organization, project })
    }
}

impl Ready {
    /// A profile's credential.
    pub(super) fn of(name: &ProfileName, credential: &Credential, rendering: &Rendering) -> Self {
        let beside = Beside { credential, rendering };
        let base_url = beside.base_url();
        // The secret is not written out with the rest: it is put in when the answer is given, from where it is.
        hygiene::keep_out_of_swap(&credential.bearer.authorization());
        let authorization = authorization(&credential.bearer);
        let own = authorization.as_ref().map(|_| (AUTHORIZATION.to_owned(), String::new()));
        let message = Headers {
            profile: name.clone(),
            mode: reply::mode(credential.bearer.mode()),
            responses_url: format!("{base_url}/responses"),
            base_url,
            headers: own.into_iter().chain(beside.headers()).collect(),
            generation: credential.generation,
            grant_id: credential.grant_id.to_string(),
            expires_at: credential.expires_at,
        };
        let mut text = serde_json::to_vec(&message).expect("a struct of strings and numbers has a JSON form");
        let (gap, end) = (gap(&text), text.len());
        let escaped = gap.and_then(|_| escaped(&credential.bearer)).map(Box::new);
        text.extend(etag(name, credential, rendering.revision).into_bytes());
        Self { text: text.into_boxed_slice().into(), gap: gap.unwrap_or(end), end, escaped, authorization }
    }

    /// The answer to a request for the headers: what is before the secret, the secret, and what is behind it.
    /// The secret is that of the credential which this was made of.
    pub(super) fn answer(&self, bearer: &Bearer) -> [Bytes; 3] {
        let secret = match (&self.authorization, &self.escaped) {
            (None, _) => Bytes::new(),
            (Some(_), Some(escaped)) => (**escaped).clone(),
            (Some(_), None) => bearer.authorization(),
        };
        [self.text.slice(..self.gap), secret, self.text.slice(self.gap..self.end)]
    }

    /// The entity tag of the answer.
    pub(crate) fn etag(&self) -> HeaderValue {
        HeaderValue::from_maybe_shared(self.text.slice(self.end..))
            .expect("an entity tag of digits is a value")
    }
}

fn authorization(bearer: &Bearer) -> Option<HeaderValue> {
    // The third place where a secret leaves: the value of a header.
    let mut value = HeaderValue::from_maybe_shared(bearer.authorization()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Where in an answer's text the place is that was left for the secret.
fn gap(text: &[u8]) -> Option<usize> {
    let before = format!(r#""{AUTHORIZATION}",""#);
    let found = text.windows(before.len()).position(|piece| piece == before.as_bytes())?;
    Some(found + before.len())
}

/// A secret that JSON has to write in another way than it is.
fn escaped(bearer: &Bearer) -> Option<Bytes> {
    let secret = bearer.authorization();
    let plain = secret.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    if plain {
        return None;
    }
    let text = serde_json::to_string(&String::from_utf8_lossy(&secret)).expect("text has a JSON form");
    let text = Bytes::from_owner(Zeroizing::new(text));
    Some(text.slice(1..text.len() - 1))
}

/// Names the credential, and how it is rendered: by the profile, the random id of the grant, the generation, and how often
/// a reload has changed the rendering. No other account can have the same, whatever its name was before.
fn etag(name: &ProfileName, credential: &Credential, revision: u32) -> String {
    let Credential { grant_id, generation, .. } = credential;
    let id: String =
        grant_id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
    match revision {
        0 => format!("\"{name}/{id}/{generation}\""),
        _ => format!("\"{name}/{id}/{generation}-{revision}\""),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use authd_oauth::ApiKey;
    use jiff::Timestamp;

    use super::*;

    /// The seventh credential of a profile, after two reloads.
    fn rendered(bearer: Bearer) -> Ready {
        let provider = Provider::with_issuer("http://127.0.0.1:9");
        let client = ClientIdentity { originator: "o".into(), version: "v".into(), user_agent: "o/v".into() };
        let rendering = Rendering { revision: 2, provider, client, organization: None, project: None };
        let credential = Credential {
            generation: 7,
            grant_id: "id".into(),
            bearer,
            identity: Arc::default(),
            mode_reason: "".into(),
            routing: Arc::default(),
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        };
        Ready::of(&ProfileName::first(), &credential, &rendering)
    }

    #[test]
    fn a_secret_is_there_once() {
        let bearer = Bearer::Key(ApiKey::new("sk-1"));
        let there = bearer.authorization().as_ptr();
        let value = authorization(&bearer).unwrap();
        assert!(value.is_sensitive() && value.as_bytes().as_ptr() == there);
        let ready = rendered(bearer.clone());
        let answer = ready.answer(&bearer);
        assert_eq!(answer[1].as_ptr(), there);
        let told: Headers = serde_json::from_slice(&answer.concat()).unwrap();
        let own = ("Authorization".to_owned(), "Bearer sk-1".to_owned());
        assert_eq!((&told.headers[0], told.generation), (&own, 7));
        assert_eq!(ready.etag(), "\"default/id/7-2\"");
    }

    #[test]
    fn a_secret_that_json_writes_in_another_way_is_written_so() {
        let bearer = Bearer::Key(ApiKey::new(r#"sk"\1"#));
        let answer = rendered(bearer.clone()).answer(&bearer).concat();
        let told: Headers = serde_json::from_slice(&answer).unwrap();
        assert_eq!(told.headers[0].1.as_bytes(), bearer.authorization());
    }

    #[test]
    fn a_secret_that_can_be_no_header_is_in_no_answer() {
        let bearer = Bearer::Key(ApiKey::new("a\nb"));
        let answer = rendered(bearer.clone()).answer(&bearer).concat();
        let told: Headers = serde_json::from_slice(&answer).unwrap();
        assert!(told.headers.iter().all(|(name, _)| name != AUTHORIZATION), "{told:?}");
    }
}
