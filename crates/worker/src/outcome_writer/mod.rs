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
pub(crate) struct Joint {
    pub(crate) receipts: Arc<Vec<IncomingReceipt>>,
    pub(crate) stored: oneshot::Sender<ReceiptCounts>,
}

/// The task that writes results, and the way to it.
#[derive(Debug)]
pub(crate) struct Finisher {
    sender: mpsc::Sender<Finished>,
    joint: mpsc::Sender<Joint>,
    task: JoinHandle<()>,
    give_up: CancellationToken,
}

impl Finisher {
    /// Starts the task; `gateway` is the one that all results are about.
    pub(crate) fn start(store: Store, gateway: String, wake: Arc<Notify>) -> Self {
        let (sender, results) = mpsc::channel(WAITING);
        // One batch is being written while the next gathers where it came from.
        let (joint, receipts) = mpsc::channel(1);
        let give_up = CancellationToken::new();
        let stop = give_up.clone();
        let task = tokio::spawn(async move {
            run(Incoming { results, receipts }, &*to_store(store, gateway, wake), &stop).await;
        });
        Self { sender, joint, task, give_up }
    }

    /// Where results go. The task ends when every sender is dropped and all is written.
    pub(crate) fn sender(&self) -> mpsc::Sender<Finished> {
        self.sender.clone()
    }

    /// Cancelled once what cannot be written at once is given up.
    pub(crate) fn given_up(&self) -> CancellationToken {
        self.give_up.clone()
    }

    /// Where receipts go.
    pub(crate) fn receipts(&self) -> mpsc::Sender<Joint> {
        self.joint.clone()
    }

    /// Writes what is left. Once `give_up` is over, what cannot be written at once is given up and logged: its leases run out
    /// and it becomes `unknown`. So is what a claim that hangs would still bring, and a write that hangs is left behind.
    pub(crate) async fn close(self, give_up: impl Future<Output = ()>) {
        drop((self.sender, self.joint));
        let mut task = self.task;
        let ended = tokio::select! {
            biased;
            ended = &mut task => ended,
            () = give_up => {
                self.give_up.cancel();
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
enum Unwritten {
    /// The database is away or busy: the same batch again.
    #[error("{0}")]
    Later(StoreError),
    /// The database will refuse it each time.
    #[error("{0}")]
    Refused(StoreError),
}

impl From<StoreError> for Unwritten {
    fn from(error: StoreError) -> Self {
        if error.is_retryable() { Self::Later(error) } else { Self::Refused(error) }
    }
}

/// What one batch did.
type Recorded = (FinishedCounts, Option<ReceiptCounts>);

/// Writes one batch: `record` of a [`Store`], or a test's own.
type Write = dyn for<'a> Fn(&'a [Finished], &'a [IncomingReceipt]) -> BoxFuture<'a, Result<Recorded, Unwritten>>
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
    receipts: mpsc::Receiver<Joint>,
}

impl Incoming {
    /// Fills `batch`. Results wait a little for company, and not at all where receipts wait for their commit; `None` when
    /// every sender is gone and nothing is left.
    async fn next(&mut self, batch: &mut Vec<Finished>) -> Option<Option<Joint>> {
        let mut joint = tokio::select! {
            biased;
            Some(joint) = self.receipts.recv() => Some(joint),
            more = self.results.recv_many(batch, batch_receiver::ROWS) => if more == 0 { return None } else { None },
        };
        let company = tokio::time::sleep(batch_receiver::COMPANY);
        tokio::pin!(company);
        while joint.is_none() && batch.len() < batch_receiver::ROWS {
            let room = batch_receiver::ROWS - batch.len();
            tokio::select! {
                biased;
                Some(came) = self.receipts.recv() => joint = Some(came),
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
        Some(joint)
    }
}

/// What is being written: not yet, as far as is known.
#[derive(Default)]
struct InHand {
    batch: Vec<Finished>,
    /// For the next batch.
    repeats: Vec<Finished>,
}

async fn run(mut incoming: Incoming, write: &Write, give_up: &CancellationToken) {
    let mut in_hand = InHand { batch: Vec::with_capacity(batch_receiver::ROWS), repeats: Vec::new() };
    let last = async {
        give_up.cancelled().await;
        tokio::time::sleep(LAST).await;
    };
    tokio::select! {
        biased;
        () = write_down(&mut incoming, &mut in_hand, write, give_up) => return,
        () = last => {}
    }
    incoming.results.close();
    let mut unwritten = in_hand.batch;
    unwritten.append(&mut in_hand.repeats);
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

async fn write_down(
    incoming: &mut Incoming,
    InHand { batch, repeats }: &mut InHand,
    write: &Write,
    give_up: &CancellationToken,
) {
    while let Some(mut joint) = incoming.next(batch).await {
        loop {
            *repeats = split_repeats(batch);
            let written = match joint.take() {
                Some(joint) => write_together(batch, joint, write).await,
                None => false,
            };
            if !written && !batch.is_empty() {
                write_all(batch, write, give_up).await;
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
async fn write_together(results: &[Finished], joint: Joint, write: &Write) -> bool {
    match write(results, &joint.receipts).await {
        Ok((finished, receipts)) => {
            note(finished);
            if let Some(receipts) = receipts
                && joint.stored.send(receipts).is_err()
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
fn note(counts: FinishedCounts) {
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
async fn write_all(batch: &[Finished], write: &Write, give_up: &CancellationToken) {
    let mut parts = vec![batch];
    let mut wait = FIRST_WAIT;
    while let Some(part) = parts.pop() {
        match write(part, &[]).await {
            Ok((counts, _)) => {
                wait = FIRST_WAIT;
                note(counts);
            }
            Err(error @ Unwritten::Later(_)) if !give_up.is_cancelled() => {
                tracing::warn!(%error, rows = part.len(), "results not written yet");
                parts.push(part);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = give_up.cancelled() => {}
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            Err(error @ Unwritten::Refused(_)) if part.len() > 1 => {
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
