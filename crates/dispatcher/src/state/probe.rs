//! Whether the database takes writes. Readiness and metrics need no key, so what they ask of the database is bounded: one
//! probe at a time, and its result serves all requests for a while.

use std::time::Duration;

use klaroen_domain::time::Timestamp;
use klaroen_store::Store;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A database that takes longer than this to write a row is of no use to a control room.
const PATIENCE: Duration = Duration::from_secs(1);
/// A result is used for this long.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The last answer of the database, and when it came.
#[derive(Debug, Default)]
pub struct Probe(Mutex<Option<(Instant, bool)>>);

impl Probe {
    /// Whether a row was written and committed within a second.
    pub async fn is_writable(&self, store: &Store, now: Timestamp) -> bool {
        self.ask(async {
            match tokio::time::timeout(PATIENCE, store.probe_write(now)).await {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "write probe of the database failed");
                    false
                }
                Err(_) => false,
            }
        })
        .await
    }

    /// A caller that comes while `question` is running waits for its result.
    async fn ask(&self, question: impl Future<Output = bool>) -> bool {
        let mut last = self.0.lock().await;
        if let Some((at, answer)) = *last
            && at.elapsed() < GOOD_FOR
        {
            return answer;
        }
        let answer = question.await;
        *last = Some((Instant::now(), answer));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_that_ask_at_once_ask_the_database_once() {
        let (probe, asked) = (Probe::default(), Cell::new(0));
        let question = async |answer: bool| {
            asked.set(asked.get() + 1);
            tokio::time::sleep(PATIENCE).await;
            answer
        };
        let all = futures::future::join_all((0..100).map(|_| probe.ask(question(true)))).await;
        assert!(all.into_iter().all(|answer| answer));
        assert_eq!(asked.get(), 1);
        tokio::time::sleep(GOOD_FOR).await;
        assert!(!probe.ask(question(false)).await, "an old answer is not given again");
        assert_eq!(asked.get(), 2);
    }
}
