//! The refresh schedule and the back-off.

use std::time::Duration;

use authd_oauth::schedule::{Jitter, achievable_lifetime, back_off, earlier, later, refresh_at};
use jiff::Timestamp;

const HOUR: u64 = 3600;

fn at(seconds: u64) -> Timestamp {
    later(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
}

#[test]
fn refresh_is_due_a_fifth_and_at_least_five_minutes_ahead() {
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

/// The nodes of a fleet may have different versions.
#[test]
fn jitter_of_a_text_is_the_same_in_every_version() {
    let spread = |text, number| Jitter::of_text(text, number).spread(Duration::from_secs(1)).as_micros();
    assert_eq!([spread("a", 1), spread("a", 2), spread("b", 1)], [974_346, 1_099_624, 967_940]);
}

#[test]
fn part_of_a_span_is_between_none_and_all() {
    let span = Duration::from_secs(100);
    let parts: Vec<_> = (0..1_000).map(|n| Jitter::of(7, n).part_of(span)).collect();
    assert!(parts.iter().all(|part| *part <= span));
    let (least, most) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
    assert!(*least < span / 20 && *most > span * 19 / 20, "{least:?} to {most:?}");
    assert_eq!(Jitter::NONE.part_of(span), span / 2);
}

#[test]
fn back_off_doubles_from_two_seconds_to_five_minutes() {
    let waits: Vec<u64> = (1..=10).map(|n| back_off(n, None, Jitter::NONE).as_secs()).collect();
    assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    assert_eq!(back_off(u32::MAX, None, Jitter::NONE).as_secs(), 300);
}

#[test]
fn retry_after_is_honoured_within_limits() {
    let wait = |seconds| back_off(8, Some(Duration::from_secs(seconds)), Jitter::NONE).as_secs();
    assert_eq!((wait(10), wait(0), wait(1_000_000)), (10, 2, 3600));
}

#[test]
fn wanted_lifetime_counts_as_far_as_a_refresh_can_provide_it() {
    let achievable = |wanted: u64, now: u64| {
        achievable_lifetime(Duration::from_secs(wanted), at(0), at(3600), at(2880), at(now)).as_secs()
    };
    assert_eq!(achievable(900, 60), 900, "a new token would last that long");
    assert_eq!(achievable(3599, 60), 3599);
    assert_eq!(achievable(3599, 10), 720, "the token has just been issued");
    assert_eq!(achievable(3600, 60), 720, "no token lasts that long");
    assert_eq!(achievable(60, 10), 60);
}

#[test]
fn times_saturate_instead_of_overflowing() {
    assert_eq!(later(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
    assert_eq!(earlier(Timestamp::MIN, Duration::from_secs(1)), Timestamp::MIN);
}
