//! Batches: many rows share one commit, and no row waits long for others.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

/// Rows of one transaction: about 10 ms of work, so that waiting for the disk is the smaller part.
pub(crate) const ROWS: usize = 1_000;
/// How long the first result of a batch waits for others.
pub(crate) const COMPANY: Duration = Duration::from_millis(20);

/// Fills `batch` with at least one item and with others that come within `company`, up to `rows`. Returns `false` when every
/// sender is gone and nothing is left. Dropping the future loses nothing: received items are in `batch`.
pub(crate) async fn next<T>(
    receiver: &mut mpsc::Receiver<T>,
    batch: &mut Vec<T>,
    rows: usize,
    company: Duration,
) -> bool {
    if batch.is_empty() && receiver.recv_many(batch, rows).await == 0 {
        return false;
    }
    let company = tokio::time::sleep_until(Instant::now() + company);
    tokio::pin!(company);
    while batch.len() < rows {
        let room = rows - batch.len();
        tokio::select! {
            biased;
            more = receiver.recv_many(batch, room) => if more == 0 { break },
            () = &mut company => break,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_batch_does_not_wait_and_a_lone_row_waits_for_company() {
        let (sender, mut receiver) = mpsc::channel(2000);
        for n in 0..=ROWS {
            sender.try_send(n).unwrap();
        }
        let start = Instant::now();
        let mut batch = Vec::new();
        assert!(next(&mut receiver, &mut batch, ROWS, COMPANY).await);
        assert_eq!((batch.len(), start.elapsed()), (ROWS, Duration::ZERO));

        batch.clear();
        assert!(next(&mut receiver, &mut batch, ROWS, COMPANY).await);
        assert_eq!(batch, [ROWS]);
        assert!(start.elapsed() >= COMPANY);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_comes_out_after_the_last_sender_is_gone() {
        let (sender, mut receiver) = mpsc::channel(10);
        sender.try_send(1).unwrap();
        drop(sender);
        let mut batch = Vec::new();
        assert!(next(&mut receiver, &mut batch, ROWS, COMPANY).await);
        assert_eq!(batch, [1]);
        batch.clear();
        assert!(!next(&mut receiver, &mut batch, ROWS, COMPANY).await);
    }
}
