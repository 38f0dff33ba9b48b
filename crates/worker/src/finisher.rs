//! Writing down what came of submits: in batches, again and again until it is written. Receipts are written along with the
//! results before them: one wait for the disk instead of two, and a receipt finds the answer that it came right after.

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

use crate::batch;

/// Results that wait to be written; submitting stops when they are this many.
const WAITING: usize = 4_096;
/// Waits between attempts to write: a busy database passes in milliseconds, a full disk takes minutes.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// Ids that one log line names.
const NAMED: usize = 20;

/// Receipts, and where to say that they are stored. Dropped unanswered: they are not, as far as is known.
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
    /// and it becomes `unknown`.
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
            more = self.results.recv_many(batch, batch::ROWS) => if more == 0 { return None } else { None },
        };
        let company = tokio::time::sleep(batch::COMPANY);
        tokio::pin!(company);
        while joint.is_none() && batch.len() < batch::ROWS {
            let room = batch::ROWS - batch.len();
            tokio::select! {
                biased;
                Some(came) = self.receipts.recv() => joint = Some(came),
                more = self.results.recv_many(batch, room) => if more == 0 { break },
                () = &mut company => break,
            }
        }
        // After the receipts were taken, so that the answers before them are here.
        while batch.len() < batch::ROWS
            && let Ok(result) = self.results.try_recv()
        {
            batch.push(result);
        }
        Some(joint)
    }
}

async fn run(mut incoming: Incoming, write: &Write, give_up: &CancellationToken) {
    let mut batch = Vec::with_capacity(batch::ROWS);
    while let Some(mut joint) = incoming.next(&mut batch).await {
        loop {
            let repeats = split_repeats(&mut batch);
            let written = match joint.take() {
                Some(joint) => write_together(&batch, joint, write).await,
                None => false,
            };
            if !written && !batch.is_empty() {
                write_all(&batch, write, give_up).await;
            }
            batch = repeats;
            if batch.is_empty() {
                break;
            }
        }
    }
}

/// Whether results and receipts were written together. Where they were not, neither is to hold up the other: the results are
/// written by themselves, and the receipts by whoever brought them.
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
mod tests {
    use std::sync::Mutex;

    use klaroen_domain::id::DeliveryId;
    use klaroen_domain::time::Timestamp;
    use tokio::time::Instant;

    use super::*;

    fn finished(id: i64, decision: Decision) -> Finished {
        Finished {
            id: DeliveryId(id),
            lease_token: 1,
            decision,
            provider_ids: vec![],
            segments: 1,
            at: Timestamp::from_millis(0),
        }
    }

    const UNKNOWN: Decision = Decision::Unknown { settle_at: Timestamp::from_millis(5) };

    #[test]
    fn a_late_answer_is_written_after_the_doubt() {
        let mut batch = vec![finished(1, UNKNOWN), finished(2, Decision::Sent), finished(1, Decision::Sent)];
        let repeats = split_repeats(&mut batch);
        assert_eq!(batch, [finished(1, UNKNOWN), finished(2, Decision::Sent)]);
        assert_eq!(repeats, [finished(1, Decision::Sent)]);
    }

    fn rows(n: i64) -> Vec<Finished> {
        (0..n).map(|id| finished(id, Decision::Sent)).collect()
    }

    /// What a database took.
    #[derive(Default)]
    struct Written(Mutex<Vec<Finished>>);

    /// Writes into `written` what `refuse` says nothing about.
    fn write_into(
        written: &Arc<Written>,
        refuse: impl Fn(&[Finished]) -> Option<Unwritten> + Send + Sync + 'static,
    ) -> Box<Write> {
        let written = Arc::clone(written);
        Box::new(move |batch, _| {
            let refused = refuse(batch);
            if refused.is_none() {
                written.0.lock().unwrap().extend_from_slice(batch);
            }
            std::future::ready(
                refused.map_or(Ok((FinishedCounts::default(), Some(ReceiptCounts::default()))), Err),
            )
            .boxed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_is_away_for_minutes_loses_nothing() {
        let (sender, results) = mpsc::channel(2_000);
        let incoming = Incoming { results, receipts: mpsc::channel(1).1 };
        for row in rows(700) {
            sender.try_send(row).unwrap();
        }
        drop(sender);
        let back = Instant::now() + Duration::from_mins(5);
        let written = Arc::default();
        let write = write_into(&written, move |_| {
            (Instant::now() < back).then_some(Unwritten::Later(StoreError::WrongKey))
        });
        run(incoming, &*write, &CancellationToken::new()).await;
        assert_eq!(*written.0.lock().unwrap(), rows(700));
    }

    #[tokio::test(start_paused = true)]
    async fn receipts_are_written_after_the_results_before_them_and_without_delay() {
        let (sender, results) = mpsc::channel(10);
        let (receipts, joint) = mpsc::channel(1);
        let written: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
        let seen = Arc::clone(&written);
        let write: Box<Write> = Box::new(move |results, receipts| {
            seen.lock().unwrap().push((results.len(), receipts.len()));
            let refused = receipts.len() == 2;
            let answer = if refused {
                Err(Unwritten::Later(StoreError::WrongKey))
            } else {
                Ok((FinishedCounts::default(), Some(ReceiptCounts::default())))
            };
            std::future::ready(answer).boxed()
        });
        let give_up = CancellationToken::new();
        let running = run(Incoming { results, receipts: joint }, &*write, &give_up);
        let play = async move {
            for (count, expected) in [(1, true), (2, false)] {
                for row in rows(3) {
                    sender.send(row).await.unwrap();
                }
                let (stored, answer) = oneshot::channel();
                let batch = Arc::new(vec![receipt(); count]);
                receipts.send(Joint { receipts: batch, stored }).await.unwrap();
                assert_eq!(answer.await.is_ok(), expected);
            }
        };
        let began = Instant::now();
        tokio::join!(running, play);
        assert_eq!(began.elapsed(), Duration::ZERO);
        // What could not be written together is written apart: the results here, the receipts by whoever brought them.
        assert_eq!(*written.lock().unwrap(), [(3, 1), (3, 2), (3, 0)]);
    }

    fn receipt() -> IncomingReceipt {
        IncomingReceipt {
            provider_id: klaroen_domain::outcome::ProviderId("a".into()),
            delivery: None,
            status: klaroen_domain::outcome::ReceiptStatus::Delivered,
            error: None,
            recipient: None,
            raw: String::new(),
            received_at: Timestamp::from_millis(0),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_refused_row_does_not_take_the_others_with_it() {
        let written = Arc::default();
        let write = write_into(&written, |batch| {
            batch.iter().any(|row| row.id.0 == 13).then_some(Unwritten::Refused(StoreError::WrongKey))
        });
        write_all(&rows(100), &*write, &CancellationToken::new()).await;
        let expected: Vec<_> = rows(100).into_iter().filter(|row| row.id.0 != 13).collect();
        assert_eq!(*written.0.lock().unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn giving_up_ends_the_waiting() {
        let give_up = CancellationToken::new();
        let away = write_into(&Arc::default(), |_| Some(Unwritten::Later(StoreError::WrongKey)));
        let batch = rows(3);
        let writing = write_all(&batch, &*away, &give_up);
        tokio::pin!(writing);
        assert!(tokio::time::timeout(Duration::from_mins(1), &mut writing).await.is_err());
        give_up.cancel();
        writing.await;
    }
}
