//! The handle of one gateway, which its channels share: its pace, its peers in other processes and its circuit breaker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klaroen_domain::gateway::GatewayState;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::SubmitOutcome;
use klaroen_domain::time::Timestamp;
use klaroen_store::gateways::GatewayReport;
use klaroen_store::receipt_times::ReceiptTimes;
use metrics::gauge;
use tokio::time::Instant;
use uuid::Uuid;

use crate::gateway::batch_verdict;
use crate::gateway::circuit_breaker::{Change, CircuitBreaker, RequestRef};
use crate::gateway::rate::pace::Pace;
use crate::gateway::rolling_counts::RollingCounts;
use crate::gateway::routing::allocation::is_usable;
use crate::instruments;
use crate::lease::peers::Peers;

/// The channels of a gateway that this process holds.
#[derive(Clone, Copy, Debug, Default)]
struct ChannelCounts {
    held: u16,
    /// Of these.
    up: u16,
}

/// The shared state of one gateway.
#[derive(Debug)]
pub(crate) struct GatewayHandle {
    name: String,
    worker: Uuid,
    pub(crate) pace: Pace,
    pub(crate) peers: Arc<Peers>,
    channels: Mutex<ChannelCounts>,
    breaker: Mutex<CircuitBreaker>,
    counts: Mutex<RollingCounts>,
    /// Whether the gateway is being probed by one message. It is read for each message.
    probing: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in here leaves plain numbers behind, no half-done work.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GatewayHandle {
    pub(crate) fn new(name: String, segments_per_second: u32, channels: u16, worker: Uuid) -> Self {
        let pace = Pace::new(segments_per_second, channels);
        let now = Instant::now();
        Self {
            peers: Arc::new(Peers::new(name.clone(), worker)),
            name,
            worker,
            pace,
            channels: Mutex::default(),
            breaker: Mutex::new(CircuitBreaker::new(now)),
            counts: Mutex::new(RollingCounts::new(now)),
            probing: AtomicBool::new(false),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Counts a channel as held until the guard is dropped. It brings its part of the gateway's rate.
    pub(crate) fn bind(&self) -> BoundGuard<'_> {
        self.count(|channels| channels.held += 1);
        BoundGuard { handle: self, up: false }
    }

    fn count(&self, change: impl FnOnce(&mut ChannelCounts)) {
        let mut channels = lock(&self.channels);
        change(&mut channels);
        self.pace.set_channels_held(channels.held);
        let up = channels.up;
        drop(channels);
        self.with(|breaker, now| breaker.on_connections(up, now));
    }

    /// How many channels this process holds.
    pub(crate) fn channels_held(&self) -> u16 {
        lock(&self.channels).held
    }

    /// Changes the breaker and publishes a change of state. Returns whether the state changed.
    fn with(&self, change: impl FnOnce(&mut CircuitBreaker, Instant) -> Option<Change>) -> bool {
        let now = Instant::now();
        let mut breaker = lock(&self.breaker);
        let changed = change(&mut breaker, now);
        self.probing.store(breaker.is_probing(), Ordering::Release);
        let reason = changed.as_ref().map(|_| breaker.reason().to_owned());
        drop(breaker);
        let Some(Change { from, to }) = changed else { return false };
        self.log_change(from, to, &reason.unwrap_or_default());
        true
    }

    fn log_change(&self, from: GatewayState, to: GatewayState, reason: &str) {
        let gateway = &self.name;
        for state in GatewayState::ALL {
            let on = if *state == to { 1.0 } else { 0.0 };
            gauge!("klaroen_gateway_state", "gateway" => gateway.clone(), "state" => state.as_str()).set(on);
        }
        if to == GatewayState::Paused {
            instruments::paused(gateway);
        }
        match to {
            GatewayState::Up => tracing::info!(gateway, %from, %to, "the gateway is up"),
            GatewayState::Paused => tracing::error!(gateway, %from, %to, reason, "the gateway is paused"),
            _ => tracing::warn!(gateway, %from, %to, reason, "the gateway's state changed"),
        }
    }

    /// A request leaves with `messages` messages, of which `first` is the first.
    pub(crate) fn on_submit(&self, first: DeliveryId, messages: usize) {
        lock(&self.breaker).on_submit(request_ref(first, messages), Instant::now());
    }

    /// Counts the outcome of each message for the figures.
    pub(crate) fn count_outcomes(&self, outcomes: &[&SubmitOutcome], at: Timestamp) {
        let (now, mut counts) = (Instant::now(), lock(&self.counts));
        for outcome in outcomes {
            counts.count(outcome, now, at);
        }
    }

    /// A request was answered. Returns whether that changed the state. See [`CircuitBreaker::on_response`].
    pub(crate) fn on_response(
        &self,
        first: DeliveryId,
        outcomes: &[&SubmitOutcome],
        took: Duration,
        connected: bool,
    ) -> bool {
        let Some(outcome) = batch_verdict::verdict(outcomes) else { return false };
        let request = request_ref(first, outcomes.len());
        let probing = self.probing.load(Ordering::Acquire);
        self.with(|breaker, now| breaker.on_response(request, outcome, took, connected, now))
            || probing != self.probing.load(Ordering::Acquire)
    }

    /// The answers to these messages are no longer waited for.
    pub(crate) fn on_abandoned(&self, messages: impl Iterator<Item = DeliveryId>) {
        let messages: Vec<_> = messages.collect();
        if !messages.is_empty() {
            lock(&self.breaker).on_abandoned(&messages, Instant::now());
        }
    }

    /// Applies what is due at the present time. Returns whether that changed the state.
    pub(crate) fn tick(&self) -> bool {
        let factor = self.pace.factor();
        self.with(|breaker, now| breaker.tick(factor, now))
    }

    /// An operator stopped the gateway or started it again. Returns whether that changed the state.
    pub(crate) fn set_stopped(&self, stopped: bool) -> bool {
        self.with(|breaker, now| breaker.set_stopped(stopped, now))
    }

    /// Applies the receipts of the last quarter of an hour. Returns whether that changed the state.
    pub(crate) fn record_receipts(&self, receipts: Option<ReceiptTimes>) -> bool {
        lock(&self.counts).receipts = receipts;
        let reason = receipts.and_then(|receipts| bad_receipts(&receipts));
        self.with(|breaker, now| reason.and_then(|reason| breaker.on_bad_receipts(reason, now)))
    }

    /// An answer came after its submit had been abandoned. Returns whether that changed the state.
    pub(crate) fn on_late_response(&self) -> bool {
        self.with(CircuitBreaker::on_late_response)
    }

    /// Sets whether no other gateway can take its messages.
    pub(crate) fn set_only_gateway(&self, only_gateway: bool) {
        lock(&self.breaker).set_only_gateway(only_gateway);
    }

    /// The state that routing uses for this process.
    pub(crate) fn routing_state(&self) -> GatewayState {
        lock(&self.breaker).routing_state(Instant::now())
    }

    /// Whether one message is to find out if the gateway works again.
    pub(crate) fn is_probing(&self) -> bool {
        self.probing.load(Ordering::Acquire)
    }

    /// Whether that message may be sent now.
    pub(crate) fn wants_probe(&self) -> bool {
        lock(&self.breaker).wants_probe()
    }

    /// The report for other processes and the operator. `wall` is the present time of day.
    pub(crate) fn report(&self, wall: Timestamp) -> GatewayReport {
        let now = Instant::now();
        let counts = lock(&self.counts);
        let (figures, last_error) = (counts.figures(now), counts.last_error.clone());
        drop(counts);
        let held = self.channels_held();
        let breaker = lock(&self.breaker);
        GatewayReport {
            gateway: self.name.clone(),
            worker: self.worker,
            state: breaker.state(),
            since: wall.minus(now.duration_since(breaker.since())),
            reason: breaker.reason().to_owned(),
            paused_until: breaker.paused_until().map(|until| wall.plus(until.saturating_duration_since(now))),
            usable: is_usable(breaker.routing_state(now)),
            channels_up: breaker.channels_up(),
            channels_held: held,
            rate: self.pace.rate(),
            in_flight: breaker.in_flight(),
            figures,
            last_error,
        }
    }
}

fn request_ref(first: DeliveryId, messages: usize) -> RequestRef {
    RequestRef { first, messages: u32::try_from(messages).unwrap_or(u32::MAX) }
}

/// Fewer receipts than this say nothing.
const RECEIPTS_LEAST: u64 = 50;
/// A median time in seconds between answer and receipt that is too long for an alert.
const RECEIPT_LATE_S: f64 = 300.0;

/// Why messages through the gateway seem not to arrive; `None` if they seem to.
fn bad_receipts(receipts: &ReceiptTimes) -> Option<String> {
    let all = receipts.delivered + receipts.undelivered;
    if all < RECEIPTS_LEAST {
        return None;
    }
    if 2 * receipts.undelivered > all {
        let percent = 100 * receipts.undelivered / all;
        return Some(format!("{percent} % of the last receipts say undelivered"));
    }
    let late = receipts.median_s > RECEIPT_LATE_S;
    late.then(|| format!("half of the receipts took more than {:.0} s", receipts.median_s))
}

/// A channel that this process holds.
#[derive(Debug)]
pub(crate) struct BoundGuard<'a> {
    handle: &'a GatewayHandle,
    up: bool,
}

impl BoundGuard<'_> {
    /// Sets whether the connection is up. Returns whether that changed.
    pub(crate) fn set_up(&mut self, up: bool) -> bool {
        let before = std::mem::replace(&mut self.up, up);
        if before != up {
            self.handle.count(|channels| {
                channels.up = if up { channels.up + 1 } else { channels.up.saturating_sub(1) };
            });
        }
        before != up
    }
}

impl Drop for BoundGuard<'_> {
    fn drop(&mut self) {
        self.set_up(false);
        self.handle.count(|channels| channels.held = channels.held.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_channel_that_is_fed_brings_its_part_of_the_rate() {
        let handle = GatewayHandle::new("main".into(), 400, 4, Uuid::nil());
        let mut first = handle.bind();
        assert_eq!((handle.channels_held(), handle.pace.rate()), (1, Some(100.0)));
        let second = handle.bind();
        assert_eq!(handle.pace.rate(), Some(200.0));
        assert!(first.set_up(true) && !first.set_up(true));
        assert_eq!(handle.report(Timestamp::from_millis(0)).channels_up, 1);
        drop(first);
        let report = handle.report(Timestamp::from_millis(0));
        assert_eq!((report.channels_up, report.channels_held, report.rate), (0, 1, Some(100.0)));
        drop(second);
        assert_eq!(handle.channels_held(), 0);
    }
}
