//! Answers: each is passed on to be written down, and what it says about the gateway is learnt.

use std::task::Poll;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_gateway::ChannelStatus;
use tokio::time::Instant;

use crate::jitter;
use crate::session::Session;
use crate::submit::Done;

impl Session {
    pub(super) fn settle_all(&mut self, done: Vec<Done>) {
        self.meter.record(Instant::now(), done.len(), !self.in_flight.is_empty());
        for done in done {
            self.settle(done);
        }
        #[expect(clippy::cast_precision_loss, reason = "at most the window")]
        self.parts.instruments.in_flight.set(self.in_flight.len() as f64);
    }

    fn settle(&mut self, done: Done) {
        let Some((attempt, place)) = self.attempts.remove(&done.id) else { return };
        self.parts.instruments.submitted(&done.outcome, done.took);
        let now = self.parts.claimer.clock.now();
        self.learn(&done.outcome);
        let connected = *self.parts.status.borrow() == ChannelStatus::Up;
        if self.parts.control.ended(done.id, &done.outcome, done.took, connected, now) {
            self.parts.switchboard.changed();
        }
        let elsewhere = match &done.outcome {
            SubmitOutcome::Accepted { .. } | SubmitOutcome::Unknown(_) => false,
            _ => self.parts.switchboard.elsewhere(self.seat, attempt.priority, || done.to.country()),
        };
        let unknown = matches!(done.outcome, SubmitOutcome::Unknown(_));
        place.send(attempt.conclude(done.outcome, now, jitter::signed(), elsewhere));
        if unknown {
            // After its result is on its way, so that the late answer is written after the doubt.
            self.parts.in_doubt.remember(attempt);
        }
    }

    /// What an answer says about the gateway rather than the message.
    fn learn(&self, outcome: &SubmitOutcome) {
        let control = &self.parts.control;
        match outcome {
            SubmitOutcome::Throttled { .. } => {
                let measured = self.meter.guess() * f64::from(control.fed());
                if let Some(rate) = control.pace.throttled(measured) {
                    let gateway = &self.parts.claimer.channel.gateway;
                    tracing::warn!(
                        gateway,
                        segments_per_second = rate,
                        "the provider says too fast: slowing down"
                    );
                }
            }
            SubmitOutcome::Accepted { segments, .. } => control.pace.taken(*segments),
            SubmitOutcome::Rejected(_) | SubmitOutcome::NotTaken(_) | SubmitOutcome::Unknown(_) => {}
        }
    }
}

/// Waits for an answer, and takes all that are there: one pass through the loop for many.
pub(super) async fn next_done(in_flight: &mut FuturesUnordered<BoxFuture<'static, Done>>) -> Vec<Done> {
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
