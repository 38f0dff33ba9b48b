//! Retries of an import when its database is not available: through a failover or a restart, not for a night.

use std::time::Duration;

use klaroen_store::StoreError;
use tokio::time::Instant;

/// A failover of PostgreSQL takes half a minute; who waits at a terminal wants to know after a minute.
const PATIENCE: Duration = Duration::from_mins(1);
/// A deadlock is over at once.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// So that the last try is not long before the patience ends. One importer brings no rush: there is no chance in it.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The patience with one call.
pub struct Retry {
    began: Instant,
    pause: Duration,
}

impl Retry {
    /// All of it.
    pub fn new() -> Self {
        Self { began: Instant::now(), pause: FIRST_PAUSE }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The error itself, if another try is useless or the time is over.
    pub async fn wait(&mut self, error: StoreError) -> Result<(), StoreError> {
        if !error.is_retryable() || self.began.elapsed() >= PATIENCE {
            return Err(error);
        }
        tracing::warn!(%error, "database not available; the import waits");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> StoreError {
        StoreError::Stopped
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_is_away_is_waited_for_and_not_for_ever() {
        let began = Instant::now();
        let mut retry = Retry::new();
        let mut tries = 0;
        while retry.wait(away()).await.is_ok() {
            tries += 1;
        }
        assert!((8..=20).contains(&tries), "{tries}");
        assert!(began.elapsed() >= PATIENCE && began.elapsed() < PATIENCE + LONGEST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_defect_is_not_waited_for() {
        assert!(Retry::new().wait(StoreError::WrongKey).await.is_err());
    }
}
