//! An open connection: its session, the tasks that run along with it, and the order in which they end.

use std::sync::Arc;
use std::time::Duration;

use klaroen_gateway::SmsGateway;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gateway::handle::BoundGuard;
use crate::lease::channel_lease::Lease;
use crate::outcome_writer::OutcomeWriter;
use crate::session::{Ended, Session};
use crate::supervise::ChildTask;

/// How long the last answers may take after the drain deadline.
const LAST: Duration = Duration::from_secs(2);
/// How long storing the last events may take after that.
const EVENTS: Duration = Duration::from_secs(1);
/// How long logging off from the provider and the last commits may take after that.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a connection whose lease is lost waits for its last answers.
const LOST: Duration = Duration::from_secs(2);

/// A connection with its session and its tasks.
pub(super) struct Connection {
    pub(super) gateway: Arc<dyn SmsGateway>,
    pub(super) session: Session,
    pub(super) writer: OutcomeWriter,
    pub(super) events: ChildTask,
    pub(super) replies: ChildTask,
    /// `None` after they were stopped.
    pub(super) status_queries: Option<ChildTask>,
    pub(super) self_tests: ChildTask,
    pub(super) stop_events: CancellationToken,
    pub(super) stop_tests: CancellationToken,
}

/// The latest end of each step of closing a connection.
struct Deadlines {
    drained: Instant,
    answered: Instant,
    stored: Instant,
    closed: Instant,
}

impl Deadlines {
    fn after(patience: Duration) -> Self {
        let drained = Instant::now() + patience;
        let answered = drained + LAST;
        let stored = answered + EVENTS;
        Self { drained, answered, stored, closed: stored + FAREWELL }
    }
}

impl Connection {
    /// Sends until there is a reason to stop. The failure of a task is one.
    pub(super) async fn run(
        &mut self,
        lease: &Lease,
        guard: &mut BoundGuard<'_>,
        stop: &CancellationToken,
    ) -> Ended {
        let status_queries = async {
            match &mut self.status_queries {
                Some(task) => task.failed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            ended = self.session.run(lease, guard, stop) => ended,
            // Without these tasks messages would get no receipts, or a STOP would be refused, so the connection is
            // opened again.
            () = self.events.failed() => Ended::Broken,
            () = self.replies.failed() => Ended::Broken,
            () = status_queries => Ended::Broken,
            () = self.self_tests.failed() => Ended::Broken,
        }
    }

    /// Stops the status queries. The next holder of a channel repeats those that were under way.
    pub(super) fn stop_status_queries(&mut self) {
        self.status_queries = None;
    }

    /// Drains and closes the connection. `patience` is how long the session may wait for answers.
    pub(super) async fn close(self, ended: Ended, patience: Duration, shutdown: &CancellationToken) {
        if ended == Ended::LeaseLost {
            // Messages that still wait in the connection are put back at once and are not in doubt.
            self.gateway.halt();
        }
        // Another process may be connecting already, and providers limit the number of connections.
        let patience = if ended == Ended::LeaseLost { patience.min(LOST) } else { patience };
        let by = Deadlines::after(patience);
        self.stop_tests.cancel();
        self.session.drain(by.drained).await;
        if !self.self_tests.end(by.drained).await {
            tracing::warn!("a test message was not answered before the shutdown: its outcome is unknown");
        }
        // Events are still read during this, so that no answer and no part of a reply is lost.
        drain(&*self.gateway, by.answered).await;
        // The connection is still open during this, so that stored events are acknowledged.
        self.stop_events.cancel();
        if !(self.events.end(by.stored).await && self.replies.end(by.stored).await) {
            tracing::warn!("events not stored before the shutdown: the provider has to send them again");
        }
        close(&*self.gateway, by.closed).await;
        // If the database is away, the writer waits for it, except at the end of the process.
        let abandon = async {
            shutdown.cancelled().await;
            tokio::time::sleep_until(by.closed.max(Instant::now() + FAREWELL)).await;
        };
        self.writer.close(abandon).await;
    }
}

/// Waits for the last answers, and for events that only the connection still has.
async fn drain(gateway: &dyn SmsGateway, by: Instant) {
    let left = by.saturating_duration_since(Instant::now());
    if tokio::time::timeout_at(by, gateway.drain(left)).await.is_err() {
        tracing::warn!("the connection was not drained in time");
    }
}

/// Logs off from the provider. An adapter that does not return in time is abandoned.
async fn close(gateway: &dyn SmsGateway, by: Instant) {
    let left = by.saturating_duration_since(Instant::now());
    if tokio::time::timeout_at(by, gateway.close(left)).await.is_err() {
        tracing::warn!("the connection did not close in time");
    }
}
