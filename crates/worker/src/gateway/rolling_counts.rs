//! Counts of outcomes over the last minute and the last quarter of an hour, and the last error.

use std::collections::VecDeque;
use std::time::Duration;

use klaroen_domain::outcome::SubmitOutcome;
use klaroen_domain::time::Timestamp;
use klaroen_store::gateways::{Counts, Figures, LastError};
use klaroen_store::receipt_times::ReceiptTimes;
use tokio::time::Instant;

/// One step of the rolling counts.
const STEP: Duration = Duration::from_secs(10);
const MINUTE: u64 = 6;
const QUARTER: u64 = 90;

/// The counts of one gateway.
#[derive(Debug)]
pub(crate) struct RollingCounts {
    began: Instant,
    /// By number of the step, newest last.
    steps: VecDeque<(u64, Counts)>,
    pub(crate) last_error: Option<LastError>,
    /// The receipts, as counted by the database.
    pub(crate) receipts: Option<ReceiptTimes>,
}

impl RollingCounts {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { began: now, steps: VecDeque::new(), last_error: None, receipts: None }
    }

    fn step(&self, now: Instant) -> u64 {
        now.duration_since(self.began).as_secs() / STEP.as_secs()
    }

    /// Counts an outcome. `at` is the time of day for the last error.
    pub(crate) fn count(&mut self, outcome: &SubmitOutcome, now: Instant, at: Timestamp) {
        let step = self.step(now);
        if self.steps.back().is_none_or(|(last, _)| *last != step) {
            self.steps.push_back((step, Counts::default()));
            while self.steps.front().is_some_and(|(first, _)| first + QUARTER <= step) {
                self.steps.pop_front();
            }
        }
        let Some((_, counts)) = self.steps.back_mut() else { return };
        let failure = match outcome {
            SubmitOutcome::Accepted { .. } => {
                counts.accepted += 1;
                return;
            }
            SubmitOutcome::Throttled { .. } => {
                counts.throttled += 1;
                return;
            }
            SubmitOutcome::NotTaken(failure) => {
                counts.not_taken += 1;
                failure
            }
            SubmitOutcome::Rejected(failure) => {
                counts.refused += 1;
                failure
            }
            SubmitOutcome::Unknown(failure) => {
                counts.unknown += 1;
                failure
            }
        };
        let (code, detail) = (failure.code.clone(), failure.detail.clone());
        self.last_error = Some(LastError { code, detail, at: at.as_millis() });
    }

    /// All figures of the report.
    pub(crate) fn figures(&self, now: Instant) -> Figures {
        let (minute, mut quarter) = self.counts(now);
        if let Some(receipts) = self.receipts {
            (quarter.delivered, quarter.undelivered) = (receipts.delivered, receipts.undelivered);
        }
        Figures { minute, quarter, receipt_median_s: self.receipts.map(|receipts| receipts.median_s) }
    }

    /// The counts of the last minute and of the last quarter of an hour.
    fn counts(&self, now: Instant) -> (Counts, Counts) {
        let step = self.step(now);
        let of_last = |steps: u64| {
            let recent = self.steps.iter().filter(|(at, _)| at + steps > step);
            recent.fold(Counts::default(), |sum, (_, counts)| Counts {
                accepted: sum.accepted + counts.accepted,
                refused: sum.refused + counts.refused,
                throttled: sum.throttled + counts.throttled,
                not_taken: sum.not_taken + counts.not_taken,
                unknown: sum.unknown + counts.unknown,
                ..sum
            })
        };
        (of_last(MINUTE), of_last(QUARTER))
    }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::outcome::{Failure, Scope};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_a_window_does_not_count_in_it() {
        let mut counts = RollingCounts::new(Instant::now());
        let failure = Failure { scope: Scope::Recipient, code: "reset".into(), detail: "gone".into() };
        let at = Timestamp::from_millis(7);
        counts.count(&SubmitOutcome::Unknown(failure), Instant::now(), at);
        counts.count(&SubmitOutcome::Throttled { retry_after: None }, Instant::now(), at);
        let sums = |counts: &RollingCounts| {
            let (minute, quarter) = counts.counts(Instant::now());
            (minute.unknown + minute.throttled, quarter.unknown + quarter.throttled)
        };
        assert_eq!(sums(&counts), (2, 2));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(sums(&counts), (0, 2));
        tokio::time::advance(Duration::from_mins(14)).await;
        assert_eq!(sums(&counts), (0, 0));
        assert_eq!(counts.last_error.unwrap().code, "reset");
    }
}
