//! The choice of mode for a new sign-in.

use crate::{ErrorCode, Identity, ModePreference};

/// The mode of a new sign-in, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Use the access token; request no API key.
    ChatGpt {
        /// The reason.
        reason: String,
    },
    /// Exchange the id token for an API key.
    TryApiKey {
        /// The reason, if the exchange succeeds.
        reason: String,
        /// Whether to use the access token if the provider rejects the exchange.
        fallback: bool,
    },
}

/// Decides the mode by the preference, then by the e-mail address, then by the plan.
pub fn decide(preference: ModePreference, identity: &Identity) -> Decision {
    let chatgpt = |reason: &str| Decision::ChatGpt { reason: reason.to_owned() };
    let try_api_key = |reason: &str, fallback| Decision::TryApiKey { reason: reason.to_owned(), fallback };
    match preference {
        ModePreference::ChatGpt => return chatgpt("ChatGPT mode was requested"),
        ModePreference::ApiKey => return try_api_key("API-key mode was requested", false),
        ModePreference::Auto => {}
    }
    let email = identity.email.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
    if email.ends_with("@openai.com") {
        return chatgpt("the e-mail address is OpenAI's own");
    }
    match &identity.plan {
        Some(plan) if plan.is_personal() => chatgpt(&format!("plan {plan} is personal")),
        Some(plan) if plan.known().is_some() => try_api_key(&format!("plan {plan} is a business plan"), true),
        Some(plan) => try_api_key(&format!("plan {plan} is not known to be personal"), true),
        None => try_api_key("the account names no plan", true),
    }
}

/// The reason for ChatGPT mode after a rejected API-key exchange.
pub fn no_key_reason(code: &ErrorCode) -> String {
    format!("the provider issued no API key: {}", code.sentence())
}
