//! The identity of a user at a defined provider: from the id token, else from the userinfo
//! endpoint.

use serde::Deserialize;

use crate::{Authority, IdToken, Identity, claims::InvalidIdToken, claims::claims_of};

/// Longest claim that is used, in bytes: that of a user id (`OpenID` Connect Core, section 2).
const MAX_CLAIM: usize = 255;

/// An id token that does not belong to the sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// It cannot be parsed.
    #[error("the id token cannot be parsed")]
    Invalid,
    /// Another issuer made it.
    #[error("the id token is of another issuer")]
    OtherIssuer,
    /// It was made for another client.
    #[error("the id token is for another client")]
    OtherClient,
}

impl From<InvalidIdToken> for IdTokenError {
    fn from(InvalidIdToken: InvalidIdToken) -> Self {
        Self::Invalid
    }
}

#[derive(Deserialize)]
struct UserClaims {
    iss: Option<String>,
    aud: Option<Audience>,
    sub: Option<String>,
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// The identity in the id token of a sign-in. The issuer and the audience must be those of the
/// sign-in (`OpenID` Connect Core, section 3.1.3.7).
pub fn identity_of_id_token(token: &IdToken, authority: &Authority) -> Result<Identity, IdTokenError> {
    let claims: UserClaims = claims_of(token)?;
    if let (Some(expected), Some(issuer)) = (&authority.issuer, &claims.iss)
        && issuer != expected
    {
        return Err(IdTokenError::OtherIssuer);
    }
    let is_ours = match &claims.aud {
        None => true,
        Some(Audience::One(audience)) => *audience == authority.client.id,
        Some(Audience::Many(all)) => all.contains(&authority.client.id),
    };
    if is_ours { Ok(identity(claims, authority)) } else { Err(IdTokenError::OtherClient) }
}

/// The identity in a userinfo response (`OpenID` Connect Core, section 5.3.2). None if it has no
/// user.
pub(crate) fn identity_of_userinfo(body: &[u8], authority: &Authority) -> Option<Identity> {
    let claims: UserClaims = serde_json::from_slice(body).ok()?;
    claims.sub.is_some().then(|| identity(claims, authority))
}

fn identity(claims: UserClaims, authority: &Authority) -> Identity {
    // Claims are shown on terminals, where a control character is an injection.
    let printable = |claim: Option<String>| {
        let is_printable = |text: &String| {
            !text.trim().is_empty() && text.len() <= MAX_CLAIM && !text.contains(char::is_control)
        };
        claim.filter(is_printable).map(String::into_boxed_str)
    };
    Identity {
        email: printable(claims.email),
        user_id: printable(claims.sub),
        realm: Some(authority.realm()),
        ..Identity::default()
    }
}
