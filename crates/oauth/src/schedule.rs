//! When to refresh and how long to wait after a failure, as pure functions of the times given. No clock
//! is read and no random number drawn here: the jitter is passed in.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A refresh is never planned closer than this: a token that lives shorter is renewed on demand.
pub const FLOOR: Duration = Duration::from_secs(30);

/// The provider's own client refreshes five minutes ahead; so do we at the latest.
const LEAD: Duration = Duration::from_secs(5 * 60);

/// The part of a lifetime that is left when the refresh is due: a fifth leaves two days of a ten-day
/// token for a provider that is down, and twelve minutes of an hour.
const LEFT: u32 = 5;

/// A profile that nobody asked for in this time is unused, and its access token may run out.
pub const UNUSED_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// An unused profile is still refreshed this long after its last refresh, so that its refresh token
/// stays alive: the age at which the provider's own client renews a token of unknown lifetime.
pub const KEEP_ALIVE: Duration = Duration::from_secs(8 * 24 * 3600);

/// The first wait after a failure, and the longest one.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(5 * 60));

/// The longest `Retry-After` that is honoured. A longer one counts as this one, so that an absurd answer does
/// not stop a login for days.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A number in −1 … 1 that spreads equal plans apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter(f64);

impl Jitter {
    /// None at all.
    pub const NONE: Self = Self(0.0);

    /// The jitter of one decision: the same for the same seed and number, spread over different ones.
    pub fn of(seed: u64, number: u64) -> Self {
        // SplitMix64 (Steele, Lea, Flood 2014): a full-period mixer in four lines.
        let mut z = seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let top = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or(u32::MAX);
        Self(f64::from(top) / f64::from(u32::MAX) * 2.0 - 1.0)
    }

    /// `span` made up to ten per cent longer or shorter.
    pub fn spread(self, span: Duration) -> Duration {
        span.mul_f64(1.0 + 0.1 * self.0)
    }
}

/// When a token issued at `issued` that expires at `expires` is refreshed: a fifth of its lifetime
/// ahead, at least five minutes ahead (jittered), but never sooner than [`FLOOR`] after its issue.
pub fn refresh_at(issued: Timestamp, expires: Timestamp, jitter: Jitter) -> Timestamp {
    let lead = jitter.spread((lifetime(issued, expires) / LEFT).max(LEAD));
    earlier(expires, lead).max(later(issued, FLOOR))
}

/// How much of a client's wish for a credential that lasts `span` counts at `now`. A wish that a new
/// token would meet counts whole, once the one at hand is older than [`FLOOR`]. A wish beyond what the
/// provider issues is met as well as the schedule does: asking for more would be a refresh a request.
pub fn wish(
    span: Duration,
    issued: Timestamp,
    expires: Timestamp,
    due: Timestamp,
    now: Timestamp,
) -> Duration {
    let possible = span < lifetime(issued, expires) && now >= later(issued, FLOOR);
    if possible { span } else { span.min(lifetime(due, expires)) }
}

/// How long to wait after the `failures`th failure in a row (1 is the first): what the provider's
/// `Retry-After` says, be it shorter or longer, but no less than the first wait; else 2 s doubling to 5 min,
/// jittered.
pub fn back_off(failures: u32, retry_after: Option<Duration>, jitter: Jitter) -> Duration {
    let (first, longest) = BACK_OFF;
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let own = jitter.spread(doubled.min(longest));
    match retry_after {
        Some(asked) => asked.min(LONGEST_RETRY_AFTER).max(own.min(first)),
        None => own,
    }
}

/// The time from issue to expiry; zero if they are the wrong way round.
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

/// `t` moved by `by`, which may be negative; at most the last, at least the first representable time.
pub fn shifted(t: Timestamp, by: SignedDuration) -> Timestamp {
    let end = if by.is_negative() { Timestamp::MIN } else { Timestamp::MAX };
    t.checked_add(by).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn at(seconds: u64) -> Timestamp {
        later(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    #[test]
    fn a_refresh_is_due_a_fifth_ahead_and_at_least_five_minutes() {
        for (lifetime, due) in [
            (240 * HOUR, 192 * HOUR), // ten days: after eight
            (HOUR, HOUR - HOUR / 5),  // an hour: twelve minutes ahead
            (1000, 700),              // five minutes ahead
            (310, 30),                // the floor
            (20, 30),                 // on demand before that
        ] {
            assert_eq!(refresh_at(at(0), at(lifetime), Jitter::NONE), at(due), "{lifetime} s");
        }
        assert_eq!(refresh_at(at(100), at(50), Jitter::NONE), at(130), "expired when issued");
    }

    #[test]
    fn jitter_moves_the_lead_by_a_tenth_at_most() {
        for n in 0..1000 {
            let due = refresh_at(at(0), at(10_000), Jitter::of(7, n));
            assert!(at(7_800) <= due && due <= at(8_200), "{due}");
        }
        assert_ne!(Jitter::of(1, 1), Jitter::of(1, 2));
        assert_eq!(Jitter::of(1, 1), Jitter::of(1, 1));
    }

    #[test]
    fn back_off_doubles_from_two_seconds_to_five_minutes() {
        let waits: Vec<u64> = (1..=10).map(|n| back_off(n, None, Jitter::NONE).as_secs()).collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(back_off(u32::MAX, None, Jitter::NONE).as_secs(), 300);
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        let wait = |seconds| back_off(8, Some(Duration::from_secs(seconds)), Jitter::NONE).as_secs();
        assert_eq!((wait(10), wait(0), wait(1_000_000)), (10, 2, 3600));
    }

    #[test]
    fn a_wish_counts_as_far_as_a_refresh_could_meet_it() {
        let wish = |span: u64, now: u64| {
            wish(Duration::from_secs(span), at(0), at(3600), at(2880), at(now)).as_secs()
        };
        assert_eq!(wish(900, 60), 900, "a new token would last that long");
        assert_eq!(wish(3599, 60), 3599);
        assert_eq!(wish(3599, 10), 720, "this one is as new as can be");
        assert_eq!(wish(3600, 60), 720, "no token lasts that long");
        assert_eq!(wish(60, 10), 60);
    }

    #[test]
    fn times_saturate_instead_of_overflowing() {
        assert_eq!(later(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
        assert_eq!(earlier(Timestamp::MIN, Duration::from_secs(1)), Timestamp::MIN);
    }
}
