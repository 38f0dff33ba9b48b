//! Ending a session: nothing is left in doubt that need not be, and what is abandoned is named.

use klaroen_domain::outcome::{Failure, Scope, SubmitOutcome};
use tokio::time::{Instant, timeout_at};

use crate::session::responses::next_done;
use crate::session::{Hold, Session};

/// Ids that one log line names.
const NAMED: usize = 20;

impl Session {
    /// Puts back what was not submitted, then waits for what is under way until `deadline`.
    pub(crate) async fn drain(mut self, deadline: Instant) {
        if let Some(mut claiming) = self.claiming.take() {
            if let Ok(claimed) = timeout_at(deadline, &mut claiming).await {
                self.on_claimed(claimed);
            } else {
                tracing::warn!("a claim does not end: what it brings is put back as soon as it does");
                let brought = async move { claiming.await.ok().and_then(Result::ok) };
                tokio::spawn(self.context.claimer.clone().put_back(brought));
            }
        }
        self.put_back_by(deadline).await;
        while !self.in_flight.is_empty() {
            match timeout_at(deadline, next_done(&mut self.in_flight)).await {
                Ok(done) => self.on_responses(done),
                Err(_) => break,
            }
            // A batch that was refused as a whole is in the queue again.
            self.put_back_by(deadline).await;
        }
        self.abandon();
    }

    /// Waits for places for the results where a database that is away has used them up.
    async fn put_back_by(&mut self, deadline: Instant) {
        while let Hold::Results = self.put_back_queue() {
            let place = timeout_at(deadline, self.context.claimer.results.reserve()).await;
            if !matches!(place, Ok(Ok(_))) {
                let count = self.queue.len();
                tracing::error!(count, "deliveries not put back: they become unknown when their lease ends");
                return;
            }
        }
    }

    /// What is still under way may have been taken: it is written down as such now, not when its lease ends.
    fn abandon(&mut self) {
        if self.attempts.is_empty() {
            return;
        }
        let ids: Vec<i64> = self.attempts.keys().take(NAMED).map(|id| id.0).collect();
        let (channel, count) = (&self.context.claimer.channel, self.attempts.len());
        tracing::error!(%channel, count, ?ids, "submits abandoned: these deliveries are in doubt");
        let now = self.context.claimer.clock.now();
        self.context.handle.on_abandoned(self.attempts.keys().copied());
        for (_, (ready, place)) in self.attempts.drain() {
            let failure = Failure {
                scope: Scope::Recipient,
                code: "shutdown".into(),
                detail: "we stopped before the provider answered".into(),
            };
            place.send(ready.attempt.conclude(SubmitOutcome::Unknown(failure), now, 0.0, false));
            self.context.unknown_attempts.remember(ready.attempt);
        }
        // Last: what had not left yet is told as a late answer, which settles the doubt.
        self.in_flight.clear();
    }
}
