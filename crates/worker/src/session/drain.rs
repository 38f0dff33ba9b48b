//! The end of a session: no delivery is left in doubt without need, and abandoned ones are logged.

use klaroen_domain::outcome::{Failure, Scope, SubmitOutcome};
use tokio::time::{Instant, timeout_at};

use crate::session::responses::next_done;
use crate::session::{Hold, Session};

/// How many ids a log line names.
const NAMED: usize = 20;

impl Session {
    /// Puts unsubmitted deliveries back, then waits for submits in flight until `deadline`.
    pub(crate) async fn drain(mut self, deadline: Instant) {
        if let Some(mut claiming) = self.claiming.take() {
            if let Ok(claimed) = timeout_at(deadline, &mut claiming).await {
                self.on_claimed(claimed);
            } else {
                tracing::warn!("a claim did not end in time: its deliveries are put back when it does");
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

    /// Puts the queue back. If the database is away, this waits until results can be sent to the writer again.
    async fn put_back_by(&mut self, deadline: Instant) {
        while let Hold::Results = self.put_back_queue() {
            let place = timeout_at(deadline, self.context.claimer.results.reserve()).await;
            if !matches!(place, Ok(Ok(_))) {
                let count = self.queue.len();
                tracing::error!(
                    count,
                    "deliveries not put back before the shutdown: they become unknown when their leases end"
                );
                return;
            }
        }
    }

    /// Records submits that are still in flight as unknown now, not when their leases end.
    fn abandon(&mut self) {
        if self.attempts.is_empty() {
            return;
        }
        let ids: Vec<i64> = self.attempts.keys().take(NAMED).map(|id| id.0).collect();
        let (channel, count) = (&self.context.claimer.channel, self.attempts.len());
        tracing::error!(%channel, count, ?ids, "submits abandoned at the end of the session: these deliveries become unknown");
        let now = self.context.claimer.clock.now();
        self.context.handle.on_abandoned(self.attempts.keys().copied());
        for (_, (ready, place)) in self.attempts.drain() {
            let failure = Failure {
                scope: Scope::Recipient,
                code: "shutdown".into(),
                detail: "the service stopped before the provider answered".into(),
            };
            place.send(ready.attempt.conclude(SubmitOutcome::Unknown(failure), now, 0.0, false));
            self.context.unknown_attempts.remember(ready.attempt);
        }
        // Last, because a message that had not left yet produces a late response when it is dropped, and that settles
        // the unknown outcome.
        self.in_flight.clear();
    }
}
