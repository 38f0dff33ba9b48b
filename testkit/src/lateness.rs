//! How late this machine is. A rate is measured where the messages arrive, in the same loaded machine that sends them: what left in
//! time and was held up arrives together with what left after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

const EVERY: Duration = Duration::from_millis(5);
/// The lateness that no timer of this process sees: the turns of other processes, and the way between them.
const UNSEEN_MS: u64 = 20;

/// Measures by how much a timer rings late at worst, until it is dropped.
pub struct Lateness {
    worst_ms: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Lateness {
    pub fn measure() -> Self {
        let worst_ms = Arc::new(AtomicU64::new(0));
        let worst = Arc::clone(&worst_ms);
        let task = tokio::spawn(async move {
            loop {
                let due = Instant::now() + EVERY;
                tokio::time::sleep_until(due).await;
                let late = u64::try_from(due.elapsed().as_millis()).unwrap_or(u64::MAX);
                worst.fetch_max(late, Ordering::Relaxed);
            }
        });
        Self { worst_ms, task }
    }

    /// As many of `per_second` as may arrive in a second beyond those that left in it: what left in the time that the machine was
    /// late.
    pub fn allows(&self, per_second: u64) -> u64 {
        per_second.saturating_mul(self.worst_ms.load(Ordering::Relaxed) + UNSEEN_MS).div_ceil(1_000)
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.task.abort();
    }
}
