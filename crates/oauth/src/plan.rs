//! Plans, modes, and which plan gets which mode. The provider's set of plans is open: an unknown one is
//! kept as it came.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Code, Identity};

/// A plan, as the provider names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plan(Box<str>);

/// The credential a profile uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The access token, for the ChatGPT backend.
    #[serde(rename = "chatgpt")]
    ChatGpt,
    /// An API key, for the public API.
    ApiKey,
}

/// Which mode is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModePreference {
    /// Whatever suits the account.
    #[default]
    Auto,
    /// The ChatGPT mode, and no other.
    #[serde(rename = "chatgpt")]
    ChatGpt,
    /// The API-key mode, and no other.
    ApiKey,
}

/// What to do about the mode of a fresh sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Use the access token; no API key is asked for.
    ChatGpt {
        /// Why.
        reason: String,
    },
    /// Exchange the id token for an API key.
    TryApiKey {
        /// Why, if the exchange yields one.
        reason: String,
        /// Whether the access token will do, if the provider refuses.
        fallback: bool,
    },
}

/// The plans that people have for themselves, and `team`, whose members use ChatGPT as they do.
const PERSONAL: [&str; 6] = ["free", "go", "plus", "pro", "prolite", "team"];

/// Decides the mode, in this order: what was wished for, whose e-mail it is, which plan it is.
pub fn decide(wish: ModePreference, identity: &Identity) -> Decision {
    match wish {
        ModePreference::ChatGpt => {
            return Decision::ChatGpt { reason: "ChatGPT mode was asked for".to_owned() };
        }
        ModePreference::ApiKey => {
            return Decision::TryApiKey { reason: "API-key mode was asked for".to_owned(), fallback: false };
        }
        ModePreference::Auto => {}
    }
    let email = identity.email.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
    if email.ends_with("@openai.com") {
        return Decision::ChatGpt { reason: "the e-mail address is OpenAI's own".to_owned() };
    }
    match &identity.plan {
        Some(plan) if plan.is_personal() => Decision::ChatGpt { reason: format!("plan {plan} is personal") },
        Some(plan) if plan.known().is_some() => {
            Decision::TryApiKey { reason: format!("plan {plan} is a business plan"), fallback: true }
        }
        Some(plan) => {
            Decision::TryApiKey { reason: format!("plan {plan} is not known to be personal"), fallback: true }
        }
        None => Decision::TryApiKey { reason: "the account names no plan".to_owned(), fallback: true },
    }
}

/// Why it is ChatGPT mode although an API key was asked for first.
pub fn no_key_reason(code: &Code) -> String {
    format!("the provider gave no API key: {}", code.sentence())
}

impl Plan {
    /// A plan, as it came.
    pub fn new(name: impl Into<Box<str>>) -> Self {
        Self(name.into())
    }

    /// The name shown to people: the provider's own for a known plan, else the plan as it came.
    pub fn display_name(&self) -> &str {
        self.known().unwrap_or(&self.0)
    }

    /// Whether it is a personal plan, in any case of letters.
    pub fn is_personal(&self) -> bool {
        PERSONAL.contains(&self.key().as_str())
    }

    /// The provider's name for it, if it is known (protocol.md, section 5).
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
        })
    }
}
