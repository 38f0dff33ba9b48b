//! Writing down what came of submits: in batches, again and again until it is written. Receipts come after the results before
//! them, so that each finds the answer that it came right after: on SQLite along with them, one wait for the disk instead of two;
//! on PostgreSQL they go back to whoever brought them, who writes them beside the next results.

pub(crate) mod batch_receiver;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use klaroen_domain::decide::Decision;
use klaroen_store::outcomes::{Finished, FinishedCounts};
use klaroen_store::receipts::{IncomingReceipt, ReceiptCounts};
use klaroen_store::{Store, StoreError};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Results that wait to be written; submitting stops when they are this many.
const WAITING: usize = 4_096;
/// Waits between attempts to write: a busy database passes in milliseconds, a full disk takes minutes.
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(50);
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// What writing may still take once it is given up.
const LAST: Duration = Duration::from_secs(2);
/// Ids that one log line names.
const NAMED: usize = 20;

/// Receipts, and where to say that they are stored. Dropped unanswered: they are not, as far as is known, and it is their turn.
#[derive(Debug)]
pub(crate) struct ReceiptBatch {
    pub(crate) receipts: Arc<Vec<IncomingReceipt>>,
    pub(crate) stored: oneshot::Sender<ReceiptCounts>,
}

/// The task that writes results, and the way to it.
#[derive(Debug)]
pub(crate) struct OutcomeWriter {
    sender: mpsc::Sender<Finished>,
    receipt_batch: mpsc::Sender<ReceiptBatch>,
    task: JoinHandle<()>,
    abandon: CancellationToken,
}

impl OutcomeWriter {
    /// Starts the task; `gateway` is the one that all results are about.
    pub(crate) fn start(store: Store, gateway: String, wake: Arc<Notify>) -> Self {
        let (sender, results) = mpsc::channel(WAITING);
        // One batch is being written while the next gathers where it came from.
        let (receipt_batch, receipts) = mpsc::channel(1);
        let abandon = CancellationToken::new();
        let stop = abandon.clone();
        let task = tokio::spawn(async move {
            run(Incoming { results, receipts }, &*to_store(store, gateway, wake), &stop).await;
        });
        Self { sender, receipt_batch, task, abandon }
    }

    /// Where results go. The task ends when every sender is dropped and all is written.
    pub(crate) fn sender(&self) -> mpsc::Sender<Finished> {
        self.sender.clone()
    }

    /// Cancelled once what cannot be written at once is given up.
    pub(crate) fn abandoned(&self) -> CancellationToken {
        self.abandon.clone()
    }

    /// Where receipts go.
    pub(crate) fn receipts(&self) -> mpsc::Sender<ReceiptBatch> {
        self.receipt_batch.clone()
    }

    /// Writes what is left. Once `abandon` is over, what cannot be written at once is given up and logged: its leases run out
    /// and it becomes `unknown`. So is what a claim that hangs would still bring, and a write that hangs is left behind.
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
                "the writer of results failed: some are not written"
            );
        }
    }
}

/// Why a batch was not written, by what is done about it.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    /// The database is away or busy: the same batch again.
    #[error("{0}")]
    Retryable(StoreError),
    /// The database will refuse it each time.
    #[error("{0}")]
    Refused(StoreError),
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        if error.is_retryable() { Self::Retryable(error) } else { Self::Refused(error) }
    }
}

/// What one batch did.
type Recorded = (FinishedCounts, Option<ReceiptCounts>);

/// Writes one batch: `record` of a [`Store`], or a test's own.
type Write = dyn for<'a> Fn(&'a [Finished], &'a [IncomingReceipt]) -> BoxFuture<'a, Result<Recorded, WriteError>>
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
                    tracing::debug!(%error, "nobody elsewhere was told of what was handed over");
                }
            }
            Ok(recorded)
        }
        .boxed()
    })
}

/// Whether a result leaves something to be done at once, by another gateway or channel.
fn is_for_others(finished: &Finished) -> bool {
    match finished.decision {
        Decision::HandOver { .. } => true,
        Decision::PutBack { due_at, .. } => due_at <= finished.at,
        _ => false,
    }
}

/// What is to be written.
struct Incoming {
    results: mpsc::Receiver<Finished>,
    receipts: mpsc::Receiver<ReceiptBatch>,
}

impl Incoming {
    /// Fills `batch`. Results wait a little for company, and not at all where receipts wait for their commit; `None` when
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
        // After the receipts were taken, so that the answers before them are here.
        while batch.len() < batch_receiver::ROWS
            && let Ok(result) = self.results.try_recv()
        {
            batch.push(result);
        }
        Some(receipt_batch)
    }
}

/// What is being written: not yet, as far as is known.
#[derive(Default)]
struct Pending {
    batch: Vec<Finished>,
    /// For the next batch.
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
            "the database does not answer: results given up, these deliveries become unknown if they are not written after all"
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

/// Whether the results were written: then so were the receipts, or whoever brought them does it now. Where they were not, neither
/// is to hold up the other: the results are written by themselves, and the receipts by whoever brought them.
async fn write_together(results: &[Finished], receipt_batch: ReceiptBatch, write: &Write) -> bool {
    match write(results, &receipt_batch.receipts).await {
        Ok((finished, receipts)) => {
            log_fenced(finished);
            if let Some(receipts) = receipts
                && receipt_batch.stored.send(receipts).is_err()
            {
                tracing::debug!("nobody waited for these receipts any more");
            }
            true
        }
        Err(error) => {
            tracing::warn!(%error, "results and receipts not written together");
            false
        }
    }
}

/// Says what was not as expected.
fn log_fenced(counts: FinishedCounts) {
    if counts.fenced > 0 {
        tracing::warn!(fenced = counts.fenced, "results of attempts whose lease had gone to another");
    }
}

/// Leaves one result for each delivery in `batch` and gives the others, in order, for the next one: a late answer is
/// written after the doubt that it settles, and a batch has one word about each row.
fn split_repeats(batch: &mut Vec<Finished>) -> Vec<Finished> {
    let mut seen = HashSet::with_capacity(batch.len());
    batch.extract_if(.., |finished| !seen.insert(finished.id)).collect()
}

/// Writes `batch`, waiting for the database as long as it takes. A row that the database refuses must not hold up the rest,
/// so a refused batch is written in halves until the row is alone.
async fn write_all(batch: &[Finished], write: &Write, abandon: &CancellationToken) {
    let mut parts = vec![batch];
    let mut wait = FIRST_WAIT;
    while let Some(part) = parts.pop() {
        match write(part, &[]).await {
            Ok((counts, _)) => {
                wait = FIRST_WAIT;
                log_fenced(counts);
            }
            Err(error @ WriteError::Retryable(_)) if !abandon.is_cancelled() => {
                tracing::warn!(%error, rows = part.len(), "results not written yet");
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
                tracing::warn!(%error, rows = part.len(), "results refused: trying half of them");
            }
            Err(error) => {
                let ids: Vec<i64> = part.iter().take(NAMED).map(|finished| finished.id.0).collect();
                tracing::error!(%error, rows = part.len(), ?ids, "results given up: these deliveries become unknown");
            }
        }
    }
}

#[cfg(test)]
mod tests;
