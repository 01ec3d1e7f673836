//! Secrets as types: what is wrapped the moment it arrives is exposed only where it has to leave. None
//! of them can be printed, serialised or compared. A clone is the same secret in the same place, which is
//! overwritten when the last of them goes.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(Arc<SecretString>);

        impl $name {
            /// Wraps it.
            pub fn new(secret: impl Into<String>) -> Self {
                Self(Arc::new(SecretString::from(secret.into())))
            }

            /// The secret itself; whoever calls this says in a comment where it goes.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
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
    AccessToken
    /// What renews it. It dies on use.
    RefreshToken
    /// Who is signed in, as the provider attests; also the subject token of the API-key exchange.
    IdToken
    /// The credential of the API-key mode.
    ApiKey
    /// What a browser brings back. It is redeemed once.
    AuthorizationCode
}
