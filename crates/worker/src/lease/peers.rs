//! Our place among the workers of one gateway: what we hold of its channels, and what the others report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klaroen_domain::time::Clock;
use klaroen_store::Store;
use klaroen_store::workers::Peer;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::jitter;
use crate::lease::balance;

/// How long a report counts: less than a lease, so that a dead worker's place is free before its channels are.
const COUNTS: Duration = Duration::from_secs(3);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A worker that has just come, or dies, is not worth a new connection: a channel is given back only after so many looks in
/// a row said so.
const LOOKS: u32 = 4;

/// One gateway's channels as this process knows them.
#[derive(Debug)]
pub(crate) struct Peers {
    gateway: String,
    worker: Uuid,
    state: Mutex<State>,
    /// One channel is taken at a time, so that each take is counted before the next.
    pub(crate) acquiring: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// A way to ask back each channel that we hold.
    held: Vec<(u16, CancellationToken)>,
    peers: Vec<Peer>,
}

/// A channel that counts as ours, from the lease to its end.
#[derive(Debug)]
pub(crate) struct HeldChannel {
    peers: Arc<Peers>,
    channel: u16,
}

impl Peers {
    pub(crate) fn new(gateway: String, worker: Uuid) -> Self {
        Self { gateway, worker, state: Mutex::default(), acquiring: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_count(&self) -> u16 {
        u16::try_from(self.state().held.len()).unwrap_or(u16::MAX)
    }

    /// Tells the others what we hold, and hears what they do. Where the database does not answer, what they said before
    /// counts.
    pub(crate) async fn report(&self, store: &Store, clock: &dyn Clock) {
        let now = clock.now();
        match store.report_worker(self.worker, &self.gateway, self.held_count(), now.plus(COUNTS), now).await
        {
            Ok(peers) => self.state().peers = peers,
            Err(error) => {
                tracing::debug!(gateway = self.gateway, %error, "the other workers do not hear from us");
            }
        }
    }

    /// Whether a free channel is for us, by what the others last said.
    pub(crate) fn may_acquire(&self) -> bool {
        balance::may_acquire(self.held_count(), &self.state().peers)
    }

    /// Counts a channel as ours; `release` is cancelled when another worker should have it.
    pub(crate) fn hold(self: &Arc<Self>, channel: u16, release: CancellationToken) -> HeldChannel {
        self.state().held.push((channel, release));
        HeldChannel { peers: Arc::clone(self), channel }
    }

    /// Reports until shutdown, and gives a channel back where the others hold too few.
    pub(crate) async fn run(&self, store: &Store, clock: &dyn Clock, shutdown: &CancellationToken) {
        let mut looks = 0;
        while !shutdown.is_cancelled() {
            self.report(store, clock).await;
            looks = if balance::should_release(self.worker, self.held_count(), &self.state().peers) {
                looks + 1
            } else {
                0
            };
            if looks >= LOOKS
                && let Some((channel, release)) = self.state().held.last()
            {
                tracing::info!(
                    gateway = self.gateway,
                    channel,
                    "another worker holds fewer channels: giving one back"
                );
                release.cancel();
                looks = 0;
            }
            tokio::select! {
                () = tokio::time::sleep(jitter::around(REPORT_EVERY)) => {}
                () = shutdown.cancelled() => {}
            }
        }
    }
}

impl Drop for HeldChannel {
    fn drop(&mut self) {
        self.peers.state().held.retain(|(channel, _)| *channel != self.channel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_held_counts_until_it_is_dropped() {
        let peers = Arc::new(Peers::new("main".into(), Uuid::nil()));
        peers.state().peers = vec![Peer { id: Uuid::max(), held: 1 }];
        assert!(peers.may_acquire());
        let first = peers.hold(0, CancellationToken::new());
        assert!(peers.may_acquire(), "as many as the other");
        let second = peers.hold(1, CancellationToken::new());
        assert!(!peers.may_acquire());
        drop(first);
        assert_eq!((peers.held_count(), peers.may_acquire()), (1, true));
        drop(second);
        assert_eq!(peers.held_count(), 0);
    }
}
