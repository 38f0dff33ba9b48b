//! One attempt to send a delivery, and the result to record for its outcome.

use std::time::Duration;

use klaroen_domain::alert::Priority;
use klaroen_domain::decide::{Decision, SubmitContext, decide, hand_over};
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_domain::time::Timestamp;
use klaroen_store::outcomes::Finished;

/// A delivery that was passed between gateways this often, without a step on the retry ladder, takes the ladder.
/// Otherwise two gateways that both say "not now" would pass it to each other without a pause.
const HAND_OVERS: u32 = 10;

/// An attempt, without its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) id: DeliveryId,
    pub(crate) lease_token: i64,
    pub(crate) retries: u32,
    /// Claims of the delivery before this one.
    pub(crate) claims: u32,
    pub(crate) expires_at: Timestamp,
    pub(crate) priority: Priority,
    /// How long after a lost answer the policy decides.
    pub(crate) settle_after: Duration,
}

impl Attempt {
    /// The result to record for `outcome`. `jitter` is -1 to 1. `elsewhere` is whether another gateway can take the
    /// message.
    pub(crate) fn conclude(
        self,
        outcome: SubmitOutcome,
        now: Timestamp,
        jitter: f64,
        elsewhere: bool,
    ) -> Finished {
        let context = SubmitContext {
            now,
            expires_at: self.expires_at,
            retries: self.retries,
            jitter,
            priority: self.priority,
        };
        let handed = self.claims.saturating_sub(self.retries) < HAND_OVERS;
        let decision =
            if elsewhere && handed { hand_over(&outcome, &context) } else { decide(&outcome, &context) };
        let decision = match decision {
            Decision::Unknown { .. } => Decision::Unknown { settle_at: now.plus(self.settle_after) },
            decision => decision,
        };
        let (provider_ids, segments) = match outcome {
            SubmitOutcome::Accepted { provider_ids, segments } => (provider_ids, segments),
            _ => (Vec::new(), 0),
        };
        Finished { id: self.id, lease_token: self.lease_token, decision, provider_ids, segments, at: now }
    }

    /// The result to record for an attempt that never began.
    pub(crate) const fn unsubmitted(self, decision: Decision, now: Timestamp) -> Finished {
        Finished {
            id: self.id,
            lease_token: self.lease_token,
            decision,
            provider_ids: Vec::new(),
            segments: 0,
            at: now,
        }
    }

    /// The result that puts a delivery back into the queue at once: nothing has left, so nothing is in doubt and no
    /// attempt counts.
    pub(crate) const fn put_back(self, now: Timestamp) -> Finished {
        self.unsubmitted(Decision::PutBack { due_at: now, spent: false }, now)
    }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::outcome::{Failure, ProviderId, Scope};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    const ATTEMPT: Attempt = Attempt {
        id: DeliveryId(7),
        lease_token: 99,
        retries: 0,
        claims: 0,
        expires_at: Timestamp::from_millis(9_000_000),
        priority: Priority::Urgent,
        settle_after: Duration::from_secs(2),
    };

    #[test]
    fn what_the_provider_called_it_is_written_down() {
        let ids = vec![ProviderId("a".into()), ProviderId("b".into())];
        let accepted = SubmitOutcome::Accepted { provider_ids: ids.clone(), segments: 2 };
        let finished = ATTEMPT.conclude(accepted, NOW, 0.0, true);
        assert_eq!((finished.provider_ids, finished.segments, finished.lease_token), (ids, 2, 99));
        assert_eq!(finished.decision, Decision::Sent);
    }

    #[test]
    fn it_is_handed_over_where_another_can_take_it_but_not_for_ever() {
        let failure = Failure { scope: Scope::Gateway, code: "refused".into(), detail: "no".into() };
        let decision = |claims, retries, elsewhere| {
            let outcome = SubmitOutcome::NotTaken(failure.clone());
            Attempt { retries, claims, ..ATTEMPT }.conclude(outcome, NOW, 0.0, elsewhere).decision
        };
        let handed = Decision::HandOver { due_at: NOW, code: Some("refused".into()) };
        assert_eq!(decision(0, 0, true), handed);
        assert_eq!(decision(HAND_OVERS, 1, true), handed);
        for (claims, elsewhere) in [(HAND_OVERS, true), (0, false)] {
            assert!(matches!(decision(claims, 0, elsewhere), Decision::PutBack { spent: true, .. }));
        }
    }

    #[test]
    fn a_lost_answer_is_settled_when_the_policy_says() {
        let outcome = SubmitOutcome::Unknown(Failure {
            scope: Scope::Recipient,
            code: "lost".into(),
            detail: "no answer".into(),
        });
        let expected = Decision::Unknown { settle_at: NOW.plus(ATTEMPT.settle_after) };
        assert_eq!(ATTEMPT.conclude(outcome, NOW, 0.0, false).decision, expected);
    }

    #[test]
    fn what_never_left_is_due_at_once_and_costs_nothing() {
        assert_eq!(ATTEMPT.put_back(NOW).decision, Decision::PutBack { due_at: NOW, spent: false });
    }
}
