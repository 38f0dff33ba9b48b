//! The lease of a channel: it is renewed while the process lives, and sending stops as soon as it is lost.

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

/// How long a lease lasts: another process takes over from a dead one after this time, plus the time to connect.
const LEASE: Duration = Duration::from_secs(4);
/// How long a lease lasts if no other process could take over: a SQLite file has one writer, and an import on the
/// command line may hold it for seconds. A process that starts after a crash does not wait for this lease.
const LEASE_ALONE: Duration = Duration::from_secs(15);
/// We stop this long before the lease ends, because clocks differ a little and another process may begin at its end.
const MARGIN: Duration = Duration::from_millis(500);
/// The lease survives two failed renewals. A renewal that hangs is repeated after this time.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long a renewal may take if no other process could take over: it waits for an import that holds the file.
const RENEWED_WITHIN_ALONE: Duration = Duration::from_secs(4);
/// How often to try for a channel that another process holds, or should take.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// Wake-ups may come for every page of an alert, so they are limited to one in this time.
const ASK_SELDOM: Duration = Duration::from_millis(50);
/// A channel that was free for this long may be taken by any worker, whatever the reports say.
const FREE: Duration = Duration::from_secs(2);

/// Knows whether the lease is still held. It is cheap to clone and to ask.
#[derive(Clone, Debug)]
pub(crate) struct LeaseStatus {
    until: watch::Receiver<Instant>,
    lost: CancellationToken,
}

impl LeaseStatus {
    /// Whether the lease has time left by our own monotonic clock. A process that was suspended finds out here before
    /// it sends anything.
    pub(crate) fn is_held(&self, now: Instant) -> bool {
        let held = !self.lost.is_cancelled() && now < *self.until.borrow();
        if !held {
            // The caller stops for good after this answer, so no later answer may differ.
            self.lost.cancel();
        }
        held
    }
}

/// A channel that this process holds.
#[derive(Debug)]
pub(crate) struct Lease {
    store: Store,
    name: ChannelName,
    owner: Uuid,
    status: LeaseStatus,
    renewal: AbortOnDropHandle<()>,
}

/// A process that wants a channel.
pub(crate) struct LeaseRequest<'a> {
    pub(crate) store: &'a Store,
    pub(crate) sharing: Sharing,
    pub(crate) clock: &'a Arc<dyn Clock>,
    pub(crate) name: &'a ChannelName,
    pub(crate) peers: &'a Arc<Peers>,
    /// Notified when a channel was given back, among other things.
    pub(crate) wake: &'a Notify,
    /// Called with whether another process holds the channel.
    pub(crate) elsewhere: &'a (dyn Fn(bool) + Send + Sync),
}

/// The result of one attempt to acquire a channel.
enum Acquisition {
    Acquired(Box<(Lease, HeldChannel)>),
    /// Another process holds it or should take it. Try again after this time.
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
    /// Waits until the channel is ours; `None` at shutdown. `release` is cancelled when another worker should have it.
    /// Each acquisition has a new owner id, so that deliveries which an earlier session left in flight are marked as in
    /// doubt by the take-over and not forgotten.
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
                    tracing::warn!(channel = %self.name, %error, "could not lease the channel; retrying");
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
                tracing::debug!(channel = %self.name, "another process leased the channel first");
                Ok(Acquisition::Wait(jitter::around(ASK_AGAIN)))
            }
            taken => {
                if let channels::Lease::Taken { lost: lost @ 1.. } = taken {
                    tracing::warn!(channel = %self.name, lost, "the previous owner of the channel left deliveries in flight: they are in doubt");
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
                // So that a worker that holds fewer channels takes the next one.
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

    /// Knows whether the lease is still held.
    pub(crate) const fn status(&self) -> &LeaseStatus {
        &self.status
    }

    /// Cancelled when the lease is lost.
    pub(crate) const fn lost(&self) -> &CancellationToken {
        &self.status.lost
    }

    /// Gives the channel back.
    pub(crate) async fn release(self) {
        // A renewal after the release would take the channel back, so it is over before the channel is free.
        self.renewal.abort();
        let _aborted = self.renewal.await;
        if let Err(error) = self.store.release_channel(&self.name, self.owner).await {
            tracing::warn!(channel = %self.name, %error, "could not release the channel: its lease expires by itself");
        }
    }
}

/// The state of a task that renews a lease.
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
        // The lease counts as lost when this task ends for any reason, a panic included.
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
                // `Taken`: another process held it in between, so deliveries in flight are no longer ours.
                Ok(Ok(channels::Lease::Held | channels::Lease::Taken { .. })) => {
                    tracing::error!(channel = %self.name, "another process took the channel");
                    return;
                }
                Ok(Err(error)) if Instant::now() < ends => {
                    tracing::warn!(channel = %self.name, %error, "lease not renewed; retrying");
                }
                Err(_) if Instant::now() < ends => {
                    tracing::warn!(channel = %self.name, "database timed out; lease not renewed; retrying");
                }
                Ok(Ok(channels::Lease::Renewed) | Err(_)) | Err(_) => {
                    tracing::error!(channel = %self.name, "the lease ran out before the database answered");
                    return;
                }
            }
        }
    }
}
