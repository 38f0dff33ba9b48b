//! One attempt: hand a message over, once, and say what is to be done about the answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use klaroen_domain::alert::Priority;
use klaroen_domain::decide::{Decision, SubmitContext, decide, hand_over};
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{Failure, Scope, SubmitOutcome};
use klaroen_domain::time::Timestamp;
use klaroen_gateway::{OutboundSms, SmsGateway};
use klaroen_store::outcomes::Finished;
use tokio::time::Instant;

/// A delivery that went back and forth so often without a step on the retry ladder takes the ladder: otherwise two gateways that
/// both say "not now" would pass it to each other as fast as they can.
const HAND_OVERS: u32 = 10;

/// What is known of an attempt beside its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) id: DeliveryId,
    pub(crate) lease_token: i64,
    pub(crate) retries: u32,
    /// Claims before this one.
    pub(crate) claims: u32,
    pub(crate) expires_at: Timestamp,
    pub(crate) priority: Priority,
}

impl Attempt {
    /// What to write down about `outcome`. `jitter`: -1 to 1. `elsewhere`: whether another gateway can take the message.
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
        let (provider_ids, segments) = match outcome {
            SubmitOutcome::Accepted { provider_ids, segments } => (provider_ids, segments),
            _ => (Vec::new(), 0),
        };
        Finished { id: self.id, lease_token: self.lease_token, decision, provider_ids, segments, at: now }
    }

    /// What to write down about an attempt that never began: `decision` without an answer.
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

    /// Back into the queue at once: not a byte has left, so there is nothing to doubt and no attempt to count.
    pub(crate) const fn put_back(self, now: Timestamp) -> Finished {
        self.unsubmitted(Decision::PutBack { due_at: now, spent: false }, now)
    }
}

/// The answer to one attempt.
#[derive(Debug)]
pub(crate) struct SubmitResponse {
    pub(crate) outcome: SubmitOutcome,
    pub(crate) took: Duration,
}

/// Messages that go together.
pub(crate) struct SubmitRequest {
    pub(crate) batch: Vec<OutboundSms>,
    /// The end of the leases less an allowance for clocks.
    pub(crate) deadline: Instant,
    /// Places that it takes in the window.
    pub(crate) places: usize,
}

/// The answer to one request: what came of each of its messages, in their order.
#[derive(Debug)]
pub(crate) struct SubmitResponses {
    pub(crate) each: Vec<(DeliveryId, SubmitOutcome)>,
    pub(crate) took: Duration,
    /// [`SubmitRequest::places`].
    pub(crate) places: usize,
}

/// Something of ours or the adapter's went wrong after the message may have left.
fn unknown(code: &str, detail: &str) -> SubmitOutcome {
    SubmitOutcome::Unknown(Failure { scope: Scope::Recipient, code: code.into(), detail: detail.into() })
}

/// Hands `sms` over, under a lease of its own. The future always ends with an answer: at `deadline` (the end of the lease less an
/// allowance for clocks) and after a panic in the adapter the message is in doubt.
pub(crate) fn submit(
    gateway: Arc<dyn SmsGateway>,
    sms: OutboundSms,
    deadline: Instant,
) -> BoxFuture<'static, SubmitResponse> {
    let answers = submit_request(gateway, SubmitRequest { batch: vec![sms], deadline, places: 1 }, || true);
    async move {
        let SubmitResponses { mut each, took, .. } = answers.await;
        SubmitResponse { outcome: each.pop().map_or_else(unnamed, |(_, outcome)| outcome), took }
    }
    .boxed()
}

/// The same for messages that go in one request. What is lost with it is in doubt for each of them.
///
/// Each step may send something, so before each it is asked whether the channel `is_held`: where it is not, a request that has
/// not begun ends as not taken, and of one that has, nothing more leaves.
pub(crate) fn submit_request(
    gateway: Arc<dyn SmsGateway>,
    request: SubmitRequest,
    is_held: impl Fn() -> bool + Send + Sync + 'static,
) -> BoxFuture<'static, SubmitResponses> {
    async move {
        let SubmitRequest { batch, deadline, places } = request;
        let started = Instant::now();
        let asked = async {
            match batch.as_slice() {
                [sms] => vec![gateway.submit(sms).await],
                several => gateway.submit_batch(several).await,
            }
        };
        let alike = |outcome: SubmitOutcome| vec![outcome; batch.len()];
        let mut answer = std::pin::pin!(AssertUnwindSafe(asked).catch_unwind());
        let mut begun = false;
        let answer = std::future::poll_fn(|context| {
            if !is_held() {
                if !begun {
                    return Poll::Ready(Ok(alike(not_begun())));
                }
                gateway.halt();
            }
            begun = true;
            answer.as_mut().poll(context)
        });
        let outcomes = match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(outcomes)) if outcomes.len() == batch.len() => outcomes,
            // Whose outcome is missing is not known.
            Ok(Ok(_)) => alike(unnamed()),
            Ok(Err(_panic)) => alike(unknown("panic", "the gateway adapter failed while it was sending")),
            Err(_elapsed) => alike(unknown("lease", "no answer before the lease ran out")),
        };
        let each = batch.iter().map(|sms| sms.delivery).zip(outcomes).collect();
        SubmitResponses { each, took: started.elapsed(), places }
    }
    .boxed()
}

fn not_begun() -> SubmitOutcome {
    let detail = "the connection was another's before it left".into();
    SubmitOutcome::NotTaken(Failure { scope: Scope::Gateway, code: "lease".into(), detail })
}

fn unnamed() -> SubmitOutcome {
    unknown("no_outcome", "the gateway adapter does not say what came of it")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use klaroen_domain::outcome::ProviderId;
    use klaroen_domain::phone::PhoneNumber;
    use klaroen_domain::text::MessageText;
    use klaroen_gateway::Capabilities;
    use tokio::sync::Semaphore;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    const ATTEMPT: Attempt = Attempt {
        id: DeliveryId(7),
        lease_token: 99,
        retries: 0,
        claims: 0,
        expires_at: Timestamp::from_millis(9_000_000),
        priority: Priority::Urgent,
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

    /// Goes on when the test says so, unless it is halted by then.
    struct Step {
        gate: Semaphore,
        begun: AtomicBool,
        halted: AtomicBool,
    }

    #[async_trait]
    impl SmsGateway for Step {
        fn capabilities(&self) -> Capabilities {
            Capabilities::default()
        }

        async fn submit(&self, _: &OutboundSms) -> SubmitOutcome {
            self.begun.store(true, Ordering::SeqCst);
            drop(self.gate.acquire().await);
            if self.halted.load(Ordering::SeqCst) {
                return SubmitOutcome::Throttled { retry_after: None };
            }
            SubmitOutcome::Accepted { provider_ids: Vec::new(), segments: 1 }
        }

        fn halt(&self) {
            self.halted.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn nothing_begins_once_the_channel_is_anothers_and_what_has_begun_sends_nothing_more() {
        let gateway = Arc::new(Step {
            gate: Semaphore::new(0),
            begun: AtomicBool::new(false),
            halted: AtomicBool::new(false),
        });
        let held = Arc::new(AtomicBool::new(true));
        let request = || {
            let sms = OutboundSms {
                delivery: DeliveryId(7),
                attempt: 1,
                to: PhoneNumber::from_sealed("+31612345678".into()),
                text: Arc::new(MessageText::parse("Let op.", 1).unwrap()),
                validity: Duration::from_mins(1),
            };
            let (held, deadline) = (Arc::clone(&held), Instant::now() + Duration::from_mins(1));
            let request = SubmitRequest { batch: vec![sms], deadline, places: 1 };
            let gateway = Arc::clone(&gateway) as Arc<dyn SmsGateway>;
            submit_request(gateway, request, move || held.load(Ordering::SeqCst))
        };
        let (mut begun, waiting) = (request(), request());
        assert!((&mut begun).now_or_never().is_none());
        gateway.begun.store(false, Ordering::SeqCst);
        held.store(false, Ordering::SeqCst);
        let outcome = &waiting.await.each[0].1;
        assert!(matches!(outcome, SubmitOutcome::NotTaken(_)), "{outcome:?}");
        assert!(!gateway.begun.load(Ordering::SeqCst) && !gateway.halted.load(Ordering::SeqCst));
        gateway.gate.add_permits(1);
        let outcome = &begun.await.each[0].1;
        assert!(matches!(outcome, SubmitOutcome::Throttled { .. }), "it heard of it in time: {outcome:?}");
    }

    #[test]
    fn what_never_left_is_due_at_once_and_costs_nothing() {
        assert_eq!(ATTEMPT.put_back(NOW).decision, Decision::PutBack { due_at: NOW, spent: false });
    }
}
