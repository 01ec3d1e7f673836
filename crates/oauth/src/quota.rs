//! How much of an account's limits is used, as the provider states it: in the headers of model
//! responses and at the endpoint `wham/usage` (docs/protocol.md, sections 11.6 and 11.7). Pure.
//!
//! A value that is absent, out of range or of another type is unknown. It never becomes zero.

use jiff::{SignedDuration, Timestamp};

mod headers;
mod usage;

/// Most limits of one reading beside the account's own ones.
const MAX_NAMED_LIMITS: usize = 16;

/// Most windows of one reading.
const MAX_WINDOWS: usize = 40;

/// Longest name of a limit, and longest balance, in characters.
const MAX_TEXT: usize = 64;

/// What the provider has stated about the limits of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuotaReading {
    /// When the provider stated the account's own limits; `None` if it stated only others.
    pub as_of: Option<Timestamp>,
    /// The windows in the order of [`QuotaReading::binding`].
    pub windows: Vec<QuotaWindow>,
    /// Whether one of the account's own limits is reached.
    pub limit_reached: Option<bool>,
    /// The provider's word for the limit that is reached, such as
    /// `workspace_owner_credits_depleted`.
    pub reached_type: Option<Box<str>>,
    /// The credits beside the windows.
    pub credits: Option<Credits>,
}

/// The used part of one limit within a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaWindow {
    /// What is limited.
    pub limit: Limit,
    /// The length in seconds.
    pub seconds: Option<u64>,
    /// The used part.
    pub used: Percent,
    /// When the window starts again.
    pub resets_at: Option<Timestamp>,
    /// When the provider stated this.
    pub as_of: Timestamp,
}

/// What a window limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The use of the account.
    Account,
    /// The spending of the user within the workspace.
    Spending,
    /// The use of one model or feature.
    Named {
        /// The provider's id, in lower case with `_`.
        id: Box<str>,
        /// The provider's name for users.
        name: Option<Box<str>>,
    },
}

impl Limit {
    /// Whether these are the same limit. Its name may be missing in one of them.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Named { id, .. }, Self::Named { id: other, .. }) => id == other,
            _ => self == other,
        }
    }

    /// Whether the limit applies to the whole account, not to one model or feature.
    pub fn is_of_account(&self) -> bool {
        !matches!(self, Self::Named { .. })
    }
}

/// A part from 0 to 100 percent, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    const ALL: u16 = 10_000;

    /// The part; more than 100 percent counts as 100. `None` for a number that is no part.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the number is within 0 and 10,000"
    )]
    pub fn new(percent: f64) -> Option<Self> {
        (percent.is_finite() && percent >= 0.0).then(|| Self((percent.min(100.0) * 100.0).round() as u16))
    }

    /// The part in percent: 0 to 100.
    pub fn get(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// What is left of the whole.
    #[must_use]
    pub fn left(self) -> Self {
        Self(Self::ALL - self.0)
    }

    fn is_all(self) -> bool {
        self.0 == Self::ALL
    }
}

/// The credits that are used once a window is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credits {
    /// Whether there are any.
    pub available: bool,
    /// Whether they are unlimited.
    pub unlimited: bool,
    /// The balance, as the provider writes it.
    pub balance: Option<Box<str>>,
}

impl QuotaReading {
    /// Adds a newer reading of headers, which state only the limits of one request: other limits
    /// keep what was known.
    #[must_use]
    pub fn updated(mut self, newer: Self) -> Self {
        self.windows.retain(|old| !newer.windows.iter().any(|new| new.limit.is_same(&old.limit)));
        self.windows.extend(newer.windows);
        if newer.as_of.is_some() {
            (self.as_of, self.limit_reached, self.reached_type) =
                (newer.as_of, newer.limit_reached, newer.reached_type);
        }
        self.credits = newer.credits.or(self.credits);
        self.sort();
        self.windows.truncate(MAX_WINDOWS);
        self
    }

    /// The window of the account's own limits with the least left.
    pub fn binding(&self) -> Option<&QuotaWindow> {
        self.windows.first().filter(|window| window.limit.is_of_account())
    }

    /// Whether the figures of this reading are those of another one; only their age may differ.
    pub fn states_the_same(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&QuotaWindow, &QuotaWindow)| {
            one.is_same_window(other) && one.used == other.used && one.resets_with(other)
        };
        self.windows.len() == other.windows.len()
            && self.windows.iter().zip(&other.windows).all(is_same)
            && (self.limit_reached, &self.reached_type, &self.credits)
                == (other.limit_reached, &other.reached_type, &other.credits)
    }

    /// Puts the account's own windows first, and of each kind the one with the least left. Of two
    /// with as much left, the longer one binds for longer.
    fn sort(&mut self) {
        self.windows.sort_by_key(|window| {
            let longest = std::cmp::Reverse(window.seconds);
            (!window.limit.is_of_account(), window.used.left(), longest)
        });
    }
}

/// Two times of a reset that differ by less than this are the same: providers round them anew for
/// each response.
const RESET_JITTER: SignedDuration = SignedDuration::from_mins(5);

impl QuotaWindow {
    /// The name by length, such as `5h` or `7d`. Lengths are rounded: a month has 30 days or a few
    /// hours more.
    pub fn name(&self) -> String {
        const MINUTE: u64 = 60;
        const HOUR: u64 = 60 * MINUTE;
        const DAY: u64 = 24 * HOUR;
        let rounded = |seconds: u64, unit: u64| (seconds + unit / 2) / unit;
        match (self.seconds, &self.limit) {
            (None, Limit::Spending) => "spending".to_owned(),
            (None, _) => "unknown".to_owned(),
            (Some(seconds), _) if seconds >= 2 * DAY - HOUR => format!("{}d", rounded(seconds, DAY)),
            (Some(seconds), _) if seconds >= 2 * HOUR - MINUTE => format!("{}h", rounded(seconds, HOUR)),
            (Some(seconds), _) => format!("{}m", rounded(seconds, MINUTE)),
        }
    }

    /// Whether both are of the same limit and about the same length.
    pub fn is_same_window(&self, other: &Self) -> bool {
        self.limit.is_same(&other.limit) && self.name() == other.name()
    }

    /// Whether both start again at the same time, as exactly as providers state it. Without a time
    /// in one of them, they may.
    pub fn resets_with(&self, other: &Self) -> bool {
        match (self.resets_at, other.resets_at) {
            (Some(one), Some(other)) => one.duration_since(other).abs() < RESET_JITTER,
            (None, _) | (_, None) => true,
        }
    }

    /// Whether the window has started again since the provider stated it, so that its used part is
    /// not known any more.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.resets_at.is_some_and(|at| at <= now)
    }
}

/// The time of a reset: the stated one, unless it has passed already, else the stated wait. `None`
/// if neither makes sense.
fn reset_time(at: Option<i64>, after: Option<i64>, now: Timestamp) -> Option<Timestamp> {
    let at = at.and_then(|seconds| Timestamp::from_second(seconds).ok()).filter(|at| *at > now);
    let after = || now.checked_add(SignedDuration::from_secs(after.filter(|seconds| *seconds > 0)?)).ok();
    at.or_else(after)
}

/// An id as both sources write it: in lower case, with `_`. `None` if it is none.
fn id(text: &str) -> Option<Box<str>> {
    let id = text.trim().to_ascii_lowercase().replace('-', "_");
    let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.');
    let is_id = (1..=MAX_TEXT).contains(&id.len()) && id.bytes().all(is_allowed);
    is_id.then(|| id.into_boxed_str())
}

/// A text for users, cut to its longest length. `None` if it is empty or has control characters.
fn text(text: &str) -> Option<Box<str>> {
    let text: String = text.trim().chars().take(MAX_TEXT).collect();
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.into_boxed_str())
}
