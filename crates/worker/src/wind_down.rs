//! Ending a session: nothing is left in doubt that need not be, and what is abandoned is named.

use klaroen_domain::outcome::{Failure, Scope, SubmitOutcome};
use tokio::time::{Instant, timeout_at};

use crate::session::{Session, next_done};

/// Ids that one log line names.
const NAMED: usize = 20;

/// Puts back what was not submitted, then waits for what is under way until `deadline`.
pub(crate) async fn wind_down(session: &mut Session, deadline: Instant) {
    if let Some(mut claiming) = session.claiming.take() {
        match timeout_at(deadline, &mut claiming).await {
            Ok(claimed) => session.claimed(claimed),
            Err(_) => {
                tracing::error!("a claim was abandoned: its deliveries become unknown when their lease ends")
            }
        }
    }
    session.put_back_queue().await;
    while !session.in_flight.is_empty() {
        match timeout_at(deadline, next_done(&mut session.in_flight)).await {
            Ok(done) => session.settle_all(done),
            Err(_) => break,
        }
    }
    abandon(session);
}

/// What is still under way may have been taken: it is written down as such now, not when its lease ends.
fn abandon(session: &mut Session) {
    if session.attempts.is_empty() {
        return;
    }
    let ids: Vec<i64> = session.attempts.keys().take(NAMED).map(|id| id.0).collect();
    let count = session.attempts.len();
    tracing::error!(channel = %session.parts().claimer.channel, count, ?ids, "submits abandoned: these deliveries are in doubt");
    let now = session.parts().claimer.clock.now();
    session.in_flight.clear();
    for (_, (attempt, place)) in session.attempts.drain() {
        let failure = Failure {
            scope: Scope::Recipient,
            code: "shutdown".into(),
            detail: "we stopped before the provider answered".into(),
        };
        place.send(attempt.conclude(SubmitOutcome::Unknown(failure), now, 0.0));
    }
}
