//! Secrets as types: what is wrapped the moment it arrives is exposed only where it has to leave. None
//! of them can be printed, serialised or compared. A clone is the same secret in the same place, which is
//! overwritten when the last of them goes.

use std::sync::Arc;

use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use sha2::{Digest, Sha256};

use crate::Mode;

/// The scheme of a bearer's header (RFC 6750, section 2.1).
const SCHEME: &str = "Bearer ";

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident($place:ident))*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name($place);

        impl $name {
            /// Wraps it.
            pub fn new(secret: impl Into<String>) -> Self {
                Self($place::new(secret.into()))
            }

            /// The secret itself; whoever calls this says in a comment where it goes.
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
    /// The credential of the ChatGPT mode.
    AccessToken(Header)
    /// What renews it. It dies on use.
    RefreshToken(Text)
    /// Who is signed in, as the provider attests; also the subject token of the API-key exchange.
    IdToken(Text)
    /// The credential of the API-key mode.
    ApiKey(Header)
    /// What a browser brings back. It is redeemed once.
    AuthorizationCode(Text)
}

impl RefreshToken {
    /// Tells two tokens apart without saying either: half a SHA-256, as hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let hash = Sha256::digest(self.expose().as_bytes());
        hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A secret for the `Authorization` header.
#[derive(Clone, Debug)]
pub enum Bearer {
    /// ChatGPT mode.
    Access(AccessToken),
    /// API-key mode.
    Key(ApiKey),
}

impl Bearer {
    /// The mode this is the credential of.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Access(_) => Mode::ChatGpt,
            Self::Key(_) => Mode::ApiKey,
        }
    }

    /// The secret itself; whoever calls this says in a comment where it goes.
    pub fn expose(&self) -> &str {
        self.header().expose()
    }

    /// The header's value, in the place where the secret is: no copy of it. As above.
    pub fn authorization(&self) -> Bytes {
        self.header().0.clone()
    }

    fn header(&self) -> &Header {
        match self {
            Self::Access(AccessToken(header)) | Self::Key(ApiKey(header)) => header,
        }
    }
}

/// A secret as it came.
#[derive(Clone)]
struct Text(Arc<SecretString>);

impl Text {
    fn new(secret: String) -> Self {
        Self(Arc::new(SecretString::from(secret)))
    }

    fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A secret as it is sent, behind the name of its scheme.
#[derive(Clone)]
struct Header(Bytes);

impl Header {
    fn new(secret: String) -> Self {
        let secret = Zeroizing::new(secret);
        // In a place of just its size: one that grows leaves a piece behind that nobody overwrites.
        let mut text = Zeroizing::new(String::with_capacity(SCHEME.len() + secret.len()));
        text.push_str(SCHEME);
        text.push_str(&secret);
        Self(Bytes::from_owner(text))
    }

    fn expose(&self) -> &str {
        std::str::from_utf8(&self.0[SCHEME.len()..]).expect("it was made of text")
    }
}
