//! The request headers of each mode, in the documented order. `Authorization` comes first; its
//! value is [`Bearer::authorization`](crate::Bearer::authorization).

use http::{HeaderName, HeaderValue, header};

use crate::{
    ClientIdentity, Identity, Mode,
    routing::{self, Routing},
};

const ACCOUNT_ID: &str = "chatgpt-account-id";
const FEDRAMP: &str = "x-openai-fedramp";

/// The headers that belong to a credential: the secret, its workspace, and the workspace's region.
/// A relayed request has those of the profile or none, never the caller's own. The others of
/// [`build`] describe the client, and a caller may have its own.
pub static OF_CREDENTIAL: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static(ACCOUNT_ID),
    HeaderName::from_static(FEDRAMP),
    HeaderName::from_static(routing::HEADER),
];

/// The values that the headers are built from.
#[derive(Clone, Copy, Debug)]
pub struct HeaderInputs<'a> {
    /// The credential's mode.
    pub mode: Mode,
    /// The signed-in user.
    pub identity: &'a Identity,
    /// The client identity.
    pub client: &'a ClientIdentity,
    /// The workspace's routing.
    pub routing: &'a Routing,
    /// The `OpenAI-Organization` header; empty counts as unset.
    pub organization: Option<&'a str>,
    /// The `OpenAI-Project` header; empty counts as unset.
    pub project: Option<&'a str>,
}

/// The headers after `Authorization`, as pairs of name and value.
pub fn build(inputs: &HeaderInputs<'_>) -> Vec<(String, String)> {
    let HeaderInputs { mode, identity, client, routing, organization, project } = *inputs;
    let non_empty =
        |value: Option<&str>| value.map(str::trim).filter(|value| !value.is_empty()).map(ToOwned::to_owned);
    let always = |value: &str| Some(value.to_owned());
    let list = match mode {
        Mode::Bearer => return Vec::new(),
        Mode::ApiKey => vec![
            ("version", always(&client.version)),
            ("OpenAI-Organization", non_empty(organization)),
            ("OpenAI-Project", non_empty(project)),
        ],
        Mode::ChatGpt => vec![
            (ACCOUNT_ID, non_empty(identity.account_id.as_deref())),
            ("version", always(&client.version)),
            ("OpenAI-Organization", non_empty(organization)),
            ("OpenAI-Project", non_empty(project)),
            ("originator", always(&client.originator)),
            ("User-Agent", always(&client.user_agent)),
            ("X-OpenAI-Fedramp", identity.fedramp.then(|| "true".to_owned())),
            (routing::HEADER, routing.region.clone()),
        ],
    };
    // A claim or a stored value may be an invalid header value: a line break would inject a header.
    let is_valid = |value: &String| HeaderValue::from_str(value).is_ok();
    list.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.filter(is_valid)?))).collect()
}
