//! Plans and modes. The provider's set of plans is open: an unknown plan is kept unchanged.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The user's plan, as the provider names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan(Box<str>);

/// The kind of a profile's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// An access token, for the ChatGPT backend.
    #[serde(rename = "chatgpt")]
    ChatGpt,
    /// An API key, for the public API.
    ApiKey,
    /// An access token of a defined provider.
    Bearer,
}

/// The user's choice of mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModePreference {
    /// The mode that suits the account.
    #[default]
    Auto,
    /// ChatGPT mode only.
    #[serde(rename = "chatgpt")]
    ChatGpt,
    /// API-key mode only.
    ApiKey,
}

/// The personal plans, and `team`, whose members use ChatGPT in the same way.
const PERSONAL: [&str; 6] = ["free", "go", "plus", "pro", "prolite", "team"];

impl Plan {
    /// A plan of this name.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self(name.into())
    }

    /// The name to show: the provider's display name for a known plan, else the plan itself.
    pub fn display_name(&self) -> &str {
        self.known().unwrap_or(&self.0)
    }

    /// Whether it is a personal plan; letter case does not matter.
    pub fn is_personal(&self) -> bool {
        PERSONAL.contains(&self.key().as_str())
    }

    /// The provider's display name of a known plan (protocol.md, section 5).
    pub fn known(&self) -> Option<&'static str> {
        Some(match self.key().as_str() {
            "free" => "Free",
            "go" => "Go",
            "plus" => "Plus",
            "pro" => "Pro",
            "prolite" => "Pro Lite",
            "team" => "Team",
            "self_serve_business_prolite" => "Self Serve Business ProLite",
            "self_serve_business_usage_based" => "Self Serve Business Usage Based",
            "business" => "Business",
            "ent26" | "enterprise" | "hc" => "Enterprise",
            "enterprise_cbp_automation" => "Enterprise (Automation)",
            "enterprise_cbp_usage_based" => "Enterprise CBP Usage Based",
            "edu" | "education" => "Edu",
            _ => return None,
        })
    }

    fn key(&self) -> String {
        self.0.trim().to_ascii_lowercase()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChatGpt => "chatgpt",
            Self::ApiKey => "api-key",
            Self::Bearer => "bearer",
        })
    }
}
