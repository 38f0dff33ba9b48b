//! Which submit waits for which `submit_sm_resp`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use klaroen_domain::outcome::SubmitOutcome;
use tokio::sync::oneshot;

/// Answers that are kept for a submit which has not asked yet, or no longer waits. The first kind is a matter of
/// microseconds; the oldest give way.
const UNCLAIMED_MAX: usize = 1_000;

/// Answers that had come when a submit began to be written.
#[derive(Clone, Copy)]
pub(super) struct Before(u64);

/// The submits of one link by sequence number.
#[derive(Default)]
pub(super) struct Answers(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    waiting: HashMap<u32, oneshot::Sender<SubmitOutcome>>,
    /// The reader may see an answer before the writer hears that its PDU was written. With its place among all answers.
    unclaimed: VecDeque<(u32, u64, SubmitOutcome)>,
    /// Answers so far.
    came: u64,
    closed: bool,
}

impl Answers {
    /// To be asked before a submit is written.
    pub(super) fn before(&self) -> Before {
        Before(self.lock().came)
    }

    /// Waits for the answer to `sequence_number`, whose writing began at `before`: what came earlier with that number was for
    /// something else. The channel closes when the link is lost.
    pub(super) fn expect(&self, sequence_number: u32, before: Before) -> oneshot::Receiver<SubmitOutcome> {
        let (sender, receiver) = oneshot::channel();
        let mut inner = self.lock();
        let claimed =
            inner.unclaimed.iter().position(|(seq, place, _)| *seq == sequence_number && *place >= before.0);
        if let Some(index) = claimed {
            if let Some((_, _, outcome)) = inner.unclaimed.remove(index) {
                // The receiver is in our hands, so it cannot be gone.
                let _: Result<(), SubmitOutcome> = sender.send(outcome);
            }
        } else if !inner.closed {
            inner.waiting.insert(sequence_number, sender);
        }
        receiver
    }

    /// The answer came.
    pub(super) fn settle(&self, sequence_number: u32, outcome: SubmitOutcome) {
        let mut inner = self.lock();
        let place = inner.came;
        inner.came += 1;
        if let Some(sender) = inner.waiting.remove(&sequence_number) {
            // Nobody waits any longer: it was given up after its long time.
            let _: Result<(), SubmitOutcome> = sender.send(outcome);
        } else {
            if inner.unclaimed.len() >= UNCLAIMED_MAX {
                inner.unclaimed.pop_front();
            }
            inner.unclaimed.push_back((sequence_number, place, outcome));
        }
    }

    /// Nobody will ask for it any more.
    pub(super) fn forget(&self, sequence_number: u32) {
        self.lock().waiting.remove(&sequence_number);
    }

    /// The link is lost: no more answers.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while holding it, and each entry stands for itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::not_taken;

    #[test]
    fn an_answer_that_is_faster_than_its_question_is_kept() {
        let answers = Answers::default();
        let before = answers.before();
        answers.settle(3, not_taken("x", ""));
        assert_eq!(answers.expect(3, before).try_recv(), Ok(not_taken("x", "")));
    }

    #[test]
    fn an_answer_from_before_the_question_is_to_something_else() {
        let answers = Answers::default();
        answers.settle(3, not_taken("x", ""));
        let mut answer = answers.expect(3, answers.before());
        assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        answers.settle(3, not_taken("y", ""));
        assert_eq!(answer.try_recv(), Ok(not_taken("y", "")));
    }

    #[test]
    fn a_lost_link_ends_the_waiting_of_now_and_later() {
        let answers = Answers::default();
        let mut before = answers.expect(1, answers.before());
        answers.close();
        assert_eq!(before.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        assert_eq!(answers.expect(5, answers.before()).try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn unclaimed_answers_are_bounded() {
        let answers = Answers::default();
        let before = answers.before();
        for seq in 0..2_000 {
            answers.settle(seq, not_taken("x", ""));
        }
        assert_eq!(answers.lock().unclaimed.len(), UNCLAIMED_MAX);
        assert!(answers.expect(1_999, before).try_recv().is_ok());
    }
}
