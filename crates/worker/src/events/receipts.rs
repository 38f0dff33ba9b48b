//! Receipts: they are stored before they are acknowledged, together with the results before them if the database allows
//! it.

use std::sync::Arc;
use std::time::Duration;

use klaroen_gateway::Ack;
use klaroen_store::outcomes::Storing;
use klaroen_store::receipts::IncomingReceipt;
use tokio::sync::oneshot;

use crate::events::EventReader;
use crate::events::acknowledge::acknowledge;
use crate::instruments;
use crate::outcome_writer::ReceiptBatch;

/// How long receipts wait for the results before them and for the common commit. If the database is away, this ends the
/// wait.
const TOGETHER: Duration = Duration::from_secs(5);

impl EventReader {
    pub(super) async fn store_receipts(
        &self,
        receipts: Vec<IncomingReceipt>,
        acks: Vec<oneshot::Sender<Ack>>,
    ) {
        if receipts.is_empty() {
            return;
        }
        let receipts = Arc::new(receipts);
        let stored = match self.after_results(&receipts).await {
            Some(storing) => storing.stored().await,
            None => self.store.store_receipts(&self.gateway, &receipts).await,
        };
        let stored = match stored {
            // The provider would send them again, but decides when. If a commit was not confirmed, the receipts are
            // stored twice and count once.
            Err(error) if error.is_retryable() => {
                tracing::debug!(gateway = self.gateway, %error, "receipts not stored; retrying once");
                self.store.store_receipts(&self.gateway, &receipts).await
            }
            stored => stored,
        };
        let verdict = match stored {
            Ok(counts) => {
                instruments::receipts(&self.gateway, counts);
                Ack::Stored
            }
            Err(error) => {
                tracing::warn!(gateway = self.gateway, receipts = receipts.len(), %error, "receipts not stored: the provider has to send them again");
                Ack::Retry
            }
        };
        for ack in acks {
            acknowledge(ack, verdict);
        }
    }

    /// Waits until the results before these receipts are written; the receipts are then stored with them, or are next. Returns
    /// `None` if that failed or took too long. If it succeeds later, the receipts are stored twice and count once.
    async fn after_results(&self, receipts: &Arc<Vec<IncomingReceipt>>) -> Option<Storing> {
        let (stored, answer) = oneshot::channel();
        let batch = ReceiptBatch { receipts: Arc::clone(receipts), stored };
        let store = async {
            self.receipts.send(batch).await.ok()?;
            answer.await.ok()
        };
        tokio::time::timeout(TOGETHER, store).await.ok().flatten()
    }
}
