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

/// A credential, ready to use.
pub(crate) struct Ready {
    /// The entity tag of the answer.
    pub(crate) etag: HeaderValue,
    /// The answer to a request for the headers: what is before the secret, the secret, and what is behind it.
    pub(crate) answer: [Bytes; 3],
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
        // The secret is not written out with the rest: it is put in below, from where it is.
        let authorization = authorization(&credential.bearer);
        let own = authorization.as_ref().map(|_| (AUTHORIZATION.to_owned(), String::new()));
        let message = Headers {
            profile: name.clone(),
            mode: reply::mode(credential.bearer.mode()),
            responses_url: format!("{base_url}/responses"),
            base_url,
            headers: own.into_iter().chain(beside.headers()).collect(),
            generation: credential.generation,
            expires_at: credential.expires_at,
        };
        let text = serde_json::to_vec(&message).expect("a struct of strings and numbers has a JSON form");
        Self {
            etag: etag(credential.generation, rendering.revision),
            answer: around(text, &credential.bearer),
            authorization,
        }
    }
}

fn authorization(bearer: &Bearer) -> Option<HeaderValue> {
    // The third place where a secret leaves: the value of a header.
    let mut value = HeaderValue::from_maybe_shared(bearer.authorization()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// An answer's text, with the secret in the place that was left for it.
fn around(text: Vec<u8>, bearer: &Bearer) -> [Bytes; 3] {
    let before = format!(r#""{AUTHORIZATION}",""#);
    let gap = text.windows(before.len()).position(|piece| piece == before.as_bytes());
    let text = Bytes::from(text.into_boxed_slice());
    let Some(gap) = gap.map(|at| at + before.len()) else { return [text, Bytes::new(), Bytes::new()] };
    let secret = bearer.authorization();
    hygiene::keep_out_of_swap(&secret);
    let plain = secret.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    // What JSON has to write in another way is a copy.
    let secret = if plain { secret } else { escaped(&secret) };
    [text.slice(..gap), secret, text.slice(gap..)]
}

fn escaped(secret: &[u8]) -> Bytes {
    let text = serde_json::to_string(&String::from_utf8_lossy(secret)).expect("text has a JSON form");
    let text = Bytes::from_owner(Zeroizing::new(text));
    text.slice(1..text.len() - 1)
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

#[cfg(test)]
mod tests {
    use authd_oauth::ApiKey;

    use super::*;

    #[test]
    fn a_secret_is_there_once() {
        let bearer = Bearer::Key(ApiKey::new("sk-1"));
        let there = bearer.authorization().as_ptr();
        let value = authorization(&bearer).unwrap();
        assert!(value.is_sensitive() && value.as_bytes().as_ptr() == there);
        let text = br#"{"headers":[["Authorization",""],["version","1"]]}"#;
        let answer = around(text.to_vec(), &bearer);
        assert_eq!(answer[1].as_ptr(), there);
        assert_eq!(answer.concat(), br#"{"headers":[["Authorization","Bearer sk-1"],["version","1"]]}"#);
    }

    #[test]
    fn a_secret_that_json_writes_in_another_way_is_written_so() {
        let bearer = Bearer::Key(ApiKey::new(r#"sk"\1"#));
        let answer = around(br#"["Authorization",""]"#.to_vec(), &bearer).concat();
        let told: [String; 2] = serde_json::from_slice(&answer).unwrap();
        assert_eq!(told[1].as_bytes(), bearer.authorization());
        let no_header = Bearer::Key(ApiKey::new("a\nb"));
        assert!(authorization(&no_header).is_none());
        assert_eq!(around(b"{}".to_vec(), &no_header).concat(), b"{}");
    }
}
