//! How much of an account's limits is used.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Problem, ProfileName};

/// The response to `GET /v1/profiles/{profile}/quota`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quota {
    /// The profile.
    pub profile: ProfileName,
    /// The windows: first those of the account itself, then those of single models and features. Of
    /// both, the one with the least left is first; the very first one is the binding one. Empty if
    /// nothing is known.
    pub windows: Vec<QuotaWindow>,
    /// The credits beside the windows, if the provider names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<QuotaCredits>,
    /// Whether a limit of the account itself is reached. Then the provider refuses requests, unless
    /// there are credits. `null` if unknown.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub limit_reached: Option<bool>,
    /// The provider's word for the limit that is reached, for example
    /// `workspace_owner_credits_depleted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reached_type: Option<String>,
    /// When the provider stated the limits of the account itself; `null` if they are not known.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime, required))]
    pub as_of: Option<Timestamp>,
    /// Whether these figures are older than the request allows, or a window has started again
    /// since, and newer ones could not be obtained.
    pub stale: bool,
    /// Why newer figures could not be obtained, or why nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// One limit: a share of what the account may use within a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotaWindow {
    /// The name by length, rounded: `5h`, `7d`. `spending` for a limit of what a user may spend in
    /// a workspace; `unknown` without a length.
    pub window: String,
    /// The length in seconds.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub seconds: Option<u64>,
    /// The limit, if it is not of the account itself: that of a model or a feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The used part, in percent: 0 to 100. `null` if it is not known any more, because the window
    /// has started again since `as_of`.
    #[cfg_attr(feature = "openapi", schema(required, minimum = 0, maximum = 100))]
    pub used_percent: Option<f64>,
    /// When the window starts again, or has started again.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime, required))]
    pub resets_at: Option<Timestamp>,
    /// When the provider stated this window.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub as_of: Timestamp,
}

impl QuotaWindow {
    /// The part that is left, in percent: 0 to 100. `None` if it is not known now.
    pub fn left_percent(&self) -> Option<f64> {
        self.used_percent.map(|used| (100.0 - used).clamp(0.0, 100.0))
    }
}

/// Credits that are used once a window is used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotaCredits {
    /// Whether there are any.
    pub available: bool,
    /// Whether they are unlimited.
    pub unlimited: bool,
    /// The balance, as the provider writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<String>,
}

impl Quota {
    /// The age, in seconds, from which on the daemon requests newer figures, unless a client says
    /// otherwise.
    pub const DEFAULT_MAX_AGE: u64 = 300;

    /// The part that is left of the account's binding limit, in percent; `None` if it is not known
    /// now.
    pub fn left_percent(&self) -> Option<f64> {
        if self.stale {
            return None;
        }
        if self.limit_reached == Some(true) {
            return Some(0.0);
        }
        self.windows.first().filter(|window| window.limit.is_none())?.left_percent()
    }
}
