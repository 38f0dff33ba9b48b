//! What the channels of one gateway share: its pace, its place among other workers, and how it is doing.

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
use crate::gateway::circuit_breaker::{Change, Condition, Request};
use crate::gateway::rate::pace::Pace;
use crate::gateway::rolling_counts::Tally;
use crate::gateway::routing::allocation::Standing;
use crate::instruments;
use crate::lease::peers::Crew;

/// The shared state of one gateway.
#[derive(Debug)]
pub(crate) struct GatewayControl {
    name: String,
    worker: Uuid,
    pub(crate) pace: Pace,
    pub(crate) crew: Arc<Crew>,
    /// Those that this process feeds now, and of these the ones that are up.
    fed: Mutex<(u16, u16)>,
    condition: Mutex<Condition>,
    tally: Mutex<Tally>,
    /// Whether one message is to try it: looked at for each message.
    probing: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in here leaves numbers behind, no half-done work.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GatewayControl {
    pub(crate) fn new(name: String, segments_per_second: u32, channels: u16, worker: Uuid) -> Self {
        let pace = Pace::new(segments_per_second, channels);
        let now = Instant::now();
        Self {
            crew: Arc::new(Crew::new(name.clone(), worker)),
            name,
            worker,
            pace,
            fed: Mutex::new((0, 0)),
            condition: Mutex::new(Condition::new(now)),
            tally: Mutex::new(Tally::new(now)),
            probing: AtomicBool::new(false),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A channel is fed from now on, until the value is dropped: it brings its part of the gateway's rate.
    pub(crate) fn feed(&self) -> Fed<'_> {
        self.count(|(fed, _)| *fed += 1);
        Fed { control: self, up: false }
    }

    fn count(&self, change: impl FnOnce(&mut (u16, u16))) {
        let mut counts = lock(&self.fed);
        change(&mut counts);
        self.pace.share(counts.0);
        let up = counts.1;
        drop(counts);
        self.with(|condition, now| condition.connections(up, now));
    }

    /// How many channels this process feeds.
    pub(crate) fn fed(&self) -> u16 {
        lock(&self.fed).0
    }

    /// Changes the condition, and says so where it shows; whether it does.
    fn with(&self, change: impl FnOnce(&mut Condition, Instant) -> Option<Change>) -> bool {
        let now = Instant::now();
        let mut condition = lock(&self.condition);
        let changed = change(&mut condition, now);
        self.probing.store(condition.is_probing(), Ordering::Release);
        let reason = changed.as_ref().map(|_| condition.reason().to_owned());
        drop(condition);
        let Some(Change { from, to }) = changed else { return false };
        self.say(from, to, &reason.unwrap_or_default());
        true
    }

    fn say(&self, from: GatewayState, to: GatewayState, reason: &str) {
        let gateway = &self.name;
        for state in GatewayState::ALL {
            let on = if *state == to { 1.0 } else { 0.0 };
            gauge!("klaroen_gateway_state", "gateway" => gateway.clone(), "state" => state.as_str()).set(on);
        }
        if to == GatewayState::Paused {
            instruments::paused(gateway);
        }
        match to {
            GatewayState::Up => tracing::info!(gateway, %from, %to, "the gateway takes messages"),
            GatewayState::Paused => tracing::error!(gateway, %from, %to, reason, "the gateway is paused"),
            _ => tracing::warn!(gateway, %from, %to, reason, "the gateway's state changed"),
        }
    }

    /// A request leaves, with `messages` of which this is the first.
    pub(crate) fn begun(&self, first: DeliveryId, messages: usize) {
        lock(&self.condition).begun(request(first, messages), Instant::now());
    }

    /// What came of each of its messages, for the figures.
    pub(crate) fn count_outcomes(&self, outcomes: &[&SubmitOutcome], at: Timestamp) {
        let (now, mut tally) = (Instant::now(), lock(&self.tally));
        for outcome in outcomes {
            tally.count(outcome, now, at);
        }
    }

    /// The same for how the gateway stands; whether that changed it. See [`Condition::ended`].
    pub(crate) fn ended(
        &self,
        first: DeliveryId,
        outcomes: &[&SubmitOutcome],
        took: Duration,
        connected: bool,
    ) -> bool {
        let Some(outcome) = batch_verdict::of(outcomes) else { return false };
        let request = request(first, outcomes.len());
        let probing = self.probing.load(Ordering::Acquire);
        self.with(|condition, now| condition.ended(request, outcome, took, connected, now))
            || probing != self.probing.load(Ordering::Acquire)
    }

    /// The answers to these messages are not waited for any more.
    pub(crate) fn given_up(&self, messages: impl Iterator<Item = DeliveryId>) {
        let messages: Vec<_> = messages.collect();
        if !messages.is_empty() {
            lock(&self.condition).given_up(&messages, Instant::now());
        }
    }

    /// What time brings about.
    pub(crate) fn tick(&self) -> bool {
        let factor = self.pace.factor();
        self.with(|condition, now| condition.tick(factor, now))
    }

    /// An operator took it out of use, or put it back.
    pub(crate) fn stop(&self, stopped: bool) -> bool {
        self.with(|condition, now| condition.stop(stopped, now))
    }

    /// What the receipts of the last quarter of an hour say.
    pub(crate) fn heard(&self, receipts: Option<ReceiptTimes>) -> bool {
        lock(&self.tally).receipts = receipts;
        let reason = receipts.and_then(|receipts| bad_receipts(&receipts));
        self.with(|condition, now| reason.and_then(|reason| condition.receipts_stay_away(reason, now)))
    }

    /// An answer came after its caller gave up.
    pub(crate) fn answered_late(&self) -> bool {
        self.with(Condition::answered_late)
    }

    /// Whether no other gateway could take its place.
    pub(crate) fn set_alone(&self, alone: bool) {
        lock(&self.condition).set_alone(alone);
    }

    /// How it stands in this process.
    pub(crate) fn standing(&self) -> Standing {
        lock(&self.condition).standing(Instant::now())
    }

    /// Whether one message is to find out how it is.
    pub(crate) fn is_probing(&self) -> bool {
        self.probing.load(Ordering::Acquire)
    }

    /// Whether that message may leave now.
    pub(crate) fn wants_probe(&self) -> bool {
        lock(&self.condition).wants_probe()
    }

    /// What the others and the operator are told. `wall` is the present time of day.
    pub(crate) fn report(&self, wall: Timestamp) -> GatewayReport {
        let now = Instant::now();
        let tally = lock(&self.tally);
        let (figures, last_error) = (tally.figures(now), tally.last_error.clone());
        drop(tally);
        let held = self.fed();
        let condition = lock(&self.condition);
        GatewayReport {
            gateway: self.name.clone(),
            worker: self.worker,
            state: condition.state(),
            since: wall.minus(now.duration_since(condition.since())),
            reason: condition.reason().to_owned(),
            paused_until: condition
                .paused_until()
                .map(|until| wall.plus(until.saturating_duration_since(now))),
            usable: condition.standing(now) < Standing::Probing,
            channels_up: condition.channels_up(),
            channels_held: held,
            rate: self.pace.rate(),
            in_flight: condition.under_way(),
            figures,
            last_error,
        }
    }
}

fn request(first: DeliveryId, messages: usize) -> Request {
    Request { first, messages: u32::try_from(messages).unwrap_or(u32::MAX) }
}

/// Fewer receipts say nothing.
const RECEIPTS_LEAST: u64 = 50;
/// Seconds between answer and receipt, in the middle, that are too many for an alert.
const RECEIPT_LATE_S: f64 = 300.0;

/// Why messages through a gateway seem not to arrive.
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

/// A channel that is fed.
#[derive(Debug)]
pub(crate) struct Fed<'a> {
    control: &'a GatewayControl,
    up: bool,
}

impl Fed<'_> {
    /// Whether its connection is up; whether that is news.
    pub(crate) fn show(&mut self, up: bool) -> bool {
        let before = std::mem::replace(&mut self.up, up);
        if before != up {
            self.control.count(|(_, ups)| *ups = if up { *ups + 1 } else { ups.saturating_sub(1) });
        }
        before != up
    }
}

impl Drop for Fed<'_> {
    fn drop(&mut self) {
        self.show(false);
        self.control.count(|(fed, _)| *fed = fed.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_channel_that_is_fed_brings_its_part_of_the_rate() {
        let control = GatewayControl::new("main".into(), 400, 4, Uuid::nil());
        let mut first = control.feed();
        assert_eq!((control.fed(), control.pace.rate()), (1, Some(100.0)));
        let second = control.feed();
        assert_eq!(control.pace.rate(), Some(200.0));
        assert!(first.show(true) && !first.show(true));
        assert_eq!(control.report(Timestamp::from_millis(0)).channels_up, 1);
        drop(first);
        let report = control.report(Timestamp::from_millis(0));
        assert_eq!((report.channels_up, report.channels_held, report.rate), (0, 1, Some(100.0)));
        drop(second);
        assert_eq!(control.fed(), 0);
    }
}
