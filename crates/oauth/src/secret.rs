//! Secrets as types. A secret cannot be printed, serialized or compared. A clone shares the memory
//! of the original, which is overwritten when the last clone is dropped.

use std::sync::Arc;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use sha2::{Digest, Sha256};

use crate::{Mode, digest};

/// The usual scheme of the `Authorization` header (RFC 6750, section 2.1).
const SCHEME: &str = "Bearer";

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident($storage:ident))*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name($storage);

        impl $name {
            /// Wraps the secret.
            pub fn new(secret: impl Into<String>) -> Self {
                Self($storage::from(secret.into()))
            }

            /// The secret itself. A comment at the call says where it goes.
            pub fn expose(&self) -> &str {
                self.0.expose()
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }
    )*};
}

secrets! {
    /// An access token: the credential of ChatGPT mode and of bearer mode.
    AccessToken(HeaderSecret)
    /// A refresh token. The provider accepts it once.
    RefreshToken(TextSecret)
    /// An id token: it attests the user, and is the subject token of the API-key exchange.
    IdToken(TextSecret)
    /// An API key: the credential of API-key mode.
    ApiKey(HeaderSecret)
    /// An authorization code from a callback. The provider accepts it once.
    AuthorizationCode(TextSecret)
    /// The secret of a client (RFC 6749, section 2.3.1).
    ClientSecret(TextSecret)
    /// A device code (RFC 8628, section 3.2).
    DeviceCode(TextSecret)
}

impl From<AccessToken> for ApiKey {
    /// A token exchange issues the key in the field of an access token (RFC 8693, section 2.2.1).
    fn from(AccessToken(secret): AccessToken) -> Self {
        Self(secret)
    }
}

impl AccessToken {
    /// The same token with another scheme in the `Authorization` header.
    #[must_use]
    pub fn with_scheme(&self, scheme: &str) -> Self {
        Self(HeaderSecret::new(scheme, self.expose().to_owned()))
    }

    /// The scheme of the `Authorization` header.
    pub fn scheme(&self) -> &str {
        self.0.scheme()
    }
}

impl RefreshToken {
    /// Distinguishes tokens without revealing them: half a SHA-256, as hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        digest::hex(digest::truncated(Sha256::new_with_prefix(self.expose())))
    }
}

/// A secret for the `Authorization` header.
#[derive(Clone, Debug)]
pub enum Bearer {
    /// ChatGPT mode.
    Access(AccessToken),
    /// API-key mode.
    Key(ApiKey),
    /// Bearer mode: the access token of a defined provider.
    Token(AccessToken),
}

impl Bearer {
    /// The mode of this credential.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Access(_) => Mode::ChatGpt,
            Self::Key(_) => Mode::ApiKey,
            Self::Token(_) => Mode::Bearer,
        }
    }

    /// Whether both are the same secret.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }

    /// The secret itself. A comment at the call says where it goes.
    pub fn expose(&self) -> &str {
        self.header().expose()
    }

    /// The value of the `Authorization` header, which shares the memory of the secret.
    pub fn authorization(&self) -> Bytes {
        self.header().0.clone()
    }

    fn header(&self) -> &HeaderSecret {
        match self {
            Self::Access(AccessToken(header))
            | Self::Key(ApiKey(header))
            | Self::Token(AccessToken(header)) => header,
        }
    }
}

/// The text of a secret.
#[derive(Clone)]
struct TextSecret(Arc<SecretString>);

impl From<String> for TextSecret {
    fn from(secret: String) -> Self {
        Self(Arc::new(SecretString::from(secret)))
    }
}

impl TextSecret {
    fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// The text of a secret after the name of its scheme and a space, as it is sent.
#[derive(Clone)]
struct HeaderSecret(Bytes);

impl From<String> for HeaderSecret {
    fn from(secret: String) -> Self {
        Self::new(SCHEME, secret)
    }
}

impl HeaderSecret {
    fn new(scheme: &str, secret: String) -> Self {
        let secret = Zeroizing::new(secret);
        // Allocate the final size: a buffer that grows leaves a copy behind that is never
        // overwritten.
        let mut text = Zeroizing::new(String::with_capacity(scheme.len() + 1 + secret.len()));
        text.push_str(scheme);
        text.push(' ');
        text.push_str(&secret);
        Self(Bytes::from_owner(text))
    }

    /// The scheme, and the secret after the space. No scheme contains one.
    fn parts(&self) -> (&str, &str) {
        let text = std::str::from_utf8(&self.0).expect("it was made of text");
        text.split_once(' ').expect("it was made with a space")
    }

    fn scheme(&self) -> &str {
        self.parts().0
    }

    fn expose(&self) -> &str {
        self.parts().1
    }
}
