//! A token bucket: no clock of its own, no lock.

use std::time::Duration;

use tokio::time::Instant;

/// Rounding: a wait that was computed to the token must not end a hair too early.
const ENOUGH: f64 = 1e-6;
/// Less than one token saved would never send anything.
const LEAST_CAPACITY: f64 = 1.0;

/// In any time t it gives at most `capacity + rate · t` tokens, and the part of the last message that is longer than the
/// capacity: such a message leaves when the bucket is full and is owed.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Tokens per second, more than 0.
    rate: f64,
    capacity: f64,
    /// Below 0 while something is owed.
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// With at most `tokens` in it.
    pub(crate) fn new(rate: f64, capacity: f64, tokens: f64, at: Instant) -> Self {
        let capacity = capacity.max(LEAST_CAPACITY);
        Self { rate, capacity, tokens: tokens.min(capacity), at }
    }

    /// What is in it.
    pub(crate) fn tokens(&self, now: Instant) -> f64 {
        let gained = self.rate * now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + gained).min(self.capacity)
    }

    /// Takes the tokens of one message, or says how long to wait for them.
    pub(crate) fn try_take(&mut self, cost: u8, now: Instant) -> Result<(), Duration> {
        (self.tokens, self.at) = (self.tokens(now), now);
        let cost = f64::from(cost);
        let missing = cost.min(self.capacity) - self.tokens;
        if missing > ENOUGH {
            return Err(Duration::from_secs_f64(missing / self.rate));
        }
        self.tokens -= cost;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_saves_up_to_its_capacity_and_no_more() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 5.0, 100.0, start);
        assert_eq!((0..9).filter(|_| bucket.try_take(1, start).is_ok()).count(), 5);
        let later = start + Duration::from_mins(1);
        assert_eq!((0..9).filter(|_| bucket.try_take(1, later).is_ok()).count(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_longer_than_the_bucket_is_paid_for_afterwards() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1.0, 2.0, 2.0, start);
        assert_eq!(bucket.try_take(6, start), Ok(()));
        assert_eq!(bucket.try_take(1, start), Err(Duration::from_secs(5)));
        assert_eq!(bucket.try_take(1, start + Duration::from_secs(5)), Ok(()));
    }
}
