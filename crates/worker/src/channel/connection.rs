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

/// What the last answers, and what only the connection knows, may take after the drain deadline.
const LAST: Duration = Duration::from_secs(2);
/// What storing the last events may take after that.
const EVENTS: Duration = Duration::from_secs(1);
/// What taking leave of the provider and the last commits may take after that.
const FAREWELL: Duration = Duration::from_secs(2);
/// What a connection whose lease is lost gets to hear its last answers.
const LOST: Duration = Duration::from_secs(2);

/// A connection with all that works for it.
pub(super) struct Connection {
    pub(super) gateway: Arc<dyn SmsGateway>,
    pub(super) session: Session,
    pub(super) writer: OutcomeWriter,
    pub(super) events: ChildTask,
    pub(super) replies: ChildTask,
    /// `None` once they are stopped.
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
    /// Sends until there is a reason to stop; a task that fails is one.
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
            // Without these tasks the messages would have no receipts, or a STOP would be refused: connect anew.
            () = self.events.failed() => Ended::Broken,
            () = self.replies.failed() => Ended::Broken,
            () = status_queries => Ended::Broken,
            () = self.self_tests.failed() => Ended::Broken,
        }
    }

    /// The next holder of a channel repeats the queries that were under way.
    pub(super) fn stop_status_queries(&mut self) {
        self.status_queries = None;
    }

    /// Drains and closes. `ended`: why; `patience`: how long the session may wait for answers.
    pub(super) async fn close(self, ended: Ended, patience: Duration, shutdown: &CancellationToken) {
        if ended == Ended::LeaseLost {
            // What still waits in the connection goes back at once, and is not in doubt.
            self.gateway.halt();
        }
        // Another process may be connecting already, and a provider counts connections.
        let patience = if ended == Ended::LeaseLost { patience.min(LOST) } else { patience };
        let by = Deadlines::after(patience);
        self.stop_tests.cancel();
        self.session.drain(by.drained).await;
        if !self.self_tests.end(by.drained).await {
            tracing::warn!("a test message was not answered in time: it is in doubt");
        }
        // While its events are still taken, so that no answer and no part of a reply is lost.
        drain(&*self.gateway, by.answered).await;
        // While the connection is still open, so that what is stored is acknowledged.
        self.stop_events.cancel();
        if !(self.events.end(by.stored).await && self.replies.end(by.stored).await) {
            tracing::warn!("events were not stored in time: the provider is to send them again");
        }
        close(&*self.gateway, by.closed).await;
        // A database that is away comes back. Only the end of the process cannot wait for it.
        let abandon = async {
            shutdown.cancelled().await;
            tokio::time::sleep_until(by.closed.max(Instant::now() + FAREWELL)).await;
        };
        self.writer.close(abandon).await;
    }
}

/// Waits for the last answers and for what only the connection knows.
async fn drain(gateway: &dyn SmsGateway, by: Instant) {
    let left = by.saturating_duration_since(Instant::now());
    if tokio::time::timeout_at(by, gateway.drain(left)).await.is_err() {
        tracing::warn!("the connection was not drained in time");
    }
}

/// Takes leave of the provider; an adapter that does not come back is left behind.
async fn close(gateway: &dyn SmsGateway, by: Instant) {
    let left = by.saturating_duration_since(Instant::now());
    if tokio::time::timeout_at(by, gateway.close(left)).await.is_err() {
        tracing::warn!("the connection did not close in time");
    }
}
