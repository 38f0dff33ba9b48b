//! Holding a channel: its lease is renewed while we live, and we stop at once when it is gone.

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::time::Clock;
use klaroen_store::Store;
use klaroen_store::channels::{self, ChannelName};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::jitter;

/// How long a lease lasts: a dead process is followed after this time.
const LEASE: Duration = Duration::from_secs(5);
/// Three renewals may fail before it is gone.
const RENEW_EVERY: Duration = Duration::from_millis(1_500);
/// How often a channel that another holds is asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A channel that is ours.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Store,
    name: ChannelName,
    owner: Uuid,
    until: watch::Receiver<Instant>,
    lost: CancellationToken,
    renewal: AbortOnDropHandle<()>,
}

impl Lease {
    /// Waits until the channel is ours; `None` at shutdown. The owner is new each time, so that what a session before
    /// this one left in flight is put in doubt by the take-over, not forgotten.
    pub(crate) async fn acquire(
        store: &Store,
        clock: &Arc<dyn Clock>,
        name: &ChannelName,
        shutdown: &CancellationToken,
    ) -> Option<Self> {
        let owner = Uuid::new_v4();
        while !shutdown.is_cancelled() {
            let asked = Instant::now();
            let now = clock.now();
            match store.lease_channel(name, owner, now.plus(LEASE), now).await {
                Ok(channels::Lease::Held) => {
                    tracing::debug!(channel = %name, "another process holds the channel");
                }
                Ok(taken) => {
                    if let channels::Lease::Taken { lost: lost @ 1.. } = taken {
                        tracing::warn!(channel = %name, lost, "the owner before us left deliveries in flight: in doubt");
                    }
                    return Some(Self::start(store.clone(), Arc::clone(clock), name.clone(), owner, asked));
                }
                Err(error) => tracing::warn!(channel = %name, %error, "the channel could not be leased"),
            }
            tokio::select! {
                () = tokio::time::sleep(jitter::around(ASK_EVERY)) => {}
                () = shutdown.cancelled() => {}
            }
        }
        None
    }

    fn start(store: Store, clock: Arc<dyn Clock>, name: ChannelName, owner: Uuid, asked: Instant) -> Self {
        let (show, until) = watch::channel(asked + LEASE);
        let lost = CancellationToken::new();
        let renewal = renew(store.clone(), clock, name.clone(), owner, show, lost.clone());
        let renewal = AbortOnDropHandle::new(tokio::spawn(renewal));
        Self { store, name, owner, until, lost, renewal }
    }

    /// Whether it is still ours. True only while the lease has time left by our own monotonic clock: a process that was
    /// stopped for a while finds out here, before its first byte.
    pub(crate) fn is_held(&self, now: Instant) -> bool {
        !self.lost.is_cancelled() && now < *self.until.borrow()
    }

    /// Is cancelled when the lease is gone.
    pub(crate) const fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Gives the channel back.
    pub(crate) async fn release(self) {
        drop(self.renewal);
        if let Err(error) = self.store.release_channel(&self.name, self.owner).await {
            tracing::warn!(channel = %self.name, %error, "the channel was not given back: its lease runs out by itself");
        }
    }
}

async fn renew(
    store: Store,
    clock: Arc<dyn Clock>,
    name: ChannelName,
    owner: Uuid,
    until: watch::Sender<Instant>,
    lost: CancellationToken,
) {
    // However this ends, by a panic too, the lease counts as lost.
    let _lost_at_the_end = lost.drop_guard();
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let asked = Instant::now();
        let now = clock.now();
        let ends = *until.borrow();
        let renewal = store.lease_channel(&name, owner, now.plus(LEASE), now);
        match tokio::time::timeout_at(ends, renewal).await {
            Ok(Ok(channels::Lease::Renewed)) => {
                until.send_replace(asked + LEASE);
            }
            // `Taken`: somebody had it in between, so what we have in flight is no longer ours.
            Ok(Ok(channels::Lease::Held | channels::Lease::Taken { .. })) => {
                tracing::error!(channel = %name, "another process took the channel");
                return;
            }
            Ok(Err(error)) if Instant::now() < ends => {
                tracing::warn!(channel = %name, %error, "the lease was not renewed yet");
            }
            Ok(Err(_)) | Err(_) => {
                tracing::error!(channel = %name, "the lease ran out before the database answered");
                return;
            }
        }
    }
}
