//! Decides about the outcome of one submit: the retry ladder and the policy for lost ones.

use std::time::Duration;

use super::DeliveryEvent;
use crate::alert::Priority;
use crate::outcome::{Failure, Scope, SubmitOutcome};
use crate::time::Timestamp;

/// Waits between attempts that the provider answered with "not now": in seconds, because an
/// alert is over in half an hour and the first minutes count.
pub const RETRY_LADDER: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(1),
];

/// No delivery that is queued again waits longer: the last step of the ladder with all its jitter. A `due_at` that lies further ahead
/// was written before the clock was set back.
pub const LONGEST_WAIT: Duration = Duration::from_secs(72);

/// How long a gateway that refused us as a whole is left alone, at the least.
pub const GATEWAY_PAUSE: Duration = Duration::from_mins(1);

/// The facts that [`decide`] needs besides the outcome.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubmitContext {
    /// The present moment.
    pub now: Timestamp,
    /// When the alert is over; nothing is sent at or after it.
    pub expires_at: Timestamp,
    /// How often it was tried before this time.
    pub retries: u32,
    /// Spreads retries: a number in `-1.0..=1.0`; 1 is 20 % later.
    pub jitter: f64,
    /// Decides how long a lost submit waits to be settled.
    pub priority: Priority,
}

/// The next step for the delivery (and, in one case, for the gateway).
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It is `sent`.
    Sent,
    /// Back into the queue.
    PutBack {
        /// Not before.
        due_at: Timestamp,
        /// Whether the attempt counts on the ladder; being throttled does not.
        spent: bool,
    },
    /// It is `failed`, for this reason.
    Failed(Failure),
    /// It is `unknown` and will be settled.
    Unknown {
        /// When the policy decides, if nothing did before.
        settle_at: Timestamp,
    },
    /// The gateway refused us as a whole: back into the queue, gateway paused.
    PauseGateway {
        /// Not before.
        due_at: Timestamp,
        /// The failure as the operator is told it.
        failure: Failure,
    },
    /// Back into the queue for another gateway, which may have it at once; this one is to leave it alone for a while.
    HandOver {
        /// Not before.
        due_at: Timestamp,
        /// The reason why this gateway did not take it, if it said one.
        code: Option<String>,
    },
    /// There is no time left for another try.
    Expired,
}

impl Decision {
    /// The event that the decision is for the delivery.
    #[must_use]
    pub const fn event(&self) -> DeliveryEvent {
        match self {
            Self::Sent => DeliveryEvent::Accepted,
            Self::PutBack { .. } | Self::PauseGateway { .. } | Self::HandOver { .. } => {
                DeliveryEvent::PutBack
            }
            Self::Failed(_) => DeliveryEvent::Rejected,
            Self::Unknown { .. } => DeliveryEvent::AnswerLost,
            Self::Expired => DeliveryEvent::OutOfTime,
        }
    }
}

/// The wait before retry number `retries` (from 0), with up to 20 % of jitter.
#[must_use]
pub fn backoff(retries: u32, jitter: f64) -> Duration {
    let step = usize::try_from(retries).unwrap_or(usize::MAX).min(RETRY_LADDER.len() - 1);
    RETRY_LADDER[step].mul_f64(1.0 + 0.2 * jitter.clamp(-1.0, 1.0))
}

/// Decides about `outcome`: total, no I/O.
#[must_use]
pub fn decide(outcome: &SubmitOutcome, context: &SubmitContext) -> Decision {
    let put_back = |wait: Duration, spent: bool| {
        let due_at = context.now.plus(wait);
        if due_at < context.expires_at { Decision::PutBack { due_at, spent } } else { Decision::Expired }
    };
    match outcome {
        SubmitOutcome::Accepted { .. } => Decision::Sent,
        SubmitOutcome::Throttled { retry_after } => {
            let least = backoff(0, context.jitter);
            put_back(retry_after.map_or(least, |wait| wait.max(least).min(LONGEST_WAIT)), false)
        }
        SubmitOutcome::NotTaken(_) => put_back(backoff(context.retries, context.jitter), true),
        SubmitOutcome::Rejected(failure) => match failure.scope {
            Scope::Recipient | Scope::Message => Decision::Failed(failure.clone()),
            // The queue waits: another gateway may take it at once, this one after its pause.
            Scope::Gateway => match put_back(backoff(0, context.jitter), false) {
                Decision::PutBack { due_at, .. } => {
                    Decision::PauseGateway { due_at, failure: failure.clone() }
                }
                other => other,
            },
        },
        SubmitOutcome::Unknown(_) => {
            Decision::Unknown { settle_at: context.now.plus(context.priority.settle_after()) }
        }
    }
}

/// Decides about `outcome` if another gateway can take the message. A message that was certainly not taken goes to it at once
/// and costs no attempt. Everything else is as [`decide`] says: a message in doubt never changes gateways here.
#[must_use]
pub fn hand_over(outcome: &SubmitOutcome, context: &SubmitContext) -> Decision {
    let code = match outcome {
        SubmitOutcome::Throttled { .. } => None,
        SubmitOutcome::NotTaken(failure) => Some(failure.code.clone()),
        SubmitOutcome::Rejected(failure) if failure.scope == Scope::Gateway => Some(failure.code.clone()),
        _ => return decide(outcome, context),
    };
    if context.now < context.expires_at {
        Decision::HandOver { due_at: context.now, code }
    } else {
        Decision::Expired
    }
}

/// The policy's answer about a submit that nothing settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Settlement {
    /// Send it once more.
    Resend,
    /// Leave it as it is, for all to see.
    Hold,
}

impl Settlement {
    /// The event that the settlement is for the delivery.
    #[must_use]
    pub const fn event(self) -> DeliveryEvent {
        match self {
            Self::Resend => DeliveryEvent::Resend,
            Self::Hold => DeliveryEvent::Held,
        }
    }
}

/// A second ring is better than none only if a life depends on it, only once, and only
/// while the alert runs.
#[must_use]
pub const fn settle(priority: Priority, resent_before: bool, alert_is_running: bool) -> Settlement {
    match priority {
        Priority::LifeThreatening if !resent_before && alert_is_running => Settlement::Resend,
        _ => Settlement::Hold,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn context(retries: u32, expires_in_s: u64) -> SubmitContext {
        SubmitContext {
            now: NOW,
            expires_at: NOW.plus(Duration::from_secs(expires_in_s)),
            retries,
            jitter: 0.0,
            priority: Priority::Urgent,
        }
    }

    fn failure(scope: Scope) -> Failure {
        Failure { scope, code: "x".into(), detail: "y".into() }
    }

    #[test]
    fn every_outcome_has_its_decision() {
        let c = context(0, 3600);
        let in_a_second = NOW.plus(Duration::from_secs(1));
        let cases = [
            (SubmitOutcome::Accepted { provider_ids: vec![], segments: 1 }, Decision::Sent),
            (
                SubmitOutcome::Throttled { retry_after: None },
                Decision::PutBack { due_at: in_a_second, spent: false },
            ),
            (
                SubmitOutcome::Throttled { retry_after: Some(Duration::from_hours(1)) },
                Decision::PutBack { due_at: NOW.plus(LONGEST_WAIT), spent: false },
            ),
            (
                SubmitOutcome::Throttled { retry_after: Some(Duration::from_secs(7)) },
                Decision::PutBack { due_at: NOW.plus(Duration::from_secs(7)), spent: false },
            ),
            (
                SubmitOutcome::NotTaken(failure(Scope::Gateway)),
                Decision::PutBack { due_at: in_a_second, spent: true },
            ),
            (SubmitOutcome::Rejected(failure(Scope::Recipient)), Decision::Failed(failure(Scope::Recipient))),
            (SubmitOutcome::Rejected(failure(Scope::Message)), Decision::Failed(failure(Scope::Message))),
            (
                SubmitOutcome::Rejected(failure(Scope::Gateway)),
                Decision::PauseGateway { due_at: in_a_second, failure: failure(Scope::Gateway) },
            ),
            (
                SubmitOutcome::Unknown(failure(Scope::Recipient)),
                Decision::Unknown { settle_at: NOW.plus(Duration::from_secs(30)) },
            ),
        ];
        for (outcome, expected) in cases {
            assert_eq!(decide(&outcome, &c), expected, "{outcome:?}");
        }
    }

    #[test]
    fn only_what_was_certainly_not_taken_is_handed_over() {
        let handed = |code: Option<&str>| Decision::HandOver { due_at: NOW, code: code.map(Into::into) };
        let c = context(3, 3600);
        let cases = [
            (SubmitOutcome::Throttled { retry_after: Some(Duration::from_secs(7)) }, handed(None)),
            (SubmitOutcome::NotTaken(failure(Scope::Gateway)), handed(Some("x"))),
            (SubmitOutcome::Rejected(failure(Scope::Gateway)), handed(Some("x"))),
        ];
        for (outcome, expected) in cases {
            assert_eq!(hand_over(&outcome, &c), expected, "{outcome:?}");
            assert_eq!(hand_over(&outcome, &context(0, 0)), Decision::Expired, "{outcome:?}");
        }
        for outcome in [
            SubmitOutcome::Accepted { provider_ids: vec![], segments: 1 },
            SubmitOutcome::Rejected(failure(Scope::Recipient)),
            SubmitOutcome::Rejected(failure(Scope::Message)),
            SubmitOutcome::Unknown(failure(Scope::Recipient)),
        ] {
            assert_eq!(hand_over(&outcome, &c), decide(&outcome, &c), "{outcome:?}");
        }
    }

    #[test]
    fn the_ladder_climbs_in_seconds_and_stays_on_top() {
        let waits: Vec<u64> = (0..7).map(|n| backoff(n, 0.0).as_secs()).collect();
        assert_eq!(waits, [1, 3, 10, 30, 60, 60, 60]);
        assert_eq!(backoff(4, 1.0), LONGEST_WAIT);
        assert_eq!(backoff(4, -9.0), Duration::from_secs(48));
    }

    #[test]
    fn no_retry_passes_the_expiry() {
        for retries in 0..10 {
            for left in [1, 2, 5, 30, 60, 100] {
                for outcome in [
                    SubmitOutcome::Throttled { retry_after: Some(Duration::from_secs(20)) },
                    SubmitOutcome::NotTaken(failure(Scope::Gateway)),
                    SubmitOutcome::Rejected(failure(Scope::Gateway)),
                ] {
                    let c = context(retries, left);
                    match decide(&outcome, &c) {
                        Decision::PutBack { due_at, .. } | Decision::PauseGateway { due_at, .. } => {
                            assert!(due_at < c.expires_at);
                        }
                        other => assert_eq!(other, Decision::Expired),
                    }
                }
            }
        }
    }

    #[test]
    fn only_a_life_is_worth_a_second_ring() {
        assert_eq!(settle(Priority::LifeThreatening, false, true), Settlement::Resend);
        assert_eq!(settle(Priority::LifeThreatening, true, true), Settlement::Hold);
        assert_eq!(settle(Priority::LifeThreatening, false, false), Settlement::Hold);
        assert_eq!(settle(Priority::Urgent, false, true), Settlement::Hold);
        assert_eq!(settle(Priority::Normal, false, true), Settlement::Hold);
    }
}
