//! How fast submits come: the peak in any sliding second, and the throttle.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Submits that one sliding second can hold in the log; beyond it the peak is this number. Twenty times what one
/// connection can carry.
const LOG_MAX: usize = 2_000_000;

/// The pace of submits so far.
#[derive(Default)]
pub(crate) struct Pace {
    first: Option<Instant>,
    last: Option<Instant>,
    peak: usize,
    all: LastSecond,
    passed: LastSecond,
}

/// The times within the last second, oldest first.
#[derive(Default)]
struct LastSecond(VecDeque<Instant>);

impl LastSecond {
    /// How many there were in the second that ends at `now`.
    fn count(&mut self, now: Instant) -> usize {
        while self.0.front().is_some_and(|first| now.saturating_duration_since(*first) >= SECOND) {
            self.0.pop_front();
        }
        self.0.len()
    }

    fn push(&mut self, now: Instant) {
        if self.0.len() < LOG_MAX {
            self.0.push_back(now);
        }
    }
}

impl Pace {
    /// Notes a submit at `now`; whether it passes a throttle of `limit` a second.
    pub(crate) fn submit(&mut self, now: Instant, limit: Option<u32>) -> bool {
        self.first.get_or_insert(now);
        self.last = Some(now);
        self.all.push(now);
        self.peak = self.peak.max(self.all.count(now));
        let Some(limit) = limit else { return true };
        if self.passed.count(now) >= usize::try_from(limit).unwrap_or(usize::MAX) {
            return false;
        }
        self.passed.push(now);
        true
    }

    pub(crate) fn first(&self) -> Option<Instant> {
        self.first
    }

    pub(crate) fn last(&self) -> Option<Instant> {
        self.last
    }

    /// The most submits in any sliding second.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_peak_is_that_of_the_busiest_sliding_second() {
        let start = Instant::now();
        let mut pace = Pace::default();
        // 3 at the end of one calendar second and 4 at the start of the next are 7 in a sliding one.
        for ms in [900, 950, 999, 1_000, 1_001, 1_500, 1_899, 2_950] {
            assert!(pace.submit(start + Duration::from_millis(ms), None));
        }
        assert_eq!(pace.peak(), 7);
        assert_eq!(pace.first(), Some(start + Duration::from_millis(900)));
        assert_eq!(pace.last(), Some(start + Duration::from_millis(2_950)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_throttle_passes_its_limit_and_no_more_in_any_second() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let passed = |pace: &mut Pace, ms| pace.submit(start + Duration::from_millis(ms), Some(2));
        assert!(passed(&mut pace, 0) && passed(&mut pace, 500));
        assert!(!passed(&mut pace, 999), "a refused submit");
        assert!(passed(&mut pace, 1_000), "does not count against the next second");
        assert!(!passed(&mut pace, 1_400));
        assert!(passed(&mut pace, 1_500));
    }
}
