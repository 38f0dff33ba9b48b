//! Responses that came after the submit had been abandoned.

use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_gateway::Ack;
use tokio::sync::oneshot;

use crate::events::EventReader;
use crate::events::acknowledge::acknowledge;
use crate::{jitter, self_test};

impl EventReader {
    /// Settles a test message. Its lease token is the fence.
    async fn late_test_response(
        &self,
        number: i64,
        attempt: i64,
        outcome: SubmitOutcome,
        ack: oneshot::Sender<Ack>,
    ) {
        // Connections with late responses also have receipts.
        let what = self_test::answer_of(outcome, true);
        match self.store.finish_gateway_test(number, attempt, &what, self.clock.now()).await {
            Ok(_) => acknowledge(ack, Ack::Stored),
            Err(error) => {
                tracing::warn!(number, %error, "late response to a test message not stored");
                acknowledge(ack, Ack::Retry);
            }
        }
    }

    /// Settles an attempt that had been abandoned. An attempt that is not remembered cannot be settled here because its
    /// context is missing: a receipt or the policy settles it.
    pub(super) async fn late_response(
        &self,
        delivery: DeliveryId,
        attempt: i64,
        outcome: SubmitOutcome,
        ack: oneshot::Sender<Ack>,
    ) {
        self.instruments.late.increment(1);
        if self.handle.on_late_response() {
            self.router.on_change();
        }
        if let Some(number) = delivery.test_number() {
            return self.late_test_response(number, attempt, outcome, ack).await;
        }
        if let Some(attempt) = self.unknown_attempts.recall(delivery, attempt) {
            let finished = attempt.conclude(outcome, self.clock.now(), jitter::signed(), false);
            if self.results.send(finished).await.is_err() {
                tracing::error!(%delivery, "late response not recorded, because the result writer has stopped: the delivery stays in doubt");
                return acknowledge(ack, Ack::Retry);
            }
        } else if self.unknown_attempts.may_be_early(delivery, attempt) {
            return acknowledge(ack, Ack::Retry);
        } else {
            tracing::info!(%delivery, "late response ignored: its attempt is not remembered");
        }
        acknowledge(ack, Ack::Stored);
    }
}
