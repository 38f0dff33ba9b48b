//! Whether the database takes writes, and which gateways are out of use by hand. Readiness and metrics need no key, so what they
//! ask of the database is bounded: one probe at a time, and its result serves all requests for a while.

use std::time::Duration;

use klaroen_domain::time::Timestamp;
use klaroen_store::Store;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A database that takes longer than this to write a row is of no use to a control room.
const PATIENCE: Duration = Duration::from_secs(1);
/// A result is used for this long.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// The answer of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probed {
    /// Whether a row was written and committed within a second.
    pub writable: bool,
    /// The names of the gateways that are out of use by hand; empty if the database does not answer.
    pub paused_gateways: Vec<String>,
}

/// The last answer of the database, and when it came.
#[derive(Debug, Default)]
pub struct Probe(Mutex<Option<(Instant, Probed)>>);

impl Probe {
    /// Asks the database, unless it was asked a moment ago.
    pub async fn look(&self, store: &Store, now: Timestamp) -> Probed {
        self.ask(async {
            let asked = async {
                store.probe_write(now).await?;
                store.gateway_pauses().await
            };
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(pauses)) => {
                    let paused_gateways = pauses.into_iter().map(|pause| pause.gateway).collect();
                    Probed { writable: true, paused_gateways }
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "write probe of the database failed");
                    Probed::default()
                }
                Err(_) => Probed::default(),
            }
        })
        .await
    }

    /// A caller that comes while `question` is running waits for its result.
    async fn ask(&self, question: impl Future<Output = Probed>) -> Probed {
        let mut last = self.0.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < GOOD_FOR
        {
            return answer.clone();
        }
        let answer = question.await;
        *last = Some((Instant::now(), answer.clone()));
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
        let question = async |writable: bool| {
            asked.set(asked.get() + 1);
            tokio::time::sleep(PATIENCE).await;
            Probed { writable, ..Probed::default() }
        };
        let all = futures::future::join_all((0..100).map(|_| probe.ask(question(true)))).await;
        assert!(all.into_iter().all(|answer| answer.writable));
        assert_eq!(asked.get(), 1);
        tokio::time::sleep(GOOD_FOR).await;
        assert!(!probe.ask(question(false)).await.writable, "an old answer is not given again");
        assert_eq!(asked.get(), 2);
    }
}
