//! The loop of a session: claims ahead, submits, and reacts to responses, notifications and the shutdown.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use klaroen_gateway::ChannelStatus;
use klaroen_store::StoreError;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::gateway::handle::BoundGuard;
use crate::gateway::routing::allocation::no_share;
use crate::jitter;
use crate::lease::channel_lease::Lease;
use crate::session::claim::Batch;
use crate::session::claim::batch_size::{claim_size, per_commit};
use crate::session::responses::next_done;
use crate::session::{Claiming, Ended, Hold, Session};

/// The queue is checked this often without a notification, because another process may have filled it.
const POLL: Duration = Duration::from_secs(1);

/// An empty claim is not repeated sooner, even if the clock of another machine says that something is due.
const BREATH: Duration = Duration::from_millis(5);

/// While one message probes the gateway, its other channels check this often whether the probe has ended. If no other
/// gateway could take the messages, the end changes no plan and so causes no notification.
const LOOK: Duration = Duration::from_millis(250);

impl Session {
    /// Sends until there is a reason to stop.
    pub(crate) async fn run(
        &mut self,
        lease: &Lease,
        guard: &mut BoundGuard<'_>,
        shutdown: &CancellationToken,
    ) -> Ended {
        let (lost, stop) = (lease.lost().cancelled(), shutdown.cancelled());
        tokio::pin!(lost, stop);
        let results = self.context.claimer.results.clone();
        loop {
            let now = Instant::now();
            if !lease.status().is_held(now) {
                return Ended::LeaseLost;
            }
            if results.is_closed() {
                return Ended::Broken;
            }
            let up = *self.context.status.borrow_and_update() == ChannelStatus::Up;
            self.context.instruments.up.set(if up { 1.0 } else { 0.0 });
            if guard.set_up(up) {
                self.context.router.on_change();
            }
            self.apply_plan();
            self.context.instruments.turns.increment(1);
            // Only who claims has a time to claim at: for others it would soon be over, and the loop would run without end.
            let (hold, timer) = if up && !self.share.is_nothing() {
                let hold = self.submit_ready(now);
                let look_at = self.claim_ahead(now);
                let next = match hold {
                    Hold::Until(at) => Some(at),
                    Hold::Nothing | Hold::Results => self.idle_until,
                };
                (hold, next.into_iter().chain(look_at).min())
            } else {
                (self.put_back_queue(), None)
            };
            tokio::select! {
                biased;
                () = &mut stop => {
                    self.poll_in_flight();
                    return Ended::Shutdown;
                }
                () = &mut lost => return Ended::LeaseLost,
                // The router outlives its channels.
                Ok(()) = self.plan.changed() => {}
                changed = self.context.status.changed() => if changed.is_err() { return Ended::Broken },
                // Claims are rare, so they go before responses, of which there may always be one.
                claimed = join(&mut self.claiming) => self.on_claimed(claimed),
                done = next_done(&mut self.in_flight) => self.on_responses(done),
                () = &mut self.work, if self.idle_until.is_some() => self.idle_until = None,
                place = results.reserve(), if matches!(hold, Hold::Results) => drop(place),
                () = sleep_until(timer) => {}
            }
        }
    }

    /// Polls the requests once: those that were just created have their tokens and must leave now.
    fn poll_in_flight(&mut self) {
        if let Some(done) = next_done(&mut self.in_flight).now_or_never() {
            self.on_responses(done);
        }
    }

    /// Applies the present plan. After a change the queue is checked at once.
    fn apply_plan(&mut self) {
        let planned = self.plan.borrow_and_update().get(self.gateway_index).cloned();
        let share = planned.unwrap_or_else(|| Arc::new(no_share()));
        if share != self.share {
            self.share = share;
            self.idle_until = None;
        }
    }

    /// Starts the next claim before the queue is empty, so that the connection does not wait for the disk. Returns when
    /// to check again, if nothing else will cause that.
    fn claim_ahead(&mut self, now: Instant) -> Option<Instant> {
        if self.idle_until.is_some_and(|until| now >= until) {
            self.idle_until = None;
        }
        let (handle, window) = (&self.context.handle, self.context.window);
        let probing = handle.is_probing();
        let look_at = probing.then(|| now + LOOK);
        if self.claiming.is_some() || self.idle_until.is_some() || self.queue.len() > self.low_water() {
            return look_at;
        }
        if !probing && self.stalled.is_some_and(|needed| self.is_full(needed)) {
            // A provider that does not answer keeps its window, but not messages that others could send.
            return None;
        }
        self.stalled = None;
        if probing && !(self.queue.is_empty() && handle.wants_probe()) {
            // One message probes a gateway that had failed. Its outcome decides about the rest.
            return look_at;
        }
        // Two full requests and not a window of them: leased deliveries are in doubt after a crash, and the next claim
        // comes soon.
        let batches = if self.batch_max > 1 { 2 * usize::from(self.batch_max) } else { 0 };
        let room = window.max(batches);
        let size = || claim_size(self.throughput.rate(), handle.pace.rate(), room, &self.latency);
        let limit = if probing { 1 } else { size() };
        self.claim_began = now;
        self.work = Box::pin(Arc::clone(&self.context.wake).notified_owned());
        self.work.as_mut().enable();
        let (claimer, share) = (self.context.claimer.clone(), Arc::clone(&self.share));
        self.claiming = Some(tokio::spawn(async move { claimer.claim(limit, &share).await }));
        look_at
    }

    /// Whether the window has no room for `needed` more slots. An empty window has room for any message.
    pub(super) fn is_full(&self, needed: usize) -> bool {
        self.places > 0 && self.places.saturating_add(needed) > self.context.window
    }

    /// The next claim begins when this many deliveries are left: half of the last claim, or as many as are submitted
    /// during a commit.
    fn low_water(&self) -> usize {
        let half = self.last_claim / 2;
        // Under a rate limit messages wait for tokens, and more of them would only wait under a lease.
        let limited = self.context.handle.pace.rate().is_some();
        if limited { half } else { half.max(per_commit(self.throughput.rate())) }
    }

    /// Takes the result of a claim, or sets when to try again.
    pub(super) fn on_claimed(&mut self, claimed: Result<Result<Batch, StoreError>, JoinError>) {
        self.claiming = None;
        self.context.instruments.rate_factor.set(self.context.handle.pace.factor());
        let again = Instant::now() + jitter::around(POLL);
        match claimed {
            Ok(Ok(batch)) => {
                if batch.queue_is_empty {
                    let due = batch.next_due.map_or(again, |wait| Instant::now() + wait.max(BREATH));
                    self.idle_until = Some(due.min(again));
                } else {
                    #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
                    self.context.instruments.claim_size.record(batch.ready.len() as f64);
                    self.latency.record(self.claim_began.elapsed());
                }
                self.last_claim = batch.ready.len();
                self.queue.extend(batch.ready);
            }
            Ok(Err(error)) => {
                tracing::warn!(channel = %self.context.claimer.channel, %error, "claim failed; retrying");
                self.idle_until = Some(again);
            }
            Err(error) => {
                let panicked = error.is_panic();
                tracing::error!(channel = %self.context.claimer.channel, panicked, "a claim failed half-way");
                self.idle_until = Some(again);
            }
        }
    }

    /// Puts leased deliveries back into the queue: they are not in doubt, and another channel may take them.
    pub(super) fn put_back_queue(&mut self) -> Hold {
        let now = self.context.claimer.clock.now();
        while let Some(ready) = self.queue.front() {
            let Ok(place) = self.context.claimer.results.try_reserve() else { return Hold::Results };
            place.send(ready.attempt.put_back(now));
            self.queue.pop_front();
        }
        self.last_claim = 0;
        Hold::Nothing
    }
}

async fn join(claiming: &mut Option<Claiming>) -> Result<Result<Batch, StoreError>, JoinError> {
    match claiming {
        Some(claiming) => claiming.await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
