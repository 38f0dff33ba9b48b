use std::sync::Mutex;

use klaroen_domain::id::DeliveryId;
use klaroen_domain::time::Timestamp;
use klaroen_store::receipts::ReceiptCounts;
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

fn recorded() -> Recorded {
    Recorded { finished: FinishedCounts::default(), receipts: ReceiptCounts::default().into() }
}

/// The rows that a fake database accepted.
#[derive(Default)]
struct Written(Mutex<Vec<Finished>>);

/// A write function that records rows in `written` unless `refuse` returns an error.
fn write_into(
    written: &Arc<Written>,
    refuse: impl Fn(&[Finished]) -> Option<WriteError> + Send + Sync + 'static,
) -> Box<Write> {
    let written = Arc::clone(written);
    Box::new(move |batch, _| {
        let refused = refuse(batch);
        if refused.is_none() {
            written.0.lock().unwrap().extend_from_slice(batch);
        }
        std::future::ready(refused.map_or_else(|| Ok(recorded()), Err)).boxed()
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
        (Instant::now() < back).then_some(WriteError::Retryable(StoreError::WrongKey))
    });
    run(incoming, &*write, &CancellationToken::new()).await;
    assert_eq!(*written.0.lock().unwrap(), rows(700));
}

#[tokio::test(start_paused = true)]
async fn receipts_are_written_after_the_results_before_them_and_without_delay() {
    let (sender, results) = mpsc::channel(10);
    let (receipts, receipt_batch) = mpsc::channel(1);
    let written: Arc<Mutex<Vec<(usize, usize)>>> = Arc::default();
    let seen = Arc::clone(&written);
    let write: Box<Write> = Box::new(move |results, receipts| {
        seen.lock().unwrap().push((results.len(), receipts.len()));
        let refused = receipts.len() == 2;
        let answer = if refused { Err(WriteError::Retryable(StoreError::WrongKey)) } else { Ok(recorded()) };
        std::future::ready(answer).boxed()
    });
    let abandon = CancellationToken::new();
    let running = run(Incoming { results, receipts: receipt_batch }, &*write, &abandon);
    let play = async move {
        for (count, expected) in [(1, true), (2, false)] {
            for row in rows(3) {
                sender.send(row).await.unwrap();
            }
            let (stored, answer) = oneshot::channel();
            let batch = Arc::new(vec![receipt(); count]);
            receipts.send(ReceiptBatch { receipts: batch, stored }).await.unwrap();
            assert_eq!(answer.await.is_ok(), expected);
        }
    };
    let began = Instant::now();
    tokio::join!(running, play);
    assert_eq!(began.elapsed(), Duration::ZERO);
    // After a failure to write them together, the results are written here and the receipts by their sender.
    assert_eq!(*written.lock().unwrap(), [(3, 1), (3, 2), (3, 0)]);
}

#[tokio::test(start_paused = true)]
async fn who_brought_receipts_goes_on_once_the_results_before_them_are_written() {
    let (sender, results) = mpsc::channel(10);
    let (receipts, receipt_batch) = mpsc::channel(1);
    let written: Arc<Mutex<Vec<Finished>>> = Arc::default();
    let seen = Arc::clone(&written);
    let write: Box<Write> = Box::new(move |results, _| {
        seen.lock().unwrap().extend_from_slice(results);
        std::future::ready(Ok(recorded())).boxed()
    });
    let abandon = CancellationToken::new();
    let running = run(Incoming { results, receipts: receipt_batch }, &*write, &abandon);
    let play = async {
        for row in rows(3) {
            sender.send(row).await.unwrap();
        }
        let (stored, answer) = oneshot::channel();
        receipts.send(ReceiptBatch { receipts: Arc::new(vec![receipt()]), stored }).await.unwrap();
        let storing = answer.await.unwrap();
        assert_eq!(*written.lock().unwrap(), rows(3), "before it is their turn");
        assert_eq!(storing.stored().await.unwrap(), ReceiptCounts::default());
        drop((sender, receipts));
    };
    tokio::join!(running, play);
    assert_eq!(*written.lock().unwrap(), rows(3), "once");
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
        batch.iter().any(|row| row.id.0 == 13).then_some(WriteError::Refused(StoreError::WrongKey))
    });
    write_all(&rows(100), &*write, &CancellationToken::new()).await;
    let expected: Vec<_> = rows(100).into_iter().filter(|row| row.id.0 != 13).collect();
    assert_eq!(*written.0.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn giving_up_ends_the_waiting() {
    let abandon = CancellationToken::new();
    let away = write_into(&Arc::default(), |_| Some(WriteError::Retryable(StoreError::WrongKey)));
    let batch = rows(3);
    let writing = write_all(&batch, &*away, &abandon);
    tokio::pin!(writing);
    assert!(tokio::time::timeout(Duration::from_mins(1), &mut writing).await.is_err());
    abandon.cancel();
    writing.await;
}

/// A database that does not answer.
fn hang() -> Box<Write> {
    Box::new(|_, _| std::future::pending().boxed())
}

#[tokio::test(start_paused = true)]
async fn a_write_that_hangs_is_left_behind_once_all_is_given_up() {
    let (sender, results) = mpsc::channel(2_000);
    for row in rows(1_500) {
        sender.try_send(row).unwrap();
    }
    drop(sender);
    let abandon = CancellationToken::new();
    let write = hang();
    let running = run(Incoming { results, receipts: mpsc::channel(1).1 }, &*write, &abandon);
    tokio::pin!(running);
    let patience = Duration::from_hours(1);
    assert!(tokio::time::timeout(patience, &mut running).await.is_err(), "before that it has all the time");
    abandon.cancel();
    assert!(tokio::time::timeout(patience, running).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn nobody_who_may_still_bring_a_result_is_waited_for_once_all_is_given_up() {
    let (sender, results) = mpsc::channel(10);
    let abandon = CancellationToken::new();
    let write = write_into(&Arc::default(), |_| None);
    let running = run(Incoming { results, receipts: mpsc::channel(1).1 }, &*write, &abandon);
    tokio::pin!(running);
    let patience = Duration::from_hours(1);
    assert!(tokio::time::timeout(patience, &mut running).await.is_err());
    abandon.cancel();
    assert!(tokio::time::timeout(patience, running).await.is_ok());
    assert!(sender.is_closed());
}
