//! What a connection tells us by itself: receipts, SMS from participants, late answers. Nothing is acknowledged before it
//! is committed.

mod acknowledge;
pub(crate) mod replies;

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_domain::time::Clock;
use klaroen_gateway::{Ack, Delivered, GatewayEvent};
use klaroen_store::Store;
use klaroen_store::outcomes::Finished;
use klaroen_store::receipts::{IncomingReceipt, ReceiptCounts};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::events::acknowledge::acknowledge;
use crate::events::replies::ReceivedSms;
use crate::gateway::handle::GatewayHandle;
use crate::gateway::routing::router::Router;
use crate::instruments::{self, ChannelInstruments};
use crate::outcome_writer::ReceiptBatch;
use crate::outcome_writer::batch_receiver;
use crate::session::unknown_attempts::UnknownAttempts;
use crate::{jitter, self_test};

/// No event waits for others: a message centre sends only so many before it wants an answer, so that would be waiting for
/// nobody. While a batch is written, the next one gathers.
const COMPANY: Duration = Duration::ZERO;
/// How long receipts wait for the results before them, and to be written with them; a database that is away keeps those up.
const TOGETHER: Duration = Duration::from_secs(5);

/// Takes the events of one connection.
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
    /// Runs until the connection is closed, or until `stop`: then what has come is stored and nothing more is read.
    pub(crate) async fn run(self, mut events: mpsc::Receiver<Delivered>, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(batch_receiver::ROWS);
        loop {
            let open = tokio::select! {
                biased;
                open = batch_receiver::next(&mut events, &mut batch, COMPANY) => open,
                () = stop.cancelled() => {
                    // The adapter sees it and has unacknowledged events sent again elsewhere.
                    events.close();
                    batch_receiver::next(&mut events, &mut batch, COMPANY).await
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
                        tracing::error!("an inbound SMS has nowhere to go: the provider is to send it again");
                    }
                }
                GatewayEvent::LateAnswer { delivery, attempt, outcome } => {
                    late.push((delivery, attempt, outcome, ack));
                }
            }
        }
        self.store_receipts(receipts, acks).await;
        // Last, so that the doubt which they settle is on its way by now.
        for (delivery, attempt, outcome, ack) in late {
            self.late_response(delivery, attempt, outcome, ack).await;
        }
    }

    async fn store_receipts(&self, receipts: Vec<IncomingReceipt>, acks: Vec<oneshot::Sender<Ack>>) {
        if receipts.is_empty() {
            return;
        }
        let receipts = Arc::new(receipts);
        let stored = match self.store_with_results(&receipts).await {
            Some(counts) => Ok(counts),
            None => match self.store.store_receipts(&self.gateway, &receipts).await {
                // The provider would bring them again, but when is up to it. Where a commit was not answered they are
                // kept twice and count once.
                Err(error) if error.is_retryable() => {
                    tracing::debug!(gateway = self.gateway, %error, "receipts not stored yet");
                    self.store.store_receipts(&self.gateway, &receipts).await
                }
                stored => stored,
            },
        };
        let verdict = match stored {
            Ok(counts) => {
                instruments::receipts(&self.gateway, counts);
                Ack::Stored
            }
            Err(error) => {
                tracing::warn!(gateway = self.gateway, receipts = receipts.len(), %error, "receipts not stored");
                Ack::Retry
            }
        };
        for ack in acks {
            acknowledge(ack, verdict);
        }
    }

    /// `None` where they are to be stored by themselves: always on PostgreSQL, and on SQLite where it did not come about.
    /// Should it come about there after all, the receipts are stored twice and count once.
    async fn store_with_results(&self, receipts: &Arc<Vec<IncomingReceipt>>) -> Option<ReceiptCounts> {
        let (stored, answer) = oneshot::channel();
        let batch = ReceiptBatch { receipts: Arc::clone(receipts), stored };
        let store = async {
            self.receipts.send(batch).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(TOGETHER, store).await.ok().flatten()
    }

    /// Settles a test message whose lease is its fence.
    async fn late_test_response(
        &self,
        number: i64,
        attempt: i64,
        outcome: SubmitOutcome,
        ack: oneshot::Sender<Ack>,
    ) {
        // Connections that have late answers have receipts.
        let what = self_test::answer_of(outcome, true);
        match self.store.finish_gateway_test(number, attempt, &what, self.clock.now()).await {
            Ok(_) => acknowledge(ack, Ack::Stored),
            Err(error) => {
                tracing::warn!(number, %error, "a late answer to a test is not stored");
                acknowledge(ack, Ack::Retry);
            }
        }
    }

    /// Settles an attempt whose caller had given up. Without a memory of the attempt nothing can be written: the fence is
    /// missing, and a receipt or the policy settles it.
    async fn late_response(
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
                tracing::error!(%delivery, "a late answer has nowhere to go: the delivery stays in doubt");
                return acknowledge(ack, Ack::Retry);
            }
        } else if self.unknown_attempts.may_be_early(delivery, attempt) {
            return acknowledge(ack, Ack::Retry);
        } else {
            tracing::info!(%delivery, "a late answer to an attempt that is not remembered");
        }
        acknowledge(ack, Ack::Stored);
    }
}
