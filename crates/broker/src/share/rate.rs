//! A limit on requests: the generic cell rate algorithm. It allows a burst of one minute's
//! requests.

use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The state of a limit.
#[derive(Debug)]
pub(super) struct RateLimiter {
    /// Time between two requests at the full rate.
    interval: Duration,
    /// When the requests so far would have arrived at the full rate.
    theoretical: Instant,
}

impl RateLimiter {
    /// At most `per_minute` requests a minute, at least one.
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        Self { interval: MINUTE / per_minute.max(1), theoretical: now }
    }

    /// Counts a request. If the limit is reached, returns the time until the next one is allowed.
    pub(super) fn try_acquire(&mut self, now: Instant) -> Result<(), Duration> {
        let theoretical = self.theoretical.max(now) + self.interval;
        match theoretical.checked_duration_since(now + MINUTE.max(self.interval)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                self.theoretical = theoretical;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minute_of_requests_passes_then_one_each_interval() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(6, start);
        for _ in 0..6 {
            assert_eq!(limiter.try_acquire(start), Ok(()));
        }
        assert_eq!(limiter.try_acquire(start), Err(Duration::from_secs(10)));
        assert_eq!(limiter.try_acquire(start + Duration::from_secs(4)), Err(Duration::from_secs(6)));
        assert_eq!(limiter.try_acquire(start + Duration::from_secs(10)), Ok(()));
        assert_eq!(limiter.try_acquire(start + Duration::from_secs(10)), Err(Duration::from_secs(10)));
    }

    #[test]
    fn refused_requests_do_not_extend_the_wait() {
        let start = Instant::now();
        let mut limiter = RateLimiter::new(1, start);
        assert_eq!(limiter.try_acquire(start), Ok(()));
        for _ in 0..100 {
            assert_eq!(limiter.try_acquire(start), Err(MINUTE));
        }
        assert_eq!(limiter.try_acquire(start + MINUTE), Ok(()));
    }

    #[test]
    fn idle_time_saves_at_most_one_minute_of_requests() {
        let start = Instant::now();
        let later = start + 60 * MINUTE;
        let mut limiter = RateLimiter::new(2, start);
        assert_eq!(limiter.try_acquire(later), Ok(()));
        assert_eq!(limiter.try_acquire(later), Ok(()));
        assert!(limiter.try_acquire(later).is_err());
    }
}
