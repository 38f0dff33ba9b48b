//! The duties of a process whose database others share: it wakes them, is woken by them, and goes by the database's clock.

use std::sync::Arc;

use klaroen_domain::time::{Clock, SystemClock};
use klaroen_store::Store;
use klaroen_store::clock::{ClockWatch, DatabaseClock};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::Parts;
use crate::failure::Failure;

/// The means, and the tasks behind them, which end with the value.
pub struct Sharing {
    pub clock: Arc<dyn Clock>,
    /// Sees whether it is set.
    pub clock_watch: Arc<ClockWatch>,
    /// Told by the dispatcher when it has queued something.
    pub queued: Arc<Notify>,
    /// Wakes the worker of this process.
    pub wake: Arc<Notify>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Sharing {
    /// If no other process shares the database, one process tells itself, by its own clock.
    pub async fn start(store: &Store, parts: Parts) -> Result<Self, Failure> {
        let wake = Arc::new(Notify::new());
        if !store.is_shared() {
            return Ok(Self {
                clock: Arc::new(SystemClock),
                clock_watch: Arc::default(),
                queued: Arc::clone(&wake),
                wake,
                tasks: Vec::new(),
            });
        }
        let clock = Arc::new(DatabaseClock::new(store.clone()).await?);
        let queued = Arc::new(Notify::new());
        let mut tasks = Vec::new();
        let kept = Arc::clone(&clock);
        tasks.push(AbortOnDropHandle::new(tokio::spawn(async move { kept.keep().await })));
        if parts != Parts::Worker {
            let announcing = announce(store.clone(), Arc::clone(&queued), Arc::clone(&wake));
            tasks.push(AbortOnDropHandle::new(tokio::spawn(announcing)));
        }
        if parts != Parts::Dispatcher {
            let (store, wake) = (store.clone(), Arc::clone(&wake));
            let listening = async move { store.listen(|| wake.notify_waiters()).await };
            tasks.push(AbortOnDropHandle::new(tokio::spawn(listening)));
        }
        Ok(Self { clock, clock_watch: Arc::default(), queued, wake, tasks })
    }

    /// Ends the tasks: they hold connections.
    pub async fn stop(self) {
        for task in self.tasks {
            task.abort();
            // It was aborted; what counts is that it is over.
            let _aborted = task.await;
        }
    }
}

/// Passes on that something was queued: to the worker of this process at once, then to the others. What is queued while they
/// are told is told them once, after that: an announcement for each page at the most, and never more than one under way.
async fn announce(store: Store, queued: Arc<Notify>, wake: Arc<Notify>) {
    let mut more = Box::pin(Arc::clone(&queued).notified_owned());
    more.as_mut().enable();
    loop {
        more.as_mut().await;
        // Armed before the others are told, so that nothing falls between.
        more.set(Arc::clone(&queued).notified_owned());
        more.as_mut().enable();
        wake.notify_waiters();
        if let Err(error) = store.announce().await {
            tracing::warn!(%error, "the workers were not woken: they find it when they poll");
        }
    }
}
