//! One request to a provider: submits one message or a batch, once, and always ends with an outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{Failure, Scope, SubmitOutcome};
use klaroen_gateway::{OutboundSms, SmsGateway};
use tokio::time::Instant;

/// The outcome of one message.
#[derive(Debug)]
pub(crate) struct SubmitResponse {
    pub(crate) outcome: SubmitOutcome,
    pub(crate) took: Duration,
}

/// Messages that go in one request.
pub(crate) struct SubmitRequest {
    pub(crate) batch: Vec<OutboundSms>,
    /// The end of their leases, less an allowance for clocks.
    pub(crate) deadline: Instant,
    /// Slots that the request takes in the window.
    pub(crate) places: usize,
}

/// The outcomes of one request, in the order of its messages.
#[derive(Debug)]
pub(crate) struct SubmitResponses {
    pub(crate) each: Vec<(DeliveryId, SubmitOutcome)>,
    pub(crate) took: Duration,
    /// [`SubmitRequest::places`].
    pub(crate) places: usize,
}

/// The outcome if this program or the adapter failed after the message may have left.
fn unknown(code: &str, detail: &str) -> SubmitOutcome {
    SubmitOutcome::Unknown(Failure { scope: Scope::Recipient, code: code.into(), detail: detail.into() })
}

/// Submits one message under its own lease. The future always ends with an outcome: after `deadline` (the end of the
/// lease less an allowance for clocks) or a panic in the adapter, the outcome is unknown.
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

/// Submits the messages of one request. If the answer is lost, the outcome is unknown for each of them.
///
/// Each poll may send something, so `is_held` is asked before each whether the channel is still ours. If it is not, a
/// request that has not begun ends as not taken, and a request that has begun sends nothing more.
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
            // It is not known to which messages these outcomes belong.
            Ok(Ok(_)) => alike(unnamed()),
            Ok(Err(_panic)) => alike(unknown("panic", "the gateway adapter panicked while sending")),
            Err(_elapsed) => alike(unknown("lease", "no answer before the lease expired")),
        };
        let outcomes = outcomes.into_iter().map(SubmitOutcome::kept);
        let each = batch.iter().map(|sms| sms.delivery).zip(outcomes).collect();
        SubmitResponses { each, took: started.elapsed(), places }
    }
    .boxed()
}

fn not_begun() -> SubmitOutcome {
    let detail = "the channel was lost before the message was sent".into();
    SubmitOutcome::NotTaken(Failure { scope: Scope::Gateway, code: "lease".into(), detail })
}

fn unnamed() -> SubmitOutcome {
    unknown("no_outcome", "the gateway adapter returned no outcome")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use klaroen_domain::phone::PhoneNumber;
    use klaroen_domain::text::MessageText;
    use klaroen_gateway::Capabilities;
    use tokio::sync::Semaphore;

    use super::*;

    /// Continues when the test says so, unless it was halted before.
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
}
