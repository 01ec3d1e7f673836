//! How grants are renewed, as data: the rules of a session depend on these facts, not on a mode.

use super::GrantSecrets;

/// The facts about a grant that decide how it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RenewalPolicy {
    /// The access token is the credential. Otherwise the tokens renew an API key.
    pub(crate) token_is_credential: bool,
    /// The access token states when it expires. Otherwise it is opaque.
    pub(crate) token_states_expiry: bool,
    /// A refused refresh token ends the grant only if its credential is useless, too: expired, or
    /// rejected by an upstream. Providers have been seen to refuse a valid one for a while.
    pub(crate) doubts_early_refusal: bool,
    /// A credential that nothing renews is not used any more after repeated rejections.
    pub(crate) ends_by_rejections: bool,
}

impl RenewalPolicy {
    /// The policy of these secrets.
    pub(crate) fn of(secrets: &GrantSecrets) -> Self {
        let built_in = Self {
            token_is_credential: true,
            token_states_expiry: true,
            doubts_early_refusal: false,
            ends_by_rejections: false,
        };
        match secrets {
            // Only a personal access token has no refresh token.
            GrantSecrets::ChatGpt(..) => Self { ends_by_rejections: true, ..built_in },
            GrantSecrets::ApiKey(..) => Self { token_is_credential: false, ..built_in },
            GrantSecrets::Bearer(_) => Self {
                token_is_credential: true,
                token_states_expiry: false,
                doubts_early_refusal: true,
                ends_by_rejections: true,
            },
        }
    }
}
