//! Pauses, probes and policies take tens of seconds; in a test nobody waits for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use klaroen_domain::time::{Clock, SystemClock, Timestamp};
use klaroen_store::Store;
use klaroen_store::channels::ChannelName;
use tokio::time::Instant;

use crate::service::PATIENCE;

/// Short enough for leases to be renewed on the way.
pub const STEP: Duration = Duration::from_secs(1);
/// The least that is left of a lease that is renewed in time: of 4 s, each second.
const KEPT: Duration = Duration::from_millis(2_500);
/// How often it is looked whether they are kept.
const LOOK: Duration = Duration::from_millis(20);
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

    /// The same, until the channels of these gateways are kept: a busy machine takes its time.
    pub async fn step_kept(&self, by: Duration, store: &Store, gateways: &[&str]) {
        self.step(by).await;
        let deadline = Instant::now() + PATIENCE;
        for gateway in gateways {
            let name = ChannelName { gateway: (*gateway).to_owned(), channel: 0 };
            loop {
                let now = self.now();
                let held = store.channel_held_until(&name, now).await.unwrap();
                if held.is_some_and(|until| until >= now.plus(KEPT)) {
                    break;
                }
                assert!(Instant::now() < deadline, "the channel of {gateway} is not kept: {held:?}");
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}
