//! The messages of shares: one profile through a restricted door.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ProfileName;

/// What the holder of a share may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShareAccess {
    /// Send requests through the relay. The credential never leaves the daemon.
    #[default]
    Relay,
    /// The same, and read ready headers, which contain the access token. Never a refresh token.
    Headers,
}

/// Where the holder of a share connects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShareDoor {
    /// A Unix socket of its own. A program that can reach the socket may use the share.
    #[default]
    Socket,
    /// A TCP port on 127.0.0.1. A program that has the key may use the share.
    Loopback,
}

/// How the relay of a share changes request bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ShareCompat {
    /// Changes the body of a Responses API request so that the ChatGPT backend accepts it.
    Responses,
}

/// The body of `POST /v1/shares`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ShareBody {
    /// The profile to share; the default profile if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// What the holder may do.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(default = ShareAccess::default))]
    pub allow: ShareAccess,
    /// Where the holder connects.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(default = ShareDoor::default))]
    pub door: ShareDoor,
    /// Seconds until the share ends: 1 second to 30 days; if absent, 8 hours, or 30 days for a held
    /// share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 2_592_000))]
    pub ttl: Option<u64>,
    /// Most requests a minute; unlimited if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub rate: Option<u32>,
    /// The paths below the profile's base URL that the relay forwards, each with everything below
    /// it: `responses`, `models`. All paths if empty. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 32))]
    pub paths: Vec<String>,
    /// A note for the list of shares, at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 100))]
    pub label: Option<String>,
    /// How the relay changes request bodies; not at all if absent. Only with the loopback door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compat: Option<ShareCompat>,
    /// Whether the share ends 10 seconds after the last response of `GET /v1/shares/{id}/hold` has
    /// ended, if not before. The first one has the same time to begin, also after a restart of the
    /// daemon.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(default = bool::default))]
    pub held: bool,
}

/// A share. Contains no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Share {
    /// The share's id.
    pub id: String,
    /// The shared profile.
    pub profile: ProfileName,
    /// What the holder may do.
    pub allow: ShareAccess,
    /// Where the holder connects.
    pub door: ShareDoor,
    /// When the share was made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When the share ends.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
    /// Most requests a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// The paths that the relay forwards; all if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// The note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// How the relay changes request bodies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compat: Option<ShareCompat>,
    /// Whether the share ends when nothing holds it.
    #[serde(default)]
    pub held: bool,
    /// The path of the share's socket, if it is a socket share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// The base URL for an OpenAI client, if it is a loopback share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Why the door is closed, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The response to `POST /v1/shares`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreatedShare {
    /// The share.
    #[serde(flatten)]
    pub share: Share,
    /// The key of a loopback share. The daemon stores only its hash and never returns it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl fmt::Debug for CreatedShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedShare").field("share", &self.share).finish_non_exhaustive()
    }
}

/// The response to `GET /v1/shares`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Shares {
    /// All shares, the oldest first.
    pub shares: Vec<Share>,
}
