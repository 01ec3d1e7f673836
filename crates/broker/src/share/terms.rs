//! The terms of a share: whose account, what, where and how long.

use std::time::Duration;

use authd_api::{ProfileName, ShareAccess, ShareBody, ShareCompat, ShareDoor};
use authd_oauth::schedule::later;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{error::ShareError, paths};

/// Lifetime of a share without `ttl` that is not held.
const LIFETIME: Duration = Duration::from_secs(8 * 60 * 60);

/// Longest lifetime. A held share without `ttl` has it, because its holder ends it.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Most allowed paths, and the longest, in bytes.
const PATHS: (usize, usize) = (32, 200);

/// Longest label, in characters.
const LABEL: usize = 100;

/// The terms of a share. Only a rename of the profile changes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareTerms {
    /// The shared profile.
    pub profile: ProfileName,
    /// The fingerprint of the shared account. The share gives no access to another account that
    /// later has the profile's name.
    pub account: Box<str>,
    /// What the holder may do.
    pub allow: ShareAccess,
    /// Where the holder connects.
    pub door: ShareDoor,
    /// The port of a loopback share.
    pub port: Option<u16>,
    /// When the share was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Most requests a minute.
    pub rate: Option<u32>,
    /// The allowed paths; all if empty.
    pub paths: Box<[Box<str>]>,
    /// A note of the user.
    pub label: Option<Box<str>>,
    /// How the relay changes request bodies.
    pub compat: Option<ShareCompat>,
    /// Whether the share ends when nothing holds it.
    #[serde(default)]
    pub held: bool,
}

impl ShareTerms {
    /// Checks a request for a share. `port` is the port of the loopback listener.
    pub(super) fn new(
        body: &ShareBody,
        profile: ProfileName,
        account: Box<str>,
        port: Option<u16>,
        now: Timestamp,
    ) -> Result<Self, ShareError> {
        let invalid = |field, reason| ShareError::Invalid { field, reason };
        let ttl = body.ttl.map_or(if body.held { LONGEST } else { LIFETIME }, Duration::from_secs);
        if ttl.is_zero() || ttl > LONGEST {
            return Err(invalid("ttl", "a share lasts 1 second to 30 days"));
        }
        if body.rate == Some(0) {
            return Err(invalid("rate", "a share allows at least one request a minute"));
        }
        if body.paths.len() > PATHS.0 || body.paths.iter().any(|path| path.len() > PATHS.1) {
            return Err(invalid("paths", "a share has at most 32 paths of at most 200 characters"));
        }
        let paths = body.paths.iter().map(|path| paths::parse(path)).collect::<Option<_>>();
        let paths = paths.ok_or(invalid(
            "paths",
            "a path looks like \"responses\"; it has no query and nothing encoded",
        ))?;
        let is_label = |label: &&String| label.chars().count() <= LABEL && !label.contains(char::is_control);
        if body.label.iter().any(|label| !is_label(&label)) {
            return Err(invalid("label", "a label has at most 100 characters and is one line"));
        }
        if body.compat.is_some() && body.door != ShareDoor::Loopback {
            return Err(invalid("compat", "only a share with the loopback door changes requests"));
        }
        Ok(Self {
            profile,
            account,
            allow: body.allow,
            door: body.door,
            port: port.filter(|_| body.door == ShareDoor::Loopback),
            created_at: now,
            expires_at: later(now, ttl),
            rate: body.rate,
            paths,
            label: body.label.as_deref().map(Into::into),
            compat: body.compat,
            held: body.held,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(body: &ShareBody) -> Result<ShareTerms, ShareError> {
        ShareTerms::new(body, ProfileName::first(), "A".into(), Some(1), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn share_lasts_eight_hours_by_default() {
        let terms = terms(&ShareBody::default()).unwrap();
        assert_eq!(terms.expires_at.as_second(), 8 * 3600);
        assert_eq!((terms.allow, terms.door, terms.port), (ShareAccess::Relay, ShareDoor::Socket, None));
    }

    #[test]
    fn held_share_lasts_as_long_as_possible_by_default() {
        let terms_of = |ttl| terms(&ShareBody { held: true, ttl, ..ShareBody::default() }).unwrap();
        assert_eq!(terms_of(None).expires_at.as_second(), 30 * 86_400);
        assert_eq!(terms_of(Some(60)).expires_at.as_second(), 60);
    }

    #[test]
    fn share_of_an_older_list_is_not_held() {
        let mut stored = serde_json::to_value(terms(&ShareBody::default()).unwrap()).unwrap();
        stored.as_object_mut().unwrap().remove("held").unwrap();
        assert!(!serde_json::from_value::<ShareTerms>(stored).unwrap().held);
    }

    #[test]
    fn values_out_of_range_are_named() {
        let body = ShareBody::default;
        let cases = [
            ("ttl", ShareBody { ttl: Some(0), ..body() }),
            ("ttl", ShareBody { ttl: Some(30 * 86_400 + 1), ..body() }),
            ("ttl", ShareBody { ttl: Some(u64::MAX), ..body() }),
            ("rate", ShareBody { rate: Some(0), ..body() }),
            ("paths", ShareBody { paths: vec!["a/../b".into()], ..body() }),
            ("paths", ShareBody { paths: vec!["a".into(); 33], ..body() }),
            ("label", ShareBody { label: Some("a\nb".into()), ..body() }),
            ("label", ShareBody { label: Some("x".repeat(101)), ..body() }),
            ("compat", ShareBody { compat: Some(ShareCompat::Responses), ..body() }),
        ];
        for (expected, body) in cases {
            let error = terms(&body).unwrap_err();
            assert!(matches!(error, ShareError::Invalid { field, .. } if field == expected), "{body:?}");
        }
    }
}
