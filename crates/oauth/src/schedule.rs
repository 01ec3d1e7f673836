//! When to refresh and how long to wait after a failure, as pure functions of the given times. They
//! read no clock and draw no random numbers: the jitter is a parameter.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// No refresh is planned sooner than this after the last one; in a fleet, an eightieth sooner. A
/// token with a shorter lifetime is renewed on demand.
pub const FLOOR: Duration = Duration::from_secs(30);

/// Shortest time between a planned refresh and the expiry; the Codex CLI's value.
const LEAD: Duration = Duration::from_secs(5 * 60);

/// A refresh is due when this fraction of the lifetime is left. A fifth leaves two days of a
/// ten-day token for a provider outage, and twelve minutes of an hour.
const LEAD_DIVISOR: u32 = 5;

/// A profile without a request in this time is unused, and its access token may expire.
pub const UNUSED_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// An unused profile is refreshed this long after its last refresh, so that its refresh token stays
/// valid. The Codex CLI renews a token of unknown lifetime at the same age.
pub const KEEP_ALIVE: Duration = Duration::from_secs(8 * 24 * 3600);

/// The first wait after a failure, and the longest one.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5 * 60));

/// Longest `Retry-After` that is honoured. A longer one counts as this one, so that a wrong value
/// does not stop a login for days.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A number in −1 … 1 that spreads refreshes that are planned for the same time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// No jitter.
    pub const NONE: Self = Self(0.0);

    /// The jitter of one decision. It depends on the seed and the number alone.
    pub fn of(seed: u64, number: u64) -> Self {
        // SplitMix64 (Steele, Lea, Flood 2014): a full-period mixer in four lines.
        let mut z = seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let top = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(u32::MAX);
        Self(f64::from(top) / f64::from(u32::MAX) * 2.0 - 1.0)
    }

    /// The jitter of a decision that all nodes of a fleet make alike: it depends on the text and
    /// the number alone, and is the same in every version.
    pub fn of_text(text: &str, number: u64) -> Self {
        // FNV-1a (Fowler, Noll, Vo 1991).
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        Self::of(text.bytes().fold(0xCBF2_9CE4_8422_2325, mix), number)
    }

    /// A part of `span`: none of it to all of it.
    pub fn part_of(self, span: Duration) -> Duration {
        span.mul_f64(f64::midpoint(1.0, self.0))
    }

    /// `span` lengthened or shortened by at most ten per cent.
    pub fn spread(self, span: Duration) -> Duration {
        span.mul_f64(1.0 + 0.1 * self.0)
    }
}

/// When to refresh a token issued at `issued` that expires at `expires`: a fifth of its lifetime
/// ahead, at least five minutes ahead (jittered), but never sooner than [`FLOOR`] after its issue.
pub fn refresh_at(issued: Timestamp, expires: Timestamp, jitter: Jitter) -> Timestamp {
    let lead = jitter.spread((lifetime(issued, expires) / LEAD_DIVISOR).max(LEAD));
    earlier(expires, lead).max(later(issued, FLOOR))
}

/// The remaining lifetime below which a token is renewed for a client that needs `wanted`.
///
/// If a new token would last that long, it is `wanted`, once the present token is older than
/// [`FLOOR`]. If no token lasts that long, it is capped at what the schedule guarantees: otherwise
/// each such request would cause a refresh.
pub fn achievable_lifetime(
    wanted: Duration,
    issued: Timestamp,
    expires: Timestamp,
    due: Timestamp,
    now: Timestamp,
) -> Duration {
    let is_achievable = wanted < lifetime(issued, expires) && now >= later(issued, FLOOR);
    if is_achievable { wanted } else { wanted.min(lifetime(due, expires)) }
}

/// The wait after the `failures`th failure in a row (1 is the first). A `Retry-After` counts,
/// shorter or longer, but not below the first wait. Without one it is 2 s, doubling to 5 min,
/// jittered.
pub fn back_off(failures: u32, retry_after: Option<Duration>, jitter: Jitter) -> Duration {
    let (first, longest) = BACK_OFF;
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let default = jitter.spread(doubled.min(longest));
    match retry_after {
        Some(wait) => wait.min(LONGEST_RETRY_AFTER).max(default.min(first)),
        None => default,
    }
}

/// The time from issue to expiry; zero if the expiry comes first.
pub fn lifetime(issued: Timestamp, expires: Timestamp) -> Duration {
    Duration::try_from(expires.duration_since(issued)).unwrap_or_default()
}

/// `t` plus `span`, at most the last representable time.
pub fn later(t: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| t.checked_add(span).ok()).unwrap_or(Timestamp::MAX)
}

/// `t` minus `span`, at least the first representable time.
pub fn earlier(t: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span).ok().and_then(|span| t.checked_sub(span).ok()).unwrap_or(Timestamp::MIN)
}

/// `t` moved by `by`, which may be negative; at most the last, at least the first representable
/// time.
pub fn shifted(t: Timestamp, by: SignedDuration) -> Timestamp {
    let end = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    t.checked_add(by).unwrap_or(end)
}
