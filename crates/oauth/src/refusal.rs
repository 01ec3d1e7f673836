//! What an error code means as the answer of a defined provider to a certain request, and what a
//! user can do about it.

use std::{borrow::Cow, fmt};

use self::OauthRequest::{
    Authorize, Exchange, PollDevice, PushAuthorization, Refresh, Register, Revoke, StartDevice,
};
use crate::ErrorCode;

/// A request to a defined provider. The same code means different things in the answers to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OauthRequest {
    /// The authorization request, answered by a redirect (RFC 6749, section 4.1.2.1; `OpenID`
    /// Connect Core, section 3.1.2.6).
    Authorize,
    /// The pushed authorization request (RFC 9126, section 2.3).
    PushAuthorization,
    /// The exchange of an authorization code (RFC 6749, section 5.2).
    Exchange,
    /// The start of a device login (RFC 8628, section 3.2).
    StartDevice,
    /// A poll of a device login (RFC 8628, section 3.5).
    PollDevice,
    /// The registration of a client (RFC 7591, section 3.2.2).
    Register,
    /// A refresh (RFC 6749, section 5.2).
    Refresh,
    /// The revocation of a grant (RFC 7009, section 2.2.1).
    Revoke,
}

/// The answer of a defined provider that refuses a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The request.
    pub request: OauthRequest,
    /// The code of the answer.
    pub code: ErrorCode,
}

const AGAIN: &str = "start a new login: authctl login --provider NAME";
const LATER: &str = "try again in a few minutes";
const CLIENT: &str = "check client_id, client_secret_file and client_auth in the provider's definition, and \
                      that the client still exists at the provider";
const DEFINITION: &str = "compare the definition with what the provider offers: authctl providers check NAME";
const CODE_GRANT: &str = "allow the authorization code grant for this client at the provider";
const DEVICE_GRANT: &str = "allow the device flow for this client at the provider, or sign in with a browser: \
                            authctl login --provider NAME";
const REFRESH_GRANT: &str = "allow the refresh token grant for this client at the provider";
const SCOPES: &str = "check scopes in the provider's definition, and --scope; for those that the provider \
                      lists: authctl providers check NAME";
const RESOURCE: &str = "check resource in the provider's definition";
const REDIRECT: &str = "register the redirect URI for this client at the provider, or set redirect_uri in the \
                        provider's definition";
const PARAMETERS: &str =
    "check redirect_uri, scopes, resource and authorize_params in the provider's definition";
const NO_PROMPT: &str = "remove prompt from authorize_params in the provider's definition";
const NO_REQUEST: &str =
    "remove request, request_uri and registration from authorize_params in the provider's definition";
const OWN_CLIENT: &str = "register a client at the provider and set client_id in its definition; for an MCP \
                          server: authctl mcp add NAME URL --client-id ID";
const LOCAL_LOGOUT: &str = "delete the token at the provider, then here: authctl logout";

impl Refusal {
    /// What the code means, and the code itself, as a clause for the end of a message.
    pub fn explained(&self) -> Cow<'_, str> {
        match self.meaning() {
            Some((sentence, _)) => format!("{sentence} ({})", self.code).into(),
            None => self.code.explained(),
        }
    }

    /// What a user can do.
    pub fn remedy(&self) -> Option<&'static str> {
        self.meaning().map(|(_, remedy)| remedy)
    }

    /// The meaning and the remedy of each code of the standards, and of those that GitHub and
    /// Google use in their place.
    fn meaning(&self) -> Option<(&'static str, &'static str)> {
        Some(match (self.code.as_str(), self.request) {
            ("invalid_request", Authorize | PushAuthorization) => {
                ("the provider calls a parameter of the sign-in missing or invalid", PARAMETERS)
            }
            ("invalid_request", _) => ("the provider calls the request incomplete or invalid", DEFINITION),
            ("invalid_client" | "incorrect_client_credentials", _) => {
                ("the provider does not know the client, or rejects its secret", CLIENT)
            }
            (
                "unauthorized_client" | "unsupported_grant_type" | "device_flow_disabled",
                StartDevice | PollDevice,
            ) => ("the provider has no device flow for this client", DEVICE_GRANT),
            ("unauthorized_client" | "unsupported_grant_type", Refresh) => {
                ("the provider does not let this client refresh tokens", REFRESH_GRANT)
            }
            ("unauthorized_client" | "unsupported_grant_type" | "unsupported_response_type", _) => {
                ("the provider has no sign-in with an authorization code for this client", CODE_GRANT)
            }
            ("access_denied" | "invalid_token", Register) => {
                ("the provider registers no client without a token of its own", OWN_CLIENT)
            }
            ("access_denied", _) => ("the user or a rule of the provider denied the sign-in", AGAIN),
            ("invalid_scope", Refresh) => ("the provider does not grant the scopes any more", AGAIN),
            ("invalid_scope", _) => ("the provider does not know a scope, or does not allow it", SCOPES),
            ("invalid_target", _) => ("the provider issues no tokens for this resource", RESOURCE),
            ("server_error", _) => ("the provider has an error of its own", LATER),
            ("temporarily_unavailable", _) => ("the provider is overloaded or under maintenance", LATER),
            ("invalid_grant" | "bad_verification_code", Exchange) => (
                "the authorization code has expired, was used before, or belongs to another client or redirect URI",
                AGAIN,
            ),
            ("invalid_grant" | "incorrect_device_code" | "expired_token", PollDevice) => {
                ("the code of the device login has expired or was used before", AGAIN)
            }
            ("invalid_grant" | "bad_refresh_token", Refresh) => {
                ("the refresh token has expired, was revoked, or belongs to another client", AGAIN)
            }
            ("authorization_pending", PollDevice) => ("the user has not finished the sign-in", AGAIN),
            ("slow_down", PollDevice) => ("the provider demands a longer pause between polls", LATER),
            ("invalid_redirect_uri", Register) => {
                ("the provider registers no client with this redirect URI", OWN_CLIENT)
            }
            ("redirect_uri_mismatch" | "invalid_redirect_uri", _) => {
                ("the redirect URI is not registered for this client", REDIRECT)
            }
            ("invalid_client_metadata", Register) => {
                ("the provider registers no client of this kind", OWN_CLIENT)
            }
            ("invalid_software_statement" | "unapproved_software_statement", Register) => {
                ("the provider registers approved software only", OWN_CLIENT)
            }
            (
                "interaction_required" | "login_required" | "account_selection_required" | "consent_required",
                Authorize,
            ) => ("the provider has to ask the user, which the request forbids", NO_PROMPT),
            ("invalid_request_uri", Authorize) => {
                ("the provider's reference to the sign-in's parameters is not valid any more", AGAIN)
            }
            (
                "invalid_request_object"
                | "request_not_supported"
                | "request_uri_not_supported"
                | "registration_not_supported",
                Authorize | PushAuthorization,
            ) => ("the provider accepts no request object", NO_REQUEST),
            ("unsupported_token_type", Revoke) => {
                ("the provider does not revoke tokens of this kind", LOCAL_LOGOUT)
            }
            _ => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.explained())
    }
}
