//! Why discovery failed, as a sentence and a remedy. No text of a document is repeated but URLs
//! and names that have been validated.

use super::MAX_DOCUMENT;

/// Why discovery failed. Every fault ends it: no other document is tried in place of a wrong one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryFault {
    /// The URL that discovery was to begin at is not allowed.
    #[error("discovery needs an https URL (http on loopback only) without a user name and a fragment")]
    InvalidStart,
    /// A URL of a document is not allowed.
    #[error("{what} is not an https URL (http is allowed on loopback only)")]
    InsecureUrl {
        /// What the URL stands for.
        what: &'static str,
    },
    /// A URL leads into a private network, although the first one was public.
    #[error("{host} has a private or loopback address, and discovery began at a public one")]
    PrivateAddress {
        /// The host.
        host: String,
    },
    /// The host did not respond.
    #[error("{host} cannot be reached: {detail}")]
    Unreachable {
        /// The host.
        host: String,
        /// The cause, and the proxy and CA in use.
        detail: String,
    },
    /// The document did not arrive in time.
    #[error("{host} did not send the document in time")]
    TooSlow {
        /// The host.
        host: String,
    },
    /// The document is too long.
    #[error("the document at {url} is longer than {} KiB", MAX_DOCUMENT >> 10)]
    TooLarge {
        /// The document.
        url: String,
    },
    /// A redirect to another host.
    #[error("{url} redirects to another host or scheme, which discovery does not follow")]
    OtherHost {
        /// The document.
        url: String,
    },
    /// A chain of redirects that does not end.
    #[error("{url} redirects again and again")]
    RedirectLoop {
        /// The document.
        url: String,
    },
    /// A status that is neither a document nor its absence.
    #[error("{url} responds with status {status}")]
    Status {
        /// The document.
        url: String,
        /// The status.
        status: u16,
    },
    /// The document is not JSON, or not an object.
    #[error("the document at {url} is not a JSON object")]
    NotJson {
        /// The document.
        url: String,
    },
    /// A field of the document has a wrong type, or too many or too long values.
    #[error("the document at {url} has a value of the wrong form in {field}")]
    Malformed {
        /// The document.
        url: String,
        /// The field.
        field: &'static str,
    },
    /// A required field is missing.
    #[error("the document at {url} lacks {field}")]
    Missing {
        /// The document.
        url: String,
        /// The field.
        field: &'static str,
    },
    /// The document is that of another issuer.
    #[error("the document at {url} belongs to {stated}, and the issuer {expected} was asked for")]
    WrongIssuer {
        /// The document.
        url: String,
        /// The issuer in the document, or the words for another one.
        stated: String,
        /// The issuer that was asked for.
        expected: String,
    },
    /// The document is that of another resource.
    #[error("the document at {url} describes another resource than {expected}")]
    WrongResource {
        /// The document.
        url: String,
        /// The resource that was asked for.
        expected: String,
    },
    /// The authorization server does not offer the code challenge method S256.
    #[error("{issuer} does not offer PKCE with S256")]
    NoPkce {
        /// The issuer.
        issuer: String,
    },
    /// The server asks for no sign-in, and no document exists.
    #[error("{url} asks for no sign-in (status {status}) and publishes no metadata")]
    NothingFound {
        /// The URL that discovery began at.
        url: String,
        /// The status.
        status: u16,
    },
    /// No document exists.
    #[error("{issuer} publishes no authorization server metadata")]
    NoMetadata {
        /// The issuer.
        issuer: String,
    },
}

impl DiscoveryFault {
    /// What the user can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::InvalidStart => {
                "correct the URL, for example: authctl providers check https://mcp.example.com/mcp"
            }
            Self::InsecureUrl { .. } | Self::PrivateAddress { .. } => {
                "do not use this provider; tell its operator, whose metadata names this address"
            }
            Self::Unreachable { .. } => {
                "check the URL and the network; authctl doctor shows the proxy in use"
            }
            Self::TooSlow { .. } => "try again later; authctl doctor shows the proxy in use",
            Self::OtherHost { .. } => "define the provider with the URL that it redirects to",
            Self::WrongIssuer { .. } => {
                "write the issuer exactly as the provider does, with or without a slash at its end"
            }
            Self::WrongResource { .. } => {
                "use the URL of the MCP server exactly as its operator publishes it"
            }
            Self::NoPkce { .. } => {
                "authd signs in with PKCE only; ask the operator to offer S256 in \
                 code_challenge_methods_supported, or, if the provider supports it without saying so, define \
                 the endpoints by name"
            }
            Self::NothingFound { .. } => "check the URL; a server without sign-in needs no authd",
            Self::NoMetadata { .. } => "check the issuer, or define the endpoints by name",
            Self::TooLarge { .. }
            | Self::RedirectLoop { .. }
            | Self::Status { .. }
            | Self::NotJson { .. }
            | Self::Malformed { .. }
            | Self::Missing { .. } => {
                "check the URL; if it is right, tell the operator of the provider, or define the endpoints by \
                 name"
            }
        }
    }

    /// Whether the same check may succeed later without a change.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TooSlow { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }
}
