//! The name of a record. It is safe as a file name and as a keychain's user name.

use std::fmt;

/// The kinds of records that [`Key::parse`] accepts.
const KINDS: [&str; 5] = [PROFILE, LOGIN, CODEX, CLIENT, PROBE];
pub(crate) const PROFILE: &str = "profile";
pub(crate) const LOGIN: &str = "login";
const CODEX: &str = "codex";
pub(crate) const CLIENT: &str = "client";
const PROBE: &str = "probe";
const FOREIGN: &str = "";

/// The key of one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

impl Key {
    /// The key of a profile.
    pub fn profile(name: &str) -> Self {
        Self { kind: PROFILE, name: name.to_owned() }
    }

    /// The key of a pending login.
    pub fn login(id: &str) -> Self {
        Self { kind: LOGIN, name: id.to_owned() }
    }

    /// The key of the login that a Codex home held before authd managed it.
    pub fn codex(home: &str) -> Self {
        Self { kind: CODEX, name: home.to_owned() }
    }

    /// The key of an OAuth client that a server has registered.
    pub fn client(digest: &str) -> Self {
        Self { kind: CLIENT, name: digest.to_owned() }
    }

    /// The key of another program's keychain item, exactly as that program writes it.
    pub fn foreign(user: String) -> Self {
        Self { kind: FOREIGN, name: user }
    }

    pub(crate) fn probe() -> Self {
        Self { kind: PROBE, name: PROBE.to_owned() }
    }

    /// Parses the output of [`fmt::Display`]. Returns `None` for a foreign key.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once('.')?;
        let kind = KINDS.into_iter().find(|known| *known == kind)?;
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let is_name = (1..=100).contains(&name.len()) && name.bytes().all(is_allowed);
        is_name.then(|| Self { kind, name: name.to_owned() })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FOREIGN => f.write_str(&self.name),
            kind => write!(f, "{kind}.{}", self.name),
        }
    }
}
