//! The ready header list of each mode, in the order of the contract. First comes `Authorization`, whose value
//! [`Bearer::authorization`](crate::Bearer::authorization) is.

use http::HeaderValue;

use crate::{
    ClientIdentity, Identity, Mode,
    routing::{self, Routing},
};

/// What the headers are made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The credential's mode.
    pub mode: Mode,
    /// Who is signed in.
    pub identity: &'a Identity,
    /// Whom the requests name as their client.
    pub client: &'a ClientIdentity,
    /// Where the workspace's requests go.
    pub routing: &'a Routing,
    /// The `OpenAI-Organization` header; empty counts as unset.
    pub organization: Option<&'a str>,
    /// The `OpenAI-Project` header; empty counts as unset.
    pub project: Option<&'a str>,
}

/// The headers beside the credential's own, as pairs of name and value.
pub fn beside(facts: &Facts<'_>) -> Vec<(String, String)> {
    let Facts { mode, identity, client, routing, organization, project } = facts;
    let set =
        |value: Option<&str>| value.map(str::trim).filter(|value| !value.is_empty()).map(ToOwned::to_owned);
    let always = |value: &str| Some(value.to_owned());
    let list = match mode {
        Mode::ApiKey => vec![
            ("version", always(&client.version)),
            ("OpenAI-Organization", set(*organization)),
            ("OpenAI-Project", set(*project)),
        ],
        Mode::ChatGpt => vec![
            ("chatgpt-account-id", set(identity.account_id.as_deref())),
            ("version", always(&client.version)),
            ("OpenAI-Organization", set(*organization)),
            ("OpenAI-Project", set(*project)),
            ("originator", always(&client.originator)),
            ("User-Agent", always(&client.user_agent)),
            ("X-OpenAI-Fedramp", identity.fedramp.then(|| "true".to_owned())),
            (routing::HEADER, routing.region.clone()),
        ],
    };
    // What a token claims, or a store gives back, may be no header at all: as a line of its own it would
    // be one of somebody else's.
    let stands = |value: &String| HeaderValue::from_str(value).is_ok();
    list.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.filter(stands)?))).collect()
}
