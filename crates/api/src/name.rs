//! The name of a profile, parsed at every door. It says nothing about whether the profile exists.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A profile's name: `[a-z0-9][a-z0-9._-]{0,63}`.
///
/// It is safe in a file name, a URL path and a shell word as it stands. A clone is the same text in the same place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProfileName(Arc<str>);

/// A text that cannot be a profile's name; its message says what one looks like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a profile name: use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or a digit")]
pub struct NameError;

impl ProfileName {
    /// The longest name, in bytes: with a store's prefix and suffix it still fits a file name.
    pub const MAX: usize = 64;

    /// The profile that a first login gets when none is named.
    pub fn first() -> Self {
        Self("default".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `n`th alternative to a taken name: `work` → `work-2`.
    #[must_use]
    pub fn alternative(&self, n: usize) -> Self {
        let suffix = format!("-{n}");
        let kept = self.0.len().min(Self::MAX - suffix.len());
        Self(format!("{}{suffix}", &self.0[..kept]).into())
    }
}

impl FromStr for ProfileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let mut bytes = text.bytes();
        let starts = bytes.next().is_some_and(letter);
        let goes_on = bytes.all(|b| letter(b) || matches!(b, b'.' | b'_' | b'-'));
        if starts && goes_on && text.len() <= Self::MAX { Ok(Self(text.into())) } else { Err(NameError) }
    }
}

impl TryFrom<String> for ProfileName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ProfileName> for String {
    fn from(name: ProfileName) -> Self {
        name.as_str().to_owned()
    }
}

impl Borrow<str> for ProfileName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_at_the_door() {
        for good in ["default", "w", "0", "work-2", "a.b_c-d", &"x".repeat(64)] {
            assert!(good.parse::<ProfileName>().is_ok(), "{good}");
        }
        for bad in ["", "-", "-a", ".", "..", "Work", "a/b", "a b", "ä", "a\n", "a\0", &"x".repeat(65)] {
            assert!(bad.parse::<ProfileName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_alternative_is_a_name_again_even_at_full_length() {
        let longest: ProfileName = "x".repeat(64).parse().unwrap();
        let next = longest.alternative(12);
        assert_eq!(next.as_str().parse::<ProfileName>().as_ref(), Ok(&next));
        assert_eq!(ProfileName::first().alternative(2).as_str(), "default-2");
    }
}
