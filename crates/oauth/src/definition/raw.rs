//! A provider definition as it is written in a file, and its validation.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::{
    DEFAULT_REDIRECT_URI, Endpoints, ProviderDefinition, ProviderSource, Registration, check,
    error::{InvalidDefinition, invalid},
};
use crate::{ClientAuth, OauthClient};

/// Declares the keys: their types, and the words for a value of each type.
macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident: $type:ty = $words:literal,)*) => {
        /// A provider definition as it is written in a file. Every key is optional.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields, default, expecting = "a table")]
        pub struct RawDefinition { $($(#[$doc])* pub $key: Option<$type>,)* }

        impl RawDefinition {
            /// All keys, each with the words for its values.
            pub const KEYS: &[(&str, &str)] = &[$((stringify!($key), $words)),*];

            /// These keys, and those of `other` that are missing here.
            fn or(self, other: &Self) -> Self {
                Self { $($key: self.$key.or_else(|| other.$key.clone())),* }
            }
        }
    };
}

keys! {
    /// The built-in template that gives the keys which are missing here.
    template: String = "a text in quotes",
    /// The issuer, for discovery.
    issuer: String = "a text in quotes",
    /// The URL of an MCP server, for discovery.
    mcp: String = "a text in quotes",
    /// The authorization endpoint.
    authorize_url: String = "a text in quotes",
    /// The token endpoint.
    token_url: String = "a text in quotes",
    /// The device authorization endpoint.
    device_authorization_url: String = "a text in quotes",
    /// The revocation endpoint.
    revocation_url: String = "a text in quotes",
    /// The registration endpoint.
    registration_url: String = "a text in quotes",
    /// The client id.
    client_id: String = "a text in quotes",
    /// The file with the client's secret.
    client_secret_file: PathBuf = "a path in quotes",
    /// How the client authenticates.
    client_auth: String = "\"none\", \"basic\" or \"post\"",
    /// Whether a client may be registered automatically.
    registration: String = "\"never\" or \"auto\"",
    /// The URL of a client metadata document.
    client_metadata_url: String = "a text in quotes",
    /// The scopes.
    scopes: Vec<String> = "a list of texts such as [\"a\", \"b\"]",
    /// The resource indicator.
    resource: String = "a text in quotes",
    /// The audience.
    audience: String = "a text in quotes",
    /// Further parameters of the authorization request.
    authorize_params: BTreeMap<String, String> = "a table of texts such as { access_type = \"offline\" }",
    /// The redirect URI.
    redirect_uri: String = "a text in quotes",
    /// The base URL of relayed requests.
    base_url: String = "a text in quotes",
    /// The URL that tells whether a token of the user's own is valid.
    check_url: String = "a text in quotes",
    /// The hosts for git.
    git_hosts: Vec<String> = "a list of texts such as [\"a\", \"b\"]",
    /// How a user registers a client.
    registration_help: String = "a text in quotes",
}

impl RawDefinition {
    /// Takes the missing keys from the named template. A definition that says itself where its
    /// endpoints come from takes none of the template's servers: its token must not go to them.
    pub fn with_template(mut self, templates: &BTreeMap<String, Self>) -> Result<Self, InvalidDefinition> {
        let Some(name) = self.template.take() else { return Ok(self) };
        let Some(template) = templates.get(&name) else {
            let names: Vec<&str> = templates.keys().map(String::as_str).collect();
            return invalid("template", format!("must be one of {}", names.join(", ")));
        };
        let mut template = template.clone();
        if self.issuer.is_some() || self.mcp.is_some() || self.names_endpoint().is_some() {
            template = Self {
                issuer: None,
                mcp: None,
                authorize_url: None,
                token_url: None,
                device_authorization_url: None,
                revocation_url: None,
                registration_url: None,
                base_url: None,
                check_url: None,
                git_hosts: None,
                ..template
            };
        }
        Ok(self.or(&template))
    }

    /// Validates a definition that a user wrote: it must say how to get a client id, or how to
    /// check a token of the user's own, which needs none.
    pub fn validate(self) -> Result<ProviderDefinition, InvalidDefinition> {
        let definition = self.validate_template()?;
        let has_client = definition.client.is_some() || definition.registration == Registration::Auto;
        if !has_client && definition.check_url.is_none() {
            let help = definition.registration_help.map(|help| format!(" ({help})")).unwrap_or_default();
            return invalid(
                "",
                format!(
                    "has no client id: register a client at the provider and set client_id{help}, or set \
                     registration = \"auto\""
                ),
            );
        }
        Ok(definition)
    }

    /// Validates a template, which has no client.
    pub fn validate_template(self) -> Result<ProviderDefinition, InvalidDefinition> {
        let client = self.client()?;
        let registration = match (self.registration.as_deref(), &self.mcp) {
            (Some("never"), _) | (None, None) => Registration::Never,
            (Some("auto"), _) | (None, Some(_)) => Registration::Auto,
            (Some(_), _) => return invalid("registration", "must be \"never\" or \"auto\""),
        };
        let text = |key, value: &Option<String>| check::printable(key, value.as_deref());
        if let Some(url) = &self.client_metadata_url {
            check::client_metadata_url(url)?;
        }
        text("audience", &self.audience)?;
        text("registration_help", &self.registration_help)?;
        if let Some(resource) = &self.resource {
            check::resource(resource)?;
        }
        if let Some(url) = &self.base_url {
            check::url("base_url", url)?;
        }
        if let Some(url) = &self.check_url {
            check::url("check_url", url)?;
        }
        check::scopes(self.scopes.as_deref())?;
        check::authorize_params(self.authorize_params.as_ref())?;
        check::git_hosts(self.git_hosts.as_deref())?;
        let redirect_uri = self.redirect_uri.clone().unwrap_or_else(|| DEFAULT_REDIRECT_URI.to_owned());
        check::redirect_uri(&redirect_uri)?;
        Ok(ProviderDefinition {
            source: self.source()?,
            client,
            registration,
            client_metadata_url: self.client_metadata_url,
            scopes: self.scopes.unwrap_or_default(),
            resource: self.resource,
            audience: self.audience,
            authorize_params: self.authorize_params.unwrap_or_default(),
            redirect_uri,
            base_url: self.base_url.map(|url| url.trim_end_matches('/').to_owned()),
            check_url: self.check_url,
            git_hosts: self.git_hosts.unwrap_or_default(),
            registration_help: self.registration_help,
        })
    }

    /// The endpoint keys, with their values.
    fn endpoints(&self) -> [(&'static str, Option<&String>); 5] {
        [
            ("authorize_url", self.authorize_url.as_ref()),
            ("token_url", self.token_url.as_ref()),
            ("device_authorization_url", self.device_authorization_url.as_ref()),
            ("revocation_url", self.revocation_url.as_ref()),
            ("registration_url", self.registration_url.as_ref()),
        ]
    }

    fn names_endpoint(&self) -> Option<&'static str> {
        self.endpoints().into_iter().find(|(_, url)| url.is_some()).map(|(key, _)| key)
    }

    /// The one source of the endpoints.
    fn source(&self) -> Result<ProviderSource, InvalidDefinition> {
        for (key, url) in self.endpoints() {
            url.map_or(Ok(()), |url| check::url(key, url))?;
        }
        match (&self.issuer, &self.mcp, self.names_endpoint()) {
            (Some(issuer), None, None) => {
                check::issuer("issuer", issuer)?;
                Ok(ProviderSource::Issuer(issuer.clone()))
            }
            (None, Some(mcp), None) => {
                check::issuer("mcp", mcp)?;
                Ok(ProviderSource::Mcp(mcp.clone()))
            }
            (None, None, Some(_)) => {
                let required = |key, url: &Option<String>| match url {
                    Some(url) => Ok(url.clone()),
                    None => invalid("", format!("names endpoints and lacks {key}")),
                };
                Ok(ProviderSource::Endpoints(Endpoints {
                    authorize_url: required("authorize_url", &self.authorize_url)?,
                    token_url: required("token_url", &self.token_url)?,
                    device_authorization_url: self.device_authorization_url.clone(),
                    revocation_url: self.revocation_url.clone(),
                    registration_url: self.registration_url.clone(),
                }))
            }
            (None, None, None) => invalid("", "needs one of issuer, mcp, or authorize_url with token_url"),
            (Some(_), Some(_), _) => invalid("mcp", "cannot stand beside issuer: remove one of the two"),
            (_, _, Some(key)) => invalid(
                key,
                "cannot stand beside issuer or mcp, whose metadata has the endpoints: remove one of the two",
            ),
        }
    }

    fn client(&self) -> Result<Option<OauthClient>, InvalidDefinition> {
        check::printable("client_id", self.client_id.as_deref())?;
        let secret_file = self.client_secret_file.clone();
        if secret_file.as_ref().is_some_and(|path| !path.is_absolute()) {
            return invalid("client_secret_file", "must be an absolute path (`~` is not expanded)");
        }
        let auth = match (self.client_auth.as_deref(), secret_file.is_some()) {
            (None | Some("none"), false) => ClientAuth::None,
            (None | Some("basic"), true) => ClientAuth::Basic,
            (Some("post"), true) => ClientAuth::Post,
            (Some("none"), true) => {
                return invalid("client_auth", "is \"none\", which uses no client_secret_file: remove one");
            }
            (Some("basic" | "post"), false) => {
                return invalid("client_auth", "needs client_secret_file, the file with the client's secret");
            }
            (Some(_), _) => return invalid("client_auth", "must be \"none\", \"basic\" or \"post\""),
        };
        match (&self.client_id, auth) {
            (Some(id), _) => Ok(Some(OauthClient { id: id.clone(), auth, secret_file })),
            (None, ClientAuth::None) => Ok(None),
            (None, _) => invalid("client_secret_file", "needs client_id"),
        }
    }
}
