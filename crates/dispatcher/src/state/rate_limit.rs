//! The rate of requests of each API key: a token bucket for each, so that one client's loop does not starve a control room.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use klaroen_domain::id::KeyId;

/// Buckets that are full again are dropped after this number of requests.
const SHRINK_EVERY: u32 = 10_000;

/// A token bucket for each key.
pub struct RateLimit {
    buckets: DefaultKeyedRateLimiter<KeyId>,
    asked: AtomicU32,
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit").field("keys", &self.buckets.len()).finish_non_exhaustive()
    }
}

impl RateLimit {
    /// `per_second` on average, `burst` at once; 0 counts as 1.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst));
        Self { buckets: RateLimiter::keyed(quota), asked: AtomicU32::new(0) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The time until there is one again.
    pub fn check(&self, key: KeyId) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SHRINK_EVERY == SHRINK_EVERY - 1 {
            self.buckets.retain_recent();
            self.buckets.shrink_to_fit();
        }
        self.buckets
            .check_key(&key)
            .map_err(|not_until| not_until.wait_time_from(governor::clock::DefaultClock::default().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_does_not_use_up_the_tokens_of_another() {
        let limit = RateLimit::new(1, 3);
        let (one, other) = (KeyId::generate(), KeyId::generate());
        assert!((0..3).all(|_| limit.check(one).is_ok()));
        assert!(limit.check(one).is_err());
        assert!(limit.check(other).is_ok());
    }
}
