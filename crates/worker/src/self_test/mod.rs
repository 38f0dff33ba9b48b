//! Test messages: a worker that holds a channel of a gateway submits requested tests once, outside the queue. It also
//! does so while the gateway is out of use, because a test shows whether it works again.

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::gateway::TestState;
use klaroen_domain::hours::DailyTime;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{Failure, SubmitOutcome};
use klaroen_domain::phone::PhoneNumber;
use klaroen_domain::text::MessageText;
use klaroen_domain::time::Clock;
use klaroen_gateway::config::{ConfigFault, GatewayConfig};
use klaroen_gateway::{ChannelStatus, OutboundSms, SmsGateway};
use klaroen_store::channels::ChannelName;
use klaroen_store::gateway_tests::{ClaimedTest, TestAnswer};
use klaroen_store::{Store, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gateway::handle::GatewayHandle;
use crate::gateway::request::submit;
use crate::jitter;

pub(crate) mod schedule;

/// Says that it is a test, in the language of those who carry the phones. It must fit one segment, because a test is
/// one SMS.
const TEXT: &str = "Klaroen: dit is een testbericht van de meldkamer om de sms-verbinding te controleren. U hoeft niets te doen.";
/// How often a connection looks for a test.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a test counts as being submitted: longer than any gateway's own time-out.
const LEASE: Duration = Duration::from_mins(1);
/// How much of the lease may pass before the message leaves, if an alert takes the whole rate.
const WAIT_FOR_RATE: Duration = Duration::from_secs(20);
/// The answer must be recorded before the lease ends, and clocks may differ.
const SKEW: Duration = Duration::from_secs(10);
/// The validity period of the message for the provider.
const VALIDITY: Duration = Duration::from_mins(10);
const WRITE_AGAIN: Duration = Duration::from_millis(500);

/// How one gateway is tested.
#[derive(Clone, Debug)]
pub struct SelfTest {
    /// The gateway's name.
    pub gateway: String,
    /// The number that test messages go to.
    pub number: PhoneNumber,
    /// When the daily test is sent, by the wall clock of the service.
    pub at: Option<DailyTime>,
}

impl SelfTest {
    /// How a configured gateway is tested; `None` for a gateway without a number for tests.
    ///
    /// # Errors
    /// [`ConfigFault`] if the number or the time of the test is malformed.
    #[must_use]
    pub fn from_config(config: &GatewayConfig) -> Option<Result<Self, ConfigFault>> {
        let of = |number| {
            let at = config.routing().test_at()?;
            Ok(Self { gateway: config.name().to_owned(), number, at })
        };
        config.routing().test_number().transpose().map(|number| number.and_then(of))
    }
}

/// Submits the tests of one connection.
pub(crate) struct SelfTester {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) channel: ChannelName,
    pub(crate) handle: Arc<GatewayHandle>,
    pub(crate) gateway: Arc<dyn SmsGateway>,
    pub(crate) status: watch::Receiver<ChannelStatus>,
    pub(crate) number: PhoneNumber,
}

impl SelfTester {
    /// Runs until `stop`, and waits for a test that has left.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let text = match MessageText::parse(TEXT, 1) {
            Ok(text) => Arc::new(text),
            Err(error) => return tracing::error!(%error, "the text of test messages is invalid"),
        };
        while !stop.is_cancelled() {
            if *self.status.borrow() == ChannelStatus::Up
                && let Err(error) = self.run_due_test(&text, &stop).await
            {
                tracing::debug!(channel = %self.channel, %error, "could not look for requested tests");
            }
            tokio::select! {
                () = tokio::time::sleep(jitter::around(LOOK_EVERY)) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn run_due_test(
        &self,
        text: &Arc<MessageText>,
        stop: &CancellationToken,
    ) -> Result<(), StoreError> {
        let (now, began) = (self.clock.now(), Instant::now());
        let Some(claimed) = self.store.claim_gateway_test(&self.channel, now.plus(LEASE), now).await? else {
            return Ok(());
        };
        let in_turn = tokio::select! {
            in_turn = tokio::time::timeout_at(began + WAIT_FOR_RATE, self.wait_for_rate(text)) => in_turn.is_ok(),
            () = stop.cancelled() => return self.store.release_gateway_test(&claimed).await,
        };
        let answer = if !in_turn {
            let detail = "other messages used up the rate of the gateway";
            refused("rate_used_up", detail)
        } else if !self.store.begin_gateway_test(&claimed, &self.number, self.clock.now()).await? {
            return Ok(());
        } else {
            tracing::info!(channel = %self.channel, test = %claimed.id, "submitting a test message");
            let sms = OutboundSms {
                delivery: DeliveryId::of_test(claimed.number),
                attempt: claimed.lease_token,
                to: self.number.clone(),
                text: Arc::clone(text),
                validity: VALIDITY,
            };
            let done = submit(Arc::clone(&self.gateway), sms, began + LEASE.saturating_sub(SKEW)).await;
            answer_of(done.outcome, self.gateway.capabilities().receipts)
        };
        self.record_answer(&claimed, &answer, began + LEASE).await;
        Ok(())
    }

    async fn wait_for_rate(&self, text: &MessageText) {
        while let Err(wait) = self.handle.pace.try_acquire(self.gateway.segments(text)) {
            tokio::time::sleep(wait).await;
        }
    }

    /// Records the answer. After the lease is over the test becomes unknown, as it does after a crash.
    async fn record_answer(&self, test: &ClaimedTest, answer: &TestAnswer, until: Instant) {
        loop {
            let now = self.clock.now();
            match self.store.finish_gateway_test(test.number, test.lease_token, answer, now).await {
                Ok(_) => return,
                Err(error) if error.is_retryable() && Instant::now() < until => {
                    tracing::warn!(test = %test.id, %error, "the outcome of a test message is not recorded; retrying");
                    tokio::time::sleep(WRITE_AGAIN).await;
                }
                Err(error) => {
                    return tracing::error!(test = %test.id, %error, "the outcome of a test message was not recorded");
                }
            }
        }
    }
}

/// The answer to record for an outcome. `receipts` is whether the gateway sends any.
pub(crate) fn answer_of(outcome: SubmitOutcome, receipts: bool) -> TestAnswer {
    match outcome {
        SubmitOutcome::Accepted { provider_ids, .. } => TestAnswer {
            state: TestState::Accepted,
            provider_id: provider_ids.into_iter().next(),
            awaits_receipt: receipts,
            failure: None,
        },
        SubmitOutcome::Throttled { .. } => refused("throttled", "the provider asked for a slower pace"),
        SubmitOutcome::NotTaken(Failure { code, detail, .. })
        | SubmitOutcome::Rejected(Failure { code, detail, .. }) => refused(&code, &detail),
        SubmitOutcome::Unknown(Failure { code, detail, .. }) => {
            TestAnswer { state: TestState::Unknown, ..refused(&code, &detail) }
        }
    }
}

fn refused(code: &str, detail: &str) -> TestAnswer {
    TestAnswer {
        state: TestState::Refused,
        provider_id: None,
        awaits_receipt: false,
        failure: Some((code.to_owned(), detail.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use klaroen_domain::outcome::{ProviderId, Scope};

    use super::*;

    #[test]
    fn a_test_is_one_sms() {
        assert_eq!(MessageText::parse(TEXT, 1).unwrap().segments(), 1);
    }

    #[test]
    fn each_outcome_has_its_answer() {
        let failure = || Failure { scope: Scope::Gateway, code: "c".into(), detail: "d".into() };
        let accepted = SubmitOutcome::Accepted { provider_ids: vec![ProviderId("p".into())], segments: 1 };
        for (outcome, state) in [
            (accepted.clone(), TestState::Accepted),
            (SubmitOutcome::Throttled { retry_after: None }, TestState::Refused),
            (SubmitOutcome::NotTaken(failure()), TestState::Refused),
            (SubmitOutcome::Rejected(failure()), TestState::Refused),
            (SubmitOutcome::Unknown(failure()), TestState::Unknown),
        ] {
            let answer = answer_of(outcome, true);
            assert_eq!(answer.state, state);
            assert_eq!(answer.awaits_receipt, state == TestState::Accepted, "{state}");
            assert_eq!(answer.failure.is_none(), state == TestState::Accepted, "{state}");
        }
        let answer = answer_of(accepted, false);
        assert_eq!((answer.provider_id.unwrap().0.as_str(), answer.awaits_receipt), ("p", false));
    }
}
