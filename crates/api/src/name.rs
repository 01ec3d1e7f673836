//! The name of a profile. A valid name does not mean that the profile exists.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A profile's name: `[a-z0-9][a-z0-9._-]{0,63}`.
///
/// It needs no escaping in a file name, a URL path or a shell word. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(
    feature = "openapi",
    schema(description = "A profile's name.", value_type = String, pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")
)]
pub struct ProfileName(Arc<str>);

/// The text is not a valid profile name. The message describes valid names.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a profile name: use 1 to 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or a digit")]
pub struct NameError;

impl ProfileName {
    /// The longest name, in bytes. With a store's prefix and suffix it still fits into a file name.
    pub const MAX: usize = 64;

    /// The name of the profile that a login without a name creates.
    pub fn first() -> Self {
        Self("default".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The `n`th alternative to a name that is in use: `work` → `work-2`.
    #[must_use]
    pub fn alternative(&self, n: usize) -> Self {
        let suffix = format!("-{n}");
        let length = self.0.len().min(Self::MAX - suffix.len());
        Self(format!("{}{suffix}", &self.0[..length]).into())
    }
}

impl FromStr for ProfileName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let is_valid = text.len() <= Self::MAX
            && text.bytes().next().is_some_and(is_alphanumeric)
            && text.bytes().all(|b| is_alphanumeric(b) || matches!(b, b'.' | b'_' | b'-'));
        if is_valid { Ok(Self(text.into())) } else { Err(NameError) }
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
    fn parse_accepts_valid_names_only() {
        for valid in ["default", "w", "0", "work-2", "a.b_c-d", &"x".repeat(64)] {
            assert!(valid.parse::<ProfileName>().is_ok(), "{valid}");
        }
        for invalid in ["", "-", "-a", ".", "..", "Work", "a/b", "a b", "ä", "a\n", "a\0", &"x".repeat(65)] {
            assert!(invalid.parse::<ProfileName>().is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn alternative_to_a_longest_name_is_a_valid_name() {
        let longest: ProfileName = "x".repeat(64).parse().unwrap();
        let next = longest.alternative(12);
        assert_eq!(next.as_str().parse::<ProfileName>().as_ref(), Ok(&next));
        assert_eq!(ProfileName::first().alternative(2).as_str(), "default-2");
    }
}
