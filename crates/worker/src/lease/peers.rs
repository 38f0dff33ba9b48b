//! The workers of one gateway: which of its channels this process holds, and what the other workers report.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klaroen_domain::time::Clock;
use klaroen_store::Store;
use klaroen_store::workers::Peer;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::jitter;
use crate::lease::balance;

/// How long a report is valid: shorter than a lease, so that a dead worker stops counting before its channels are free.
const COUNTS: Duration = Duration::from_secs(3);
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A channel is given back only after this many checks in a row say so, because a worker that has just started or is
/// about to end is not worth a new connection.
const LOOKS: u32 = 4;

/// The channels of one gateway as this process knows them.
#[derive(Debug)]
pub(crate) struct Peers {
    gateway: String,
    worker: Uuid,
    state: Mutex<State>,
    /// One channel is acquired at a time, so that each acquisition is counted before the next.
    pub(crate) acquiring: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// The channels that we hold, each with a token to ask it back.
    held: Vec<(u16, CancellationToken)>,
    peers: Vec<Peer>,
}

/// A channel that counts as held until this is dropped.
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

    /// Reports how many channels we hold, and reads the reports of the others. If the database does not answer, the
    /// earlier reports stay valid.
    pub(crate) async fn report(&self, store: &Store, clock: &dyn Clock) {
        let now = clock.now();
        match store.report_worker(self.worker, &self.gateway, self.held_count(), now.plus(COUNTS), now).await
        {
            Ok(peers) => self.state().peers = peers,
            Err(error) => {
                tracing::debug!(gateway = self.gateway, %error, "could not report to the other workers");
            }
        }
    }

    /// Whether we may take a free channel, by the last reports of the others.
    pub(crate) fn may_acquire(&self) -> bool {
        balance::may_acquire(self.held_count(), &self.state().peers)
    }

    /// Counts a channel as held. `release` is cancelled when another worker should have it.
    pub(crate) fn hold(self: &Arc<Self>, channel: u16, release: CancellationToken) -> HeldChannel {
        self.state().held.push((channel, release));
        HeldChannel { peers: Arc::clone(self), channel }
    }

    /// Reports until shutdown, and gives a channel back if other workers hold too few.
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
                    "another worker holds fewer channels; giving one back"
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
