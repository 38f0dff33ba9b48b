//! Pauses, probes and policies take tens of seconds; in a test nobody waits for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use klaroen_domain::time::{Clock, SystemClock, Timestamp};

/// Short enough for leases to be renewed on the way.
pub const STEP: Duration = Duration::from_secs(1);
/// The least that is left of a lease that is renewed in time: of 4 s, each second.
pub const KEPT: Duration = Duration::from_millis(2_500);
/// The time that tasks which were woken get to do their work after a step.
const BREATH: Duration = Duration::from_millis(40);

/// The machine's clock, that can be ahead of it.
#[derive(Debug, Default)]
pub struct Ahead(AtomicU64);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(Duration::from_millis(self.0.load(Ordering::SeqCst)))
    }
}

impl Ahead {
    /// Lets time pass for this clock and for the runtime, which has to be one of a single thread.
    pub async fn step(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
        tokio::time::pause();
        tokio::time::advance(by).await;
        tokio::time::resume();
        tokio::time::sleep(BREATH).await;
    }
}
