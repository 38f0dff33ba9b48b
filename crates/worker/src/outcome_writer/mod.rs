//! Writes the results of submits in batches, and repeats each batch until it is written. Receipts are written after the
//! results before them, so that each finds the submit that it belongs to.

pub(crate) mod batch_receiver;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use klaroen_domain::decide::Decision;
use klaroen_store::outcomes::{Finished, FinishedCounts, Recorded, Storing};
use klaroen_store::receipts::IncomingReceipt;
use klaroen_store::{Store, StoreError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Results that may wait. Submitting stops at this number.
const WAITING: usize = 4_096;
/// Waits between attempts to write: a busy database recovers in milliseconds, a full disk in minutes.
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(50);
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long writing may still take after it was told to give up.
const LAST: Duration = Duration::from_secs(2);
/// How many ids a log line names.
const NAMED: usize = 20;

/// Receipts, and where to report that the results before them are written. If the sender is dropped without a report, the
/// receipts must be stored without waiting for results.
#[derive(Debug)]
pub(crate) struct ReceiptBatch {
    pub(crate) receipts: Arc<Vec<IncomingReceipt>>,
    pub(crate) stored: oneshot::Sender<Storing>,
}

/// The task that writes results, and the channels to it.
#[derive(Debug)]
pub(crate) struct OutcomeWriter {
    sender: mpsc::Sender<Finished>,
    receipt_batch: mpsc::Sender<ReceiptBatch>,
    task: JoinHandle<()>,
    abandon: CancellationToken,
}

impl OutcomeWriter {
    /// Starts the task for the results of `gateway`.
    pub(crate) fn start(store: Store, gateway: String, wake: Arc<Notify>) -> Self {
        let (sender, results) = mpsc::channel(WAITING);
        // The next batch gathers at its source while one is written.
        let (receipt_batch, receipts) = mpsc::channel(1);
        let abandon = CancellationToken::new();
        let stop = abandon.clone();
        let task = tokio::spawn(async move {
            run(Incoming { results, receipts }, &*to_store(store, gateway, wake), &stop).await;
        });
        Self { sender, receipt_batch, task, abandon }
    }

    /// The sender of results. The task ends when every sender is dropped and all results are written.
    pub(crate) fn sender(&self) -> mpsc::Sender<Finished> {
        self.sender.clone()
    }

    /// Cancelled when results that cannot be written at once are abandoned.
    pub(crate) fn abandoned(&self) -> CancellationToken {
        self.abandon.clone()
    }

    /// The sender of receipts.
    pub(crate) fn receipts(&self) -> mpsc::Sender<ReceiptBatch> {
        self.receipt_batch.clone()
    }

    /// Writes the remaining results. After `abandon` completes, results that cannot be written at once are logged and
    /// abandoned: their leases expire and the deliveries become `unknown`. This includes the results of a claim that
    /// hangs. A write that hangs is dropped.
    pub(crate) async fn close(self, abandon: impl Future<Output = ()>) {
        drop((self.sender, self.receipt_batch));
        let mut task = self.task;
        let ended = tokio::select! {
            biased;
            ended = &mut task => ended,
            () = abandon => {
                self.abandon.cancel();
                task.await
            }
        };
        if let Err(error) = ended {
            tracing::error!(
                panicked = error.is_panic(),
                "the result writer failed: some results are not written"
            );
        }
    }
}

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    /// The database is away or busy, so the same batch is tried again.
    #[error("{0}")]
    Retryable(StoreError),
    /// The database will refuse the batch each time.
    #[error("{0}")]
    Refused(StoreError),
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        if error.is_retryable() { Self::Retryable(error) } else { Self::Refused(error) }
    }
}

/// Writes one batch: [`Store::record`], or a function of a test.
type Write = dyn for<'a> Fn(&'a [Finished], &'a Arc<Vec<IncomingReceipt>>) -> BoxFuture<'a, Result<Recorded, WriteError>>
    + Send
    + Sync;

fn to_store(store: Store, gateway: String, wake: Arc<Notify>) -> Box<Write> {
    let gateway: Arc<str> = gateway.into();
    Box::new(move |results, receipts| {
        let (store, gateway, wake) = (store.clone(), Arc::clone(&gateway), Arc::clone(&wake));
        async move {
            let recorded = store.record(&gateway, results, receipts).await?;
            if results.iter().any(is_for_others) {
                wake.notify_waiters();
                if let Err(error) = store.announce().await {
                    tracing::debug!(%error, "could not notify other processes of handed-over deliveries");
                }
            }
            Ok(recorded)
        }
        .boxed()
    })
}

/// Whether a result lets another gateway or channel act at once.
fn is_for_others(finished: &Finished) -> bool {
    match finished.decision {
        Decision::HandOver { .. } => true,
        Decision::PutBack { due_at, .. } => due_at <= finished.at,
        _ => false,
    }
}

/// The results and receipts that are to be written.
struct Incoming {
    results: mpsc::Receiver<Finished>,
    receipts: mpsc::Receiver<ReceiptBatch>,
}

impl Incoming {
    /// Fills `batch`. Results wait a little for others, unless receipts wait for their commit. Returns `None` when
    /// every sender is gone and nothing is left.
    async fn next(&mut self, batch: &mut Vec<Finished>) -> Option<Option<ReceiptBatch>> {
        let mut receipt_batch = tokio::select! {
            biased;
            Some(receipt_batch) = self.receipts.recv() => Some(receipt_batch),
            more = self.results.recv_many(batch, batch_receiver::ROWS) => if more == 0 { return None } else { None },
        };
        let company = tokio::time::sleep(batch_receiver::COMPANY);
        tokio::pin!(company);
        while receipt_batch.is_none() && batch.len() < batch_receiver::ROWS {
            let room = batch_receiver::ROWS - batch.len();
            tokio::select! {
                biased;
                Some(came) = self.receipts.recv() => receipt_batch = Some(came),
                more = self.results.recv_many(batch, room) => if more == 0 { break },
                () = &mut company => break,
            }
        }
        // After the receipts were received, so that the results before them are in the channel.
        while batch.len() < batch_receiver::ROWS
            && let Ok(result) = self.results.try_recv()
        {
            batch.push(result);
        }
        Some(receipt_batch)
    }
}

/// Results that are not known to be written.
#[derive(Default)]
struct Pending {
    batch: Vec<Finished>,
    /// Results for the next batch.
    repeats: Vec<Finished>,
}

async fn run(mut incoming: Incoming, write: &Write, abandon: &CancellationToken) {
    let mut pending = Pending { batch: Vec::with_capacity(batch_receiver::ROWS), repeats: Vec::new() };
    let last = async {
        abandon.cancelled().await;
        tokio::time::sleep(LAST).await;
    };
    tokio::select! {
        biased;
        () = write_batches(&mut incoming, &mut pending, write, abandon) => return,
        () = last => {}
    }
    incoming.results.close();
    let mut unwritten = pending.batch;
    unwritten.append(&mut pending.repeats);
    while let Ok(result) = incoming.results.try_recv() {
        unwritten.push(result);
    }
    if !unwritten.is_empty() {
        let ids: Vec<i64> = unwritten.iter().take(NAMED).map(|finished| finished.id.0).collect();
        tracing::error!(
            rows = unwritten.len(),
            ?ids,
            "database timed out; results abandoned: these deliveries become unknown unless the last write succeeds"
        );
    }
}

async fn write_batches(
    incoming: &mut Incoming,
    Pending { batch, repeats }: &mut Pending,
    write: &Write,
    abandon: &CancellationToken,
) {
    while let Some(mut receipt_batch) = incoming.next(batch).await {
        loop {
            *repeats = split_repeats(batch);
            let written = match receipt_batch.take() {
                Some(receipt_batch) => write_together(batch, receipt_batch, write).await,
                None => false,
            };
            if !written && !batch.is_empty() {
                write_all(batch, write, abandon).await;
            }
            *batch = std::mem::take(repeats);
            if batch.is_empty() {
                break;
            }
        }
    }
}

/// Writes results, and receipts after them. Returns whether the results were written. If not, the results are written
/// separately and the receipts by their sender, so that neither delays the other.
async fn write_together(results: &[Finished], receipt_batch: ReceiptBatch, write: &Write) -> bool {
    match write(results, &receipt_batch.receipts).await {
        Ok(Recorded { finished, receipts }) => {
            log_fenced(finished);
            if receipt_batch.stored.send(receipts).is_err() {
                tracing::debug!("results written, but the sender of the receipts had stopped waiting");
            }
            true
        }
        Err(error) => {
            tracing::warn!(%error, "results and receipts not written together; writing them separately");
            false
        }
    }
}

/// Logs results that were discarded because the lease had changed hands.
fn log_fenced(counts: FinishedCounts) {
    if counts.fenced > 0 {
        tracing::warn!(
            fenced = counts.fenced,
            "results discarded: another process holds the leases of their attempts"
        );
    }
}

/// Leaves one result for each delivery in `batch` and returns the others, in order, for the next batch: a late response
/// must be written after the unknown outcome that it settles, and a batch can have one result for each row.
fn split_repeats(batch: &mut Vec<Finished>) -> Vec<Finished> {
    let mut seen = HashSet::with_capacity(batch.len());
    batch.extract_if(.., |finished| !seen.insert(finished.id)).collect()
}

/// Writes `batch`, and waits for the database as long as necessary. A row that the database refuses must not delay the
/// others, so a refused batch is written in halves until the row is alone.
async fn write_all(batch: &[Finished], write: &Write, abandon: &CancellationToken) {
    let mut parts = vec![batch];
    let (mut wait, no_receipts) = (FIRST_WAIT, Arc::default());
    while let Some(part) = parts.pop() {
        match write(part, &no_receipts).await {
            Ok(recorded) => {
                wait = FIRST_WAIT;
                log_fenced(recorded.finished);
            }
            Err(error @ WriteError::Retryable(_)) if !abandon.is_cancelled() => {
                tracing::warn!(%error, rows = part.len(), "results not written; retrying");
                parts.push(part);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = abandon.cancelled() => {}
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            Err(error @ WriteError::Refused(_)) if part.len() > 1 => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.push(second);
                parts.push(first);
                tracing::warn!(%error, rows = part.len(), "database refused a batch of results; trying it in halves");
            }
            Err(error) => {
                let ids: Vec<i64> = part.iter().take(NAMED).map(|finished| finished.id.0).collect();
                tracing::error!(%error, rows = part.len(), ?ids, "results abandoned: these deliveries become unknown");
            }
        }
    }
}

#[cfg(test)]
mod tests;
