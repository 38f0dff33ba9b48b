//! Events of a connection: receipts, SMS from participants, late responses. An event is acknowledged after it is
//! committed.

mod acknowledge;
mod late_responses;
mod receipts;
pub(crate) mod replies;

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::time::Clock;
use klaroen_gateway::{Delivered, GatewayEvent};
use klaroen_store::Store;
use klaroen_store::outcomes::Finished;
use klaroen_store::receipts::IncomingReceipt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::events::replies::ReceivedSms;
use crate::gateway::handle::GatewayHandle;
use crate::gateway::routing::router::Router;
use crate::instruments::ChannelInstruments;
use crate::outcome_writer::{ReceiptBatch, batch_receiver};
use crate::session::unknown_attempts::UnknownAttempts;

/// A batch of events does not wait for more: a message centre sends a limited number before it waits for
/// acknowledgements. The next batch gathers while one is written.
const COMPANY: Duration = Duration::ZERO;
/// Events that one batch may hold. A message centre may send the receipts of a whole alert at once: while many wait, larger
/// transactions store them faster.
const ROWS: usize = 5_000;

/// Reads the events of one connection.
pub(crate) struct EventReader {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) gateway: String,
    pub(crate) results: mpsc::Sender<Finished>,
    pub(crate) receipts: mpsc::Sender<ReceiptBatch>,
    pub(crate) replies: mpsc::Sender<ReceivedSms>,
    pub(crate) unknown_attempts: Arc<UnknownAttempts>,
    pub(crate) instruments: Arc<ChannelInstruments>,
    pub(crate) handle: Arc<GatewayHandle>,
    pub(crate) router: Arc<Router>,
}

impl EventReader {
    /// Runs until the connection is closed or `stop` is cancelled. Events that were received by then are stored.
    pub(crate) async fn run(self, mut events: mpsc::Receiver<Delivered>, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let open = tokio::select! {
                biased;
                open = batch_receiver::next(&mut events, &mut batch, ROWS, COMPANY) => open,
                () = stop.cancelled() => {
                    // The adapter notices, and makes the provider send unacknowledged events again over another
                    // connection.
                    events.close();
                    batch_receiver::next(&mut events, &mut batch, ROWS, COMPANY).await
                }
            };
            if !open {
                return;
            }
            self.handle_batch(&mut batch).await;
        }
    }

    async fn handle_batch(&self, batch: &mut Vec<Delivered>) {
        let now = self.clock.now();
        let (mut receipts, mut acks, mut late) = (Vec::new(), Vec::new(), Vec::new());
        for Delivered { event, ack } in batch.drain(..) {
            match event {
                GatewayEvent::Receipt(receipt) => {
                    receipts.push(IncomingReceipt::of(receipt, self.store.keys(), now));
                    acks.push(ack);
                }
                GatewayEvent::Inbound(sms) => {
                    if self.replies.send(ReceivedSms { sms, ack }).await.is_err() {
                        tracing::error!(
                            "inbound SMS not stored, because its task has stopped: the provider has to send it again"
                        );
                    }
                }
                GatewayEvent::LateAnswer { delivery, attempt, outcome } => {
                    late.push((delivery, attempt, outcome.kept(), ack));
                }
            }
        }
        self.store_receipts(receipts, acks).await;
        // Last, so that the unknown outcomes which they settle are already on their way to the database.
        for (delivery, attempt, outcome, ack) in late {
            self.late_response(delivery, attempt, outcome, ack).await;
        }
    }
}
