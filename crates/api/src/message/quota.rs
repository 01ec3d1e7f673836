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
    /// The windows, the binding one first: the one with the least left. Empty if nothing is known.
    pub windows: Vec<QuotaWindow>,
    /// The credits beside the windows, if the provider names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<QuotaCredits>,
    /// Whether a limit is reached, so that the provider refuses requests; `null` if unknown.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub limit_reached: Option<bool>,
    /// When the provider said so; `null` if nothing is known.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime, required))]
    pub as_of: Option<Timestamp>,
    /// Whether these figures are older than the request allows, because newer ones could not be
    /// obtained.
    pub stale: bool,
    /// Why newer figures could not be obtained, or why nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// One limit: a share of what the account may use within a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotaWindow {
    /// The name by length: `5h`, `7d`; `unknown` without a length.
    pub window: String,
    /// The length in seconds.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub seconds: Option<u64>,
    /// The limit, if it is not the account's general one: that of a model or a feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// The used part, in percent: 0 to 100.
    pub used_percent: f64,
    /// When the window starts again.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime, required))]
    pub resets_at: Option<Timestamp>,
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
