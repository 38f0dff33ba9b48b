//! Responses: each outcome is passed on to the writer, and the breaker and the pace learn from it.

use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_domain::time::Timestamp;
use klaroen_gateway::ChannelStatus;
use tokio::time::Instant;

use crate::gateway::batch_verdict;
use crate::gateway::request::SubmitResponses;
use crate::jitter;
use crate::session::Session;
use crate::session::claim::Ready;

impl Session {
    pub(super) fn on_responses(&mut self, done: Vec<SubmitResponses>) {
        let messages = done.iter().map(|answers| answers.each.len()).sum();
        self.throughput.record(Instant::now(), messages, !self.in_flight.is_empty());
        for answers in done {
            self.places = self.places.saturating_sub(answers.places);
            self.on_response(answers);
        }
        #[expect(clippy::cast_precision_loss, reason = "at most some windows of batches")]
        self.context.instruments.in_flight.set(self.attempts.len() as f64);
    }

    fn on_response(&mut self, SubmitResponses { each, took, .. }: SubmitResponses) {
        let Some(first) = each.first().map(|(id, _)| *id) else { return };
        let outcomes: Vec<&SubmitOutcome> = each.iter().map(|(_, outcome)| outcome).collect();
        self.update_rate(&outcomes);
        let connected = *self.context.status.borrow() == ChannelStatus::Up;
        if !self.is_held() {
            // If the channel is lost, a message that did not leave says nothing about the gateway.
            self.context.handle.on_abandoned(each.iter().map(|(id, _)| *id));
        } else if self.context.handle.on_response(first, &outcomes, took, connected) {
            self.context.router.on_change();
        }
        if let Some(together) = batch_verdict::split_batch(&outcomes) {
            return self.requeue_split(each, together);
        }
        let now = self.context.claimer.clock.now();
        self.context.handle.count_outcomes(&outcomes, now);
        for (id, outcome) in each {
            self.conclude(id, outcome, took, now);
        }
    }

    /// Whether this process still holds the channel.
    fn is_held(&self) -> bool {
        self.context.lease_status.is_held(Instant::now())
    }

    /// None of the batch was accepted, and the reason may be one of its messages. All of them are submitted again
    /// before others, in smaller batches.
    fn requeue_split(&mut self, each: Vec<(DeliveryId, SubmitOutcome)>, together: u16) {
        tracing::debug!(channel = %self.context.claimer.channel, messages = each.len(), "a batch was refused as a whole");
        let now = Instant::now();
        for (id, _) in each.into_iter().rev() {
            if let Some((ready, _place)) = self.attempts.remove(&id) {
                self.queue.push_front(ready.again(together, now));
            }
        }
    }

    fn conclude(&mut self, id: DeliveryId, outcome: SubmitOutcome, took: Duration, now: Timestamp) {
        let Some((Ready { attempt, phone, .. }, place)) = self.attempts.remove(&id) else { return };
        self.context.instruments.submitted(&outcome, took);
        let elsewhere = match &outcome {
            SubmitOutcome::Accepted { .. } | SubmitOutcome::Unknown(_) => false,
            _ => {
                self.context.router.has_alternative(self.gateway_index, attempt.priority, || phone.country())
            }
        };
        let unknown = matches!(outcome, SubmitOutcome::Unknown(_));
        let not_taken = matches!(outcome, SubmitOutcome::NotTaken(_));
        place.send(if not_taken && !self.is_held() {
            attempt.put_back(now)
        } else {
            attempt.conclude(outcome, now, jitter::signed(), elsewhere)
        });
        if unknown {
            // After its result was passed on, so that a late response is written after the unknown outcome.
            self.context.unknown_attempts.remember(attempt);
        }
    }

    /// Adapts the pace. The complaint that slows us down counts once, however many messages the request had. Later
    /// complaints count by message, as acceptances do.
    fn update_rate(&self, outcomes: &[&SubmitOutcome]) {
        let handle = &self.context.handle;
        for outcome in outcomes {
            match outcome {
                SubmitOutcome::Throttled { .. } => {
                    let measured = self.throughput.guess() * f64::from(handle.channels_held());
                    if let Some(rate) = handle.pace.on_throttled(measured) {
                        let gateway = &self.context.claimer.channel.gateway;
                        tracing::warn!(
                            gateway,
                            segments_per_second = rate,
                            "the provider throttles us; slowing down"
                        );
                        return;
                    }
                }
                SubmitOutcome::Accepted { segments, .. } => handle.pace.on_accepted(*segments),
                SubmitOutcome::Rejected(_) | SubmitOutcome::NotTaken(_) | SubmitOutcome::Unknown(_) => {}
            }
        }
    }
}

/// Waits for a response and returns all that are ready, so that one pass through the loop handles many.
pub(super) async fn next_done(
    in_flight: &mut FuturesUnordered<BoxFuture<'static, SubmitResponses>>,
) -> Vec<SubmitResponses> {
    let mut all = Vec::new();
    std::future::poll_fn(|context| {
        while let Poll::Ready(Some(done)) = in_flight.poll_next_unpin(context) {
            all.push(done);
        }
        if all.is_empty() { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    all
}
