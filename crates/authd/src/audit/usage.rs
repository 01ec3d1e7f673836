//! One use of a profile.

use std::sync::Arc;

use authd_api::{AuditAction, AuditEntry, Process, ProfileName};
use jiff::Timestamp;

/// Longest path segment that is recorded, in bytes. A longer one may be an identifier or a secret.
const LONGEST_SEGMENT: usize = 32;

/// A use of a profile. Equal uses are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Usage {
    pub(crate) action: AuditAction,
    pub(crate) profile: Option<ProfileName>,
    /// The generation of the credential.
    pub(crate) generation: Option<u64>,
    /// The id of the share.
    pub(crate) share: Option<Arc<str>>,
    /// The id of the login.
    pub(crate) login: Option<Box<str>>,
    /// The first segment of a relayed path.
    pub(crate) path: Option<Box<str>>,
    pub(crate) process: Option<Arc<Process>>,
}

impl Usage {
    /// A use of which only the action is known.
    pub(crate) fn new(action: AuditAction) -> Self {
        Self { action, profile: None, generation: None, share: None, login: None, path: None, process: None }
    }

    /// Sets the profile.
    #[must_use]
    pub(crate) fn of(self, profile: &ProfileName) -> Self {
        Self { profile: Some(profile.clone()), ..self }
    }

    /// The line for this many uses, of which this is the last.
    pub(super) fn entry(&self, count: u64, time: Timestamp, request: Option<u64>) -> AuditEntry {
        AuditEntry {
            time,
            request,
            action: self.action,
            count,
            profile: self.profile.clone(),
            generation: self.generation,
            share: self.share.as_deref().map(str::to_owned),
            login: self.login.as_deref().map(str::to_owned),
            path: self.path.as_deref().map(str::to_owned),
            process: self.process.as_deref().cloned(),
        }
    }
}

/// The first segment of a path below a base URL, if it is short and plain. Others are not recorded:
/// a path can contain a secret.
pub(crate) fn path_segment(path: &str) -> Option<&str> {
    let segment = path.split('/').next()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    ((1..=LONGEST_SEGMENT).contains(&segment.len()) && segment.bytes().all(is_plain)).then_some(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_short_plain_first_segment_is_recorded() {
        for (path, segment) in [
            ("responses", Some("responses")),
            ("chat/completions", Some("chat")),
            ("v1beta.2/x", Some("v1beta.2")),
            (&*"a".repeat(32), Some(&*"a".repeat(32))),
            (&*"a".repeat(33), None),
            ("", None),
            ("/x", None),
            ("files:key=secret", None),
            ("%2e", None),
            ("ä", None),
        ] {
            assert_eq!(path_segment(path), segment, "{path}");
        }
    }
}
