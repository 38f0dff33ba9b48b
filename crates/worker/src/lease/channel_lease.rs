//! Holding a channel: its lease is renewed while we live, and we stop at once when it is gone.

use std::sync::Arc;
use std::time::Duration;

use klaroen_domain::time::Clock;
use klaroen_store::Store;
use klaroen_store::channels::{self, ChannelName};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::jitter;
use crate::lease::peers::{HeldChannel, Peers};
use crate::lease::sharing::Sharing;
use crate::supervise::with_shutdown_grace;

/// How long a lease lasts: a dead process is followed after this time and the moment that a connection takes.
const LEASE: Duration = Duration::from_secs(4);
/// The same where nobody else could follow: a SQLite file has one writer, and an import at the command line may have it for
/// some seconds. The process that is started after a crash does not wait for it.
const LEASE_ALONE: Duration = Duration::from_secs(15);
/// We stop so long before it ends: clocks differ a little, and another may begin at its end.
const MARGIN: Duration = Duration::from_millis(500);
/// Two renewals may fail before it is gone, however they do: one that hangs has this time, and then it is tried anew.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// The same for a lease where nobody else could follow: an import that has the file is waited for, not asked again and again.
const RENEWED_WITHIN_ALONE: Duration = Duration::from_secs(4);
/// How often a channel that another holds, or should take, is asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// Wake-ups may come for every page of an alert.
const ASK_SELDOM: Duration = Duration::from_millis(50);
/// A channel that nobody took for so long is anybody's, whatever the others reported.
const FREE: Duration = Duration::from_secs(2);

/// Knows whether a channel is still ours, wherever it is carried.
#[derive(Clone, Debug)]
pub(crate) struct LeaseStatus {
    until: watch::Receiver<Instant>,
    lost: CancellationToken,
}

impl LeaseStatus {
    /// True only while the lease has time left by our own monotonic clock: a process that was stopped for a while finds out
    /// here, before its first byte.
    pub(crate) fn is_held(&self, now: Instant) -> bool {
        let held = !self.lost.is_cancelled() && now < *self.until.borrow();
        if !held {
            // Who was told so stops for good, so nobody may hear otherwise afterwards.
            self.lost.cancel();
        }
        held
    }
}

/// A channel that is ours.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Store,
    name: ChannelName,
    owner: Uuid,
    status: LeaseStatus,
    renewal: AbortOnDropHandle<()>,
}

/// Who wants a channel.
pub(crate) struct LeaseRequest<'a> {
    pub(crate) store: &'a Store,
    pub(crate) sharing: Sharing,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) name: &'a ChannelName,
    pub(crate) peers: &'a Arc<Peers>,
    /// Woken when a channel was given back, among other things.
    pub(crate) wake: &'a Notify,
    /// Told if another process holds it.
    pub(crate) elsewhere: &'a (dyn Fn(bool) + Send + Sync),
}

/// What an attempt came to.
enum Acquisition {
    Acquired(Box<(Lease, HeldChannel)>),
    /// Somebody holds it, or should take it: ask again then.
    Wait(Duration),
}

/// How long a lease on this database lasts.
const fn length(sharing: Sharing) -> Duration {
    match sharing {
        Sharing::Shared => LEASE,
        Sharing::Alone => LEASE_ALONE,
    }
}

impl LeaseRequest<'_> {
    /// Waits until the channel is ours; `None` at shutdown. `release` is cancelled when another worker should have it. The
    /// owner is new each time, so that what a session before this one left in flight is put in doubt by the take-over, not
    /// forgotten.
    pub(crate) async fn acquire(
        &self,
        release: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> Option<(Lease, HeldChannel)> {
        let mut free_since = None;
        while !shutdown.is_cancelled() {
            let woken = self.wake.notified();
            let wait = match with_shutdown_grace(
                shutdown.clone(),
                Box::pin(self.try_acquire(&mut free_since, release)),
            )
            .await?
            {
                Ok(Acquisition::Acquired(taken)) => return Some(*taken),
                Ok(Acquisition::Wait(wait)) => wait,
                Err(error) => {
                    tracing::warn!(channel = %self.name, %error, "the channel could not be leased");
                    jitter::around(ASK_EVERY)
                }
            };
            let asked = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = woken => tokio::time::sleep_until(asked + jitter::around(ASK_SELDOM)).await,
                () = shutdown.cancelled() => {}
            }
        }
        None
    }

    async fn try_acquire(
        &self,
        free_since: &mut Option<Instant>,
        release: &CancellationToken,
    ) -> klaroen_store::Result<Acquisition> {
        let held_until = self.store.channel_held_until(self.name, self.clock.now()).await?;
        (self.elsewhere)(held_until.is_some());
        if let Some(until) = held_until {
            *free_since = None;
            let left = until.since(self.clock.now()) + Duration::from_millis(1);
            return Ok(Acquisition::Wait(jitter::around(ASK_EVERY).min(left)));
        }
        let free_since = *free_since.get_or_insert_with(Instant::now);
        let _acquiring = self.peers.acquiring.lock().await;
        self.peers.report(self.store, &**self.clock).await;
        if !self.peers.may_acquire() && free_since.elapsed() < FREE {
            return Ok(Acquisition::Wait(jitter::around(ASK_AGAIN)));
        }
        let owner = Uuid::new_v4();
        let asked = Instant::now();
        let now = self.clock.now();
        match self.store.lease_channel(self.name, owner, now.plus(length(self.sharing)), now).await? {
            channels::Lease::Held => {
                tracing::debug!(channel = %self.name, "another process was faster");
                Ok(Acquisition::Wait(jitter::around(ASK_AGAIN)))
            }
            taken => {
                if let channels::Lease::Taken { lost: lost @ 1.. } = taken {
                    tracing::warn!(channel = %self.name, lost, "the owner before us left deliveries in flight: in doubt");
                }
                let held = self.peers.hold(self.name.channel, release.clone());
                let renewal = Renewal {
                    store: self.store.clone(),
                    sharing: self.sharing,
                    clock: Arc::clone(self.clock),
                    name: self.name.clone(),
                    owner,
                };
                let lease = Lease::start(renewal, asked);
                // So that the next of its channels goes to a worker that holds fewer.
                self.peers.report(self.store, &**self.clock).await;
                Ok(Acquisition::Acquired(Box::new((lease, held))))
            }
        }
    }
}

impl Lease {
    fn start(renewal: Renewal, asked: Instant) -> Self {
        let (store, name, owner) = (renewal.store.clone(), renewal.name.clone(), renewal.owner);
        let (show, until) = watch::channel(asked + length(renewal.sharing).saturating_sub(MARGIN));
        let lost = CancellationToken::new();
        let renewal = AbortOnDropHandle::new(tokio::spawn(renewal.run(show, lost.clone())));
        Self { store, name, owner, status: LeaseStatus { until, lost }, renewal }
    }

    /// Tells whether it is still ours.
    pub(crate) const fn status(&self) -> &LeaseStatus {
        &self.status
    }

    /// Is cancelled when the lease is gone.
    pub(crate) const fn lost(&self) -> &CancellationToken {
        &self.status.lost
    }

    /// Gives the channel back.
    pub(crate) async fn release(self) {
        // A renewal under way would be repeated for nobody; it is over before the channel is free.
        self.renewal.abort();
        let _aborted = self.renewal.await;
        if let Err(error) = self.store.release_channel(&self.name, self.owner).await {
            tracing::warn!(channel = %self.name, %error, "the channel was not given back: its lease runs out by itself");
        }
    }
}

/// What renewing a lease needs.
struct Renewal {
    store: Store,
    sharing: Sharing,
    clock: Arc<dyn Clock>,
    name: ChannelName,
    owner: Uuid,
}

impl Renewal {
    /// Renews the lease until it is lost, and then cancels `lost`.
    async fn run(self, until: watch::Sender<Instant>, lost: CancellationToken) {
        // However this ends, by a panic too, the lease counts as lost.
        let _lost_at_the_end = lost.drop_guard();
        let patience = match self.sharing {
            Sharing::Shared => RENEW_EVERY,
            Sharing::Alone => RENEWED_WITHIN_ALONE,
        };
        let mut next = Instant::now() + RENEW_EVERY;
        loop {
            tokio::time::sleep_until(next).await;
            let asked = Instant::now();
            let now = self.clock.now();
            let ends = *until.borrow();
            let renewal =
                self.store.lease_channel(&self.name, self.owner, now.plus(length(self.sharing)), now);
            next = asked + RENEW_EVERY;
            match tokio::time::timeout_at(ends.min(asked + patience), renewal).await {
                Ok(Ok(channels::Lease::Renewed)) if Instant::now() < ends => {
                    until.send_replace(asked + length(self.sharing).saturating_sub(MARGIN));
                }
                // `Taken`: somebody had it in between, so what we have in flight is no longer ours.
                Ok(Ok(channels::Lease::Held | channels::Lease::Taken { .. })) => {
                    tracing::error!(channel = %self.name, "another process took the channel");
                    return;
                }
                Ok(Err(error)) if Instant::now() < ends => {
                    tracing::warn!(channel = %self.name, %error, "the lease was not renewed yet");
                }
                Err(_) if Instant::now() < ends => {
                    tracing::warn!(channel = %self.name, "the database does not answer: the lease was not renewed yet");
                }
                Ok(Ok(channels::Lease::Renewed) | Err(_)) | Err(_) => {
                    tracing::error!(channel = %self.name, "the lease ran out before the database answered");
                    return;
                }
            }
        }
    }
}
