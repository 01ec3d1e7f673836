//! Renders a credential once when it changes: the JSON of the headers message and the
//! `Authorization` header. Both refer to the session's own copy of the secret instead of holding
//! another one.

use authd_api::{Headers, ProfileName};
use authd_oauth::{Bearer, ClientIdentity, Credential, Mode, Provider, headers, keep_out_of_swap};
use bytes::Bytes;
use http::HeaderValue;
use secrecy::zeroize::Zeroizing;

const AUTHORIZATION: &str = "Authorization";

/// The settings that are part of every rendered credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderContext {
    /// Counts the reloads that changed the settings.
    pub revision: u32,
    /// The provider, whose URLs the headers message names.
    pub provider: Provider,
    /// The client that the requests name.
    pub client: ClientIdentity,
    /// Whether relayed requests name this client even if they name one themselves.
    pub override_client: bool,
    /// The `OpenAI-Organization` header.
    pub organization: Option<String>,
    /// The `OpenAI-Project` header.
    pub project: Option<String>,
}

#[cfg(test)]
impl RenderContext {
    /// The settings of OpenAI's provider, for tests.
    pub(crate) fn of_openai() -> Self {
        let client = ClientIdentity { originator: "o".into(), version: "v".into(), user_agent: "o/v".into() };
        Self {
            revision: 0,
            provider: Provider::openai(),
            client,
            override_client: false,
            organization: None,
            project: None,
        }
    }
}

/// A rendered credential. A clone shares its memory.
#[derive(Clone)]
pub struct RenderedHeaders {
    /// The JSON without the secret, followed by the entity tag.
    text: Bytes,
    /// Offset in the JSON at which the secret is inserted.
    secret_offset: usize,
    /// Length of the JSON.
    json_len: usize,
    /// The secret with JSON escapes, if it needs any.
    escaped: Option<Box<Bytes>>,
    /// The `Authorization` header; `None` if the stored secret is no valid header value.
    pub(super) authorization: Option<HeaderValue>,
}

impl std::fmt::Debug for RenderedHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RenderedHeaders { [redacted] }")
    }
}

/// The inputs of the headers beside `Authorization`.
pub(super) struct HeaderContext<'a> {
    pub(super) credential: &'a Credential,
    pub(super) render_context: &'a RenderContext,
}

impl HeaderContext<'_> {
    pub(super) fn base_url(&self) -> String {
        let provider = &self.render_context.provider;
        match self.credential.bearer.mode() {
            Mode::ChatGpt => self.credential.routing.apply_to(&provider.chatgpt_base_url),
            Mode::ApiKey => provider.api_base_url.clone(),
            Mode::Bearer => {
                self.credential.authority.as_ref().and_then(|one| one.base_url.clone()).unwrap_or_default()
            }
        }
    }

    pub(super) fn backend_url(&self) -> String {
        self.credential.routing.apply_to(&self.render_context.provider.chatgpt_backend_url)
    }

    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let Credential { bearer, identity, routing, .. } = self.credential;
        let RenderContext { client, organization, project, .. } = self.render_context;
        let (mode, organization, project) = (bearer.mode(), organization.as_deref(), project.as_deref());
        headers::build(&headers::HeaderInputs { mode, identity, client, routing, organization, project })
    }
}

impl RenderedHeaders {
    pub(super) fn of(name: &ProfileName, credential: &Credential, render_context: &RenderContext) -> Self {
        let context = HeaderContext { credential, render_context };
        let base_url = context.base_url();
        if !keep_out_of_swap(&credential.bearer.authorization()) {
            tracing::debug!(profile = %name, "secret is not locked in memory");
        }
        let authorization = authorization(&credential.bearer);
        let own = authorization.as_ref().map(|_| (AUTHORIZATION.to_owned(), String::new()));
        let message = Headers {
            profile: name.clone(),
            mode: mode_message(credential.bearer.mode()),
            responses_url: match credential.bearer.mode() {
                Mode::ChatGpt | Mode::ApiKey => format!("{base_url}/responses"),
                Mode::Bearer => String::new(),
            },
            base_url,
            headers: own.into_iter().chain(context.headers()).collect(),
            generation: credential.generation,
            grant_id: credential.grant_id.to_string(),
            expires_at: credential.expires_at,
        };
        let mut text = serde_json::to_vec(&message).expect("a struct of strings and numbers serializes");
        let (secret_offset, json_len) = (secret_offset(&text), text.len());
        let escaped = secret_offset.and_then(|_| escaped(&credential.bearer)).map(Box::new);
        text.extend(etag(name, credential, render_context.revision).into_bytes());
        Self {
            text: text.into_boxed_slice().into(),
            secret_offset: secret_offset.unwrap_or(json_len),
            json_len,
            escaped,
            authorization,
        }
    }

    /// The JSON before the secret, the secret, and the JSON after it. `bearer` must be the one that
    /// this was rendered from.
    pub(super) fn to_json(&self, bearer: &Bearer) -> [Bytes; 3] {
        let secret = match (&self.authorization, &self.escaped) {
            (None, _) => Bytes::new(),
            (Some(_), Some(escaped)) => (**escaped).clone(),
            (Some(_), None) => bearer.authorization(),
        };
        [self.text.slice(..self.secret_offset), secret, self.text.slice(self.secret_offset..self.json_len)]
    }

    /// The entity tag of the headers message (RFC 9110, section 8.8.3).
    pub fn etag(&self) -> HeaderValue {
        HeaderValue::from_maybe_shared(self.text.slice(self.json_len..))
            .expect("an entity tag is a header value")
    }
}

fn authorization(bearer: &Bearer) -> Option<HeaderValue> {
    // The secret leaves authd here: in a header of a relayed request.
    let mut value = HeaderValue::from_maybe_shared(bearer.authorization()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn secret_offset(text: &[u8]) -> Option<usize> {
    let prefix = format!(r#""{AUTHORIZATION}",""#);
    let start = text.windows(prefix.len()).position(|window| window == prefix.as_bytes())?;
    Some(start + prefix.len())
}

/// The secret with JSON escapes; `None` if it needs none.
fn escaped(bearer: &Bearer) -> Option<Bytes> {
    let secret = bearer.authorization();
    let plain = secret.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'));
    if plain {
        return None;
    }
    let text = serde_json::to_string(&String::from_utf8_lossy(&secret)).expect("text serializes");
    let text = Bytes::from_owner(Zeroizing::new(text));
    Some(text.slice(1..text.len() - 1))
}

/// Identifies the credential and its rendering: profile, random id of the grant, generation, and
/// the number of reloads that changed the render context. Another account under the same name has
/// another grant id.
fn etag(name: &ProfileName, credential: &Credential, revision: u32) -> String {
    let Credential { grant_id, generation, .. } = credential;
    let id: String =
        grant_id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect();
    match revision {
        0 => format!("\"{name}/{id}/{generation}\""),
        _ => format!("\"{name}/{id}/{generation}-{revision}\""),
    }
}

/// The API's name of a mode.
pub fn mode_message(mode: Mode) -> authd_api::Mode {
    match mode {
        Mode::ChatGpt => authd_api::Mode::ChatGpt,
        Mode::ApiKey => authd_api::Mode::ApiKey,
        Mode::Bearer => authd_api::Mode::Bearer,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use authd_oauth::ApiKey;
    use jiff::Timestamp;

    use super::*;

    /// A credential of generation 7, rendered after two reloads.
    fn rendered(bearer: Bearer) -> RenderedHeaders {
        let render_context = RenderContext { revision: 2, ..RenderContext::of_openai() };
        let credential = Credential {
            generation: 7,
            grant_id: "id".into(),
            bearer,
            identity: Arc::default(),
            mode_reason: "".into(),
            routing: Arc::default(),
            authority: None,
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
        };
        RenderedHeaders::of(&ProfileName::first(), &credential, &render_context)
    }

    #[test]
    fn secret_is_not_copied() {
        let bearer = Bearer::Key(ApiKey::new("sk-1"));
        let address = bearer.authorization().as_ptr();
        let value = authorization(&bearer).unwrap();
        assert!(value.is_sensitive() && value.as_bytes().as_ptr() == address);
        let rendered_headers = rendered(bearer.clone());
        let json = rendered_headers.to_json(&bearer);
        assert_eq!(json[1].as_ptr(), address);
        let message: Headers = serde_json::from_slice(&json.concat()).unwrap();
        let own = ("Authorization".to_owned(), "Bearer sk-1".to_owned());
        assert_eq!((&message.headers[0], message.generation), (&own, 7));
        assert_eq!(rendered_headers.etag(), "\"default/id/7-2\"");
    }

    #[test]
    fn secret_is_escaped_in_json() {
        let bearer = Bearer::Key(ApiKey::new(r#"sk"\1"#));
        let json = rendered(bearer.clone()).to_json(&bearer).concat();
        let message: Headers = serde_json::from_slice(&json).unwrap();
        assert_eq!(message.headers[0].1.as_bytes(), bearer.authorization());
    }

    #[test]
    fn secret_that_is_no_header_value_is_left_out() {
        let bearer = Bearer::Key(ApiKey::new("a\nb"));
        let json = rendered(bearer.clone()).to_json(&bearer).concat();
        let message: Headers = serde_json::from_slice(&json).unwrap();
        assert!(message.headers.iter().all(|(name, _)| name != AUTHORIZATION), "{message:?}");
    }
}
