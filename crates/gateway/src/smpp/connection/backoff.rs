//! How long to wait before the next connection: a ladder for what may heal by itself, a fixed pause for what does not.

use std::time::Duration;

/// After a connection that worked: an SMSC refuses a new bind while it still holds the old one.
pub(in crate::smpp) const AFTER_LOSS: Duration = Duration::from_secs(1);
/// After a connection that was not made: the SMSC may be just starting.
pub(in crate::smpp) const AFTER_FAILURE: Duration = Duration::from_millis(250);
/// After a bind that was refused: hammering locks accounts.
pub(in crate::smpp) const AFTER_REFUSAL: Duration = Duration::from_mins(1);
/// "Already bound" says nothing against the account: it knows us, and the SMSC has not noticed yet that the one whose place we
/// take is gone, which it does within seconds. So these tries are soon, and no more than these: after them somebody else holds
/// the bind, and that is a refusal like any other.
const WHILE_HELD: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// A connection that was up for this long starts the ladder anew.
pub(in crate::smpp) const HEALTHY: Duration = Duration::from_mins(1);

const LONGEST: Duration = Duration::from_mins(1);

/// Counts the tries that failed in a row.
#[derive(Debug, Default)]
pub(in crate::smpp) struct Ladder(u32);

impl Ladder {
    /// The next wait: `first` doubled with each failure, up to a minute, shortened by up to a quarter. `jitter` is in `0.0..1.0`.
    pub(in crate::smpp) fn next(&mut self, first: Duration, jitter: f64) -> Duration {
        let wait = first.saturating_mul(2_u32.saturating_pow(self.0)).min(LONGEST);
        self.0 = self.0.saturating_add(1);
        wait.mul_f64(1.0 - 0.25 * jitter)
    }

    /// It worked.
    pub(in crate::smpp) fn reset(&mut self) {
        self.0 = 0;
    }
}

/// The next wait after so many answers in a row that the bind is still held; `None` if it will not be free soon.
pub(in crate::smpp) fn while_held(answers: usize, jitter: f64) -> Option<Duration> {
    WHILE_HELD.get(answers).map(|wait| wait.mul_f64(1.0 + 0.25 * jitter))
}

/// At least a minute, and not the same for all.
pub(in crate::smpp) fn after_refusal(jitter: f64) -> Duration {
    AFTER_REFUSAL.mul_f64(1.0 + 0.25 * jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_minute() {
        let mut ladder = Ladder::default();
        let waits: Vec<_> = (0..9).map(|_| ladder.next(AFTER_LOSS, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        ladder.reset();
        assert_eq!(ladder.next(AFTER_FAILURE, 0.0), Duration::from_millis(250));
        assert_eq!(ladder.next(AFTER_FAILURE, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn no_number_of_failures_overflows() {
        let mut ladder = Ladder(u32::MAX);
        assert_eq!(ladder.next(AFTER_LOSS, 0.0), LONGEST);
    }

    #[test]
    fn jitter_shortens_the_ladder_and_never_the_pause() {
        assert_eq!(Ladder::default().next(AFTER_LOSS, 1.0), Duration::from_millis(750));
        assert_eq!(after_refusal(0.0), AFTER_REFUSAL);
        assert!(after_refusal(1.0) > AFTER_REFUSAL);
    }
}
