//! The name of a record, safe as a file name and as a keychain's user name.

use std::fmt;

/// The key of one record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    kind: Kind,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Profile,
    Login,
    Codex,
    Foreign,
    Probe,
}

impl Key {
    /// A profile's key.
    pub fn profile(name: &str) -> Self {
        Self { kind: Kind::Profile, name: name.to_owned() }
    }

    /// A pending login's key.
    pub fn login(id: &str) -> Self {
        Self { kind: Kind::Login, name: id.to_owned() }
    }

    /// The key of the login that a Codex home held before authd supplied it.
    pub fn codex(home: &str) -> Self {
        Self { kind: Kind::Codex, name: home.to_owned() }
    }

    /// The key of another program's item in the keychain, as that program writes it.
    pub fn foreign(user: String) -> Self {
        Self { kind: Kind::Foreign, name: user }
    }

    pub(crate) fn probe() -> Self {
        Self { kind: Kind::Probe, name: "probe".to_owned() }
    }

    /// The profile's name, if this is a profile's key.
    pub fn profile_name(&self) -> Option<&str> {
        (self.kind == Kind::Profile).then_some(self.name.as_str())
    }

    /// The login's id, if this is a login's key.
    pub fn login_id(&self) -> Option<&str> {
        (self.kind == Kind::Login).then_some(self.name.as_str())
    }

    /// The key that [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once('.')?;
        let kind = match kind {
            "profile" => Kind::Profile,
            "login" => Kind::Login,
            "codex" => Kind::Codex,
            "probe" => Kind::Probe,
            _ => return None,
        };
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let is_name = (1..=100).contains(&name.len()) && name.bytes().all(fits);
        is_name.then(|| Self { kind, name: name.to_owned() })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Profile => "profile",
            Kind::Login => "login",
            Kind::Codex => "codex",
            Kind::Foreign => return f.write_str(&self.name),
            Kind::Probe => "probe",
        };
        write!(f, "{kind}.{}", self.name)
    }
}
