//! How much to claim at once: enough that the connection never waits for the disk, but little enough that a crash
//! leaves few deliveries in doubt.

use std::time::Duration;

use tokio::time::Instant;

/// A claim has what can be submitted in this time, which is about the time of one commit.
const HANDOVER: Duration = Duration::from_millis(20);
/// Under a rate limit a claim has what can be submitted in twice the time that claims take, so that the limit is
/// reached even if the database is slow. It has no more than this time allows, because claimed deliveries are in doubt
/// after a crash.
const HANDOVER_MOST: Duration = Duration::from_millis(100);
/// Rows of one transaction.
const MOST: u32 = 1_000;
/// A sample has this much busy time or this many responses; less says little.
const SAMPLE: Duration = Duration::from_millis(20);
const ANSWERS: u32 = 100;
/// No measured time counts as shorter than this, because a quotient with a tiny divisor says nothing.
const SHORTEST: Duration = Duration::from_millis(1);
/// Weight of the newest sample.
const WEIGHT: f64 = 0.3;

/// How many deliveries to claim. `pace` is the measured number of messages per second, `limit` the number of segments
/// per second, `window` how many may be in flight and `latency` how long claims take.
///
/// Without a limit it is at least the window, so that a gateway without measurements is filled. Under a limit it is
/// what the tokens of the time allow, because the rest would only wait under a lease.
pub(crate) fn claim_size(pace: f64, limit: Option<f64>, window: usize, latency: &ClaimLatency) -> u32 {
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let size = match limit {
        None => per_commit(pace).max(window),
        Some(limit) => in_time(pace, latency.time()).max(window).min(in_time(limit, latency.time())),
    };
    u32::try_from(size.clamp(1, most)).unwrap_or(MOST)
}

/// How many messages are submitted in the time of about one commit, at `rate` messages per second.
pub(crate) fn per_commit(rate: f64) -> usize {
    in_time(rate, HANDOVER)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from float saturates")]
fn in_time(rate: f64, time: Duration) -> usize {
    (rate * time.as_secs_f64()).ceil() as usize
}

/// How long claims take. The next claim begins when half of the last one is left, so that half must last as long.
#[derive(Debug, Default)]
pub(crate) struct ClaimLatency {
    took: Duration,
}

impl ClaimLatency {
    /// Records the duration of a claim. It is capped, because a single slow claim says little.
    pub(crate) fn record(&mut self, took: Duration) {
        self.took = self.took.mul_f64(1.0 - WEIGHT) + took.min(HANDOVER_MOST).mul_f64(WEIGHT);
    }

    /// How long a claim is to last under a limit.
    fn time(&self) -> Duration {
        self.took.saturating_mul(2).clamp(HANDOVER, HANDOVER_MOST)
    }
}

/// Measures throughput over the time in which something was in flight. Idle time says nothing about the connection.
#[derive(Debug, Default)]
pub(crate) struct Throughput {
    rate: f64,
    /// Since when something is in flight, as far as that time is not in `busy` yet.
    since: Option<Instant>,
    /// The busy time of the present sample.
    busy: Duration,
    answered: u32,
}

impl Throughput {
    /// Something is in flight from `now` on.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// `answered` messages were answered by `now`. `more` is whether others are still in flight.
    pub(crate) fn record(&mut self, now: Instant, answered: usize, more: bool) {
        self.answered = self.answered.saturating_add(u32::try_from(answered).unwrap_or(u32::MAX));
        let since = self.since.replace(now).unwrap_or(now);
        self.busy += now.duration_since(since);
        if !more {
            self.since = None;
        }
        if self.busy >= SAMPLE || self.answered >= ANSWERS {
            let sample = f64::from(self.answered) / self.busy.max(SHORTEST).as_secs_f64();
            self.rate = if self.rate > 0.0 { self.rate + WEIGHT * (sample - self.rate) } else { sample };
            (self.busy, self.answered) = (Duration::ZERO, 0);
        }
    }

    /// Messages per second; 0 if nothing was measured yet.
    pub(crate) const fn rate(&self) -> f64 {
        self.rate
    }

    /// Messages per second, estimated from few responses if nothing better is known. The pace is cut relative to it.
    pub(crate) fn guess(&self) -> f64 {
        if self.rate > 0.0 {
            return self.rate;
        }
        f64::from(self.answered.max(1)) / self.busy.max(SHORTEST).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claim_follows_pace_limit_and_window() {
        let cases = [
            // measured, limit, window → claim
            (0.0, None, 50, 50),
            (10_000.0, None, 50, 200),
            (30_000.0, None, 50, 600),
            (1e12, None, 50, 1_000),
            (0.0, None, 0, 1),
            (0.0, None, 4000, 1_000),
            (480.0, Some(500.0), 50, 10),
            (0.0, Some(5.0), 50, 1),
            (900.0, Some(1e9), 50, 50),
        ];
        for (pace, limit, window, expected) in cases {
            assert_eq!(
                claim_size(pace, limit, window, &ClaimLatency::default()),
                expected,
                "{pace} {limit:?} {window}"
            );
        }
    }

    #[test]
    fn under_a_limit_a_claim_lasts_until_the_next_one_is_there() {
        let mut latency = ClaimLatency::default();
        let size = |latency: &ClaimLatency| claim_size(500.0, Some(500.0), 50, latency);
        // Milliseconds that claims take → claim. Half of the claim is submitted meanwhile.
        for (took, expected) in [(3, 10), (10, 10), (30, 30), (5_000, 50), (3, 10)] {
            for _ in 0..100 {
                latency.record(Duration::from_millis(took));
            }
            assert_eq!(size(&latency), expected, "{took} ms");
            assert_eq!(claim_size(500.0, None, 5, &latency), 10, "without a limit the wire says how much");
        }
        // One that took long says little.
        latency.record(Duration::from_secs(5));
        assert_eq!(size(&latency), 33);
        (0..5).for_each(|_| latency.record(Duration::from_millis(3)));
        assert_eq!(size(&latency), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_does_not_lower_the_pace_and_short_bursts_add_up() {
        let mut throughput = Throughput::default();
        for _ in 0..20 {
            throughput.begin(Instant::now());
            tokio::time::advance(Duration::from_millis(10)).await;
            throughput.record(Instant::now(), 10, false);
            // Waiting for the disk, or nothing to do.
            tokio::time::advance(Duration::from_mins(1)).await;
        }
        assert!((throughput.rate() - 1000.0).abs() < 1e-6, "{}", throughput.rate());
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_complains_at_once_is_slowed_down_from_a_guess() {
        let mut throughput = Throughput::default();
        throughput.begin(Instant::now());
        tokio::time::advance(Duration::from_millis(5)).await;
        throughput.record(Instant::now(), 50, true);
        assert!((throughput.guess() - 10_000.0).abs() < 1e-6);
        assert!((Throughput::default().guess() - 1000.0).abs() < 1e-6);
    }
}
