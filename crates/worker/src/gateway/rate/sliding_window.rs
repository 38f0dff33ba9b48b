//! The log of the last second, and how much may leave in a second. It has no clock and no lock of its own.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// A second and a little more: a segment that leaves late on the wire must not reach the provider in the same second as
/// the next ones.
pub(crate) const LENGTH: Duration = Duration::from_millis(1_010);
/// Segments that leave within this time share one entry of the log, which therefore has about a thousand entries at
/// most.
const TOGETHER: Duration = Duration::from_millis(1);
/// For rounding: a third of 300 is 100.
const ENOUGH: f64 = 1e-6;

/// Segments that left together.
#[derive(Debug)]
struct Departure {
    first: Instant,
    /// They count until [`LENGTH`] after this time.
    last: Instant,
    segments: u32,
}

/// How much may leave in a second. An increase takes effect gradually, because segments that other workers sent for the
/// same channels may still be in the provider's second: as each part of a second passes, the same part of the increase
/// becomes usable.
#[derive(Clone, Copy, Debug)]
struct Cap {
    from: f64,
    to: f64,
    /// When it was set.
    at: Instant,
    /// Nothing of an increase is usable before this, because other workers may have sent a burst at the last moment.
    delay: Duration,
}

impl Cap {
    fn value(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at);
        if since >= LENGTH {
            return self.to;
        }
        self.from + (self.to - self.from) * since.saturating_sub(self.delay).as_secs_f64()
    }

    /// From when on `segments` are allowed; `None` if never.
    fn allows(&self, segments: u32) -> Option<Instant> {
        let missing = f64::from(segments) - self.from - ENOUGH;
        if missing <= 0.0 {
            Some(self.at)
        } else if f64::from(segments) <= self.to + ENOUGH {
            let grown = Duration::from_secs_f64((missing / (self.to - self.from)).clamp(0.0, 1.0));
            Some(self.at + (self.delay + grown).min(LENGTH))
        } else {
            None
        }
    }

    /// From when on segments that other workers sent no longer count.
    fn whole(&self) -> Instant {
        if self.from < self.to { self.at + LENGTH } else { self.at }
    }
}

/// A hard limit on what leaves in any second, whatever the token bucket has saved up.
///
/// A message that is longer than the limit leaves when nothing left in the last second, because otherwise it would
/// never leave.
#[derive(Debug)]
pub(crate) struct SlidingWindow {
    log: VecDeque<Departure>,
    /// The sum of the log.
    segments: u32,
    cap: Cap,
}

impl SlidingWindow {
    /// Nothing may leave before [`SlidingWindow::set_limit`]. `delay` is how long the longest burst of other workers
    /// takes at their rate.
    pub(crate) const fn new(delay: Duration, now: Instant) -> Self {
        Self { log: VecDeque::new(), segments: 0, cap: Cap { from: 0.0, to: 0.0, at: now, delay } }
    }

    /// From now on `segments` may leave in a second. A decrease takes effect at once, an increase gradually.
    pub(crate) fn set_limit(&mut self, segments: f64, now: Instant) {
        // Setting the same limit must not start the increase again.
        if (segments - self.cap.to).abs() > ENOUGH {
            let from = self.cap.value(now).min(segments);
            self.cap = Cap { from, to: segments, at: now, ..self.cap };
        }
    }

    /// How long a message must wait; zero if it may leave now.
    pub(crate) fn wait(&mut self, segments: u8, now: Instant) -> Duration {
        while let Some(left) = self.log.pop_front_if(|left| left.last + LENGTH <= now) {
            self.segments -= left.segments;
        }
        if self.cap.to < ENOUGH {
            return LENGTH;
        }
        let segments = u32::from(segments);
        let long = self.cap.allows(segments).is_none();
        let allows = |before: u32| {
            if long { (before == 0).then(|| self.cap.whole()) } else { self.cap.allows(before + segments) }
        };
        // Either enough has left the window, or the limit has grown enough, or both in part.
        let (mut before, mut at) = (self.segments, now);
        let mut soonest = allows(before);
        for left in &self.log {
            if soonest.is_some_and(|soonest| soonest <= at) {
                break;
            }
            before -= left.segments;
            at = left.last + LENGTH;
            soonest = soonest.into_iter().chain(allows(before).map(|allowed| allowed.max(at))).min();
        }
        soonest.map_or(LENGTH, |soonest| soonest.saturating_duration_since(now))
    }

    /// Records that segments leave.
    pub(crate) fn record(&mut self, segments: u8, now: Instant) {
        let segments = u32::from(segments);
        self.segments += segments;
        match self.log.back_mut() {
            Some(left) if now.saturating_duration_since(left.first) < TOGETHER => {
                left.segments += segments;
                left.last = now;
            }
            _ => self.log.push_back(Departure { first: now, last: now, segments }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(100);

    /// A window whose limit was set so long ago that nothing else counts.
    fn window(segments: f64) -> (SlidingWindow, Instant) {
        let start = Instant::now();
        let mut window = SlidingWindow::new(DELAY, start);
        window.set_limit(segments, start);
        (window, start + Duration::from_secs(2))
    }

    fn leave_as_many_as_may(window: &mut SlidingWindow, segments: u8, now: Instant) -> usize {
        let mut messages = 0;
        while window.wait(segments, now).is_zero() {
            window.record(segments, now);
            messages += 1;
        }
        messages
    }

    #[test]
    fn it_is_full_until_a_second_has_passed() {
        let (mut window, now) = window(10.9);
        assert_eq!(leave_as_many_as_may(&mut window, 3, now), 3, "9 of 10");
        assert_eq!(leave_as_many_as_may(&mut window, 1, now), 1);
        assert_eq!(window.wait(1, now), LENGTH);
        let next = now + LENGTH;
        assert_eq!(window.wait(1, next - Duration::from_nanos(1)), Duration::from_nanos(1));
        assert_eq!(leave_as_many_as_may(&mut window, 1, next), 10);
    }

    #[test]
    fn what_leaves_together_counts_until_the_last_of_it() {
        let (mut window, now) = window(3.0);
        for micros in [0, 600, 1_200] {
            window.record(1, now + Duration::from_micros(micros));
        }
        assert_eq!(window.log.len(), 2);
        assert_eq!(window.wait(1, now + Duration::from_micros(1_200)), Duration::from_micros(1_009_400));
    }

    #[test]
    fn a_message_longer_than_a_seconds_worth_leaves_when_nothing_did() {
        let (mut window, now) = window(2.0);
        assert_eq!(leave_as_many_as_may(&mut window, 5, now), 1);
        assert_eq!(window.wait(1, now), LENGTH);
        window = self::window(0.5).0;
        assert_eq!(leave_as_many_as_may(&mut window, 1, now), 1, "less than one a second is not nothing");
    }

    #[test]
    fn what_is_new_is_ours_by_and_by_and_what_is_gone_at_once() {
        let (mut window, now) = window(10.0);
        assert_eq!(leave_as_many_as_may(&mut window, 1, now), 10);
        window.set_limit(110.0, now);
        assert_eq!(window.wait(1, now), DELAY + Duration::from_nanos(9_999_990));
        let half = now + DELAY + Duration::from_millis(500);
        assert_eq!(leave_as_many_as_may(&mut window, 1, half), 50);
        window.set_limit(20.0, half);
        let gone = half + LENGTH;
        assert_eq!(window.wait(1, half), gone - half, "60 left, and 20 are allowed");
        assert_eq!(leave_as_many_as_may(&mut window, 1, gone), 20);
    }

    #[test]
    fn a_share_that_comes_back_counts_what_it_sent() {
        let (mut window, now) = window(1_000.0);
        assert_eq!(leave_as_many_as_may(&mut window, 1, now), 1_000);
        window.set_limit(0.0, now);
        assert_eq!(window.wait(1, now), LENGTH);
        window.set_limit(1_000.0, now + DELAY);
        assert_eq!(leave_as_many_as_may(&mut window, 1, now + Duration::from_secs(1)), 0);
        assert_eq!(leave_as_many_as_may(&mut window, 1, now + LENGTH), 810);
    }
}
