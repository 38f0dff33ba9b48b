//! The circuit breaker of a gateway: a state machine that outcomes drive, with the time as a parameter.
//!
//! Certain failures (the provider refuses us or cannot be reached) open it at once. Likely failures (no answers,
//! errors, missing receipts) degrade it: other gateways go first, and it is used if there are none. One successful
//! message closes it again. Each further failure makes the next wait longer, so that it does not flutter.

use std::collections::VecDeque;
use std::time::Duration;

use klaroen_domain::decide::GATEWAY_PAUSE;
use klaroen_domain::gateway::GatewayState;
use klaroen_domain::id::DeliveryId;
use klaroen_domain::outcome::{Failure, Scope, SubmitOutcome};
use tokio::time::Instant;

/// The first and the longest wait before a gateway is tried again. The only gateway is always tried after the first
/// wait: a try costs nothing and all messages wait for it.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// After this time in the closed state the next wait is the first one again.
const FORGIVEN: Duration = Duration::from_mins(1);
/// This many messages in a row that the gateway certainly did not take open the breaker.
const NOT_TAKEN_RUN: u32 = 3;
/// The gateway counts as silent if nothing was answered for this long, and for this many times its usual answer time.
const SILENT: Duration = Duration::from_secs(3);
const SILENT_FACTOR: u32 = 4;
/// The share of errors in the last seconds that is too high, and the number of errors below which a ratio says nothing.
const ERRORS_SECONDS: u64 = 10;
const ERRORS_LEAST: u32 = 10;
const ERRORS_RATIO: f64 = 0.2;
/// How long the pace must be unreduced before the gateway is no longer `throttled`.
const WHOLE_FOR: Duration = Duration::from_secs(3);
/// Below this factor of its pace the gateway is `throttled` and other gateways help.
const SLOW: f64 = 0.5;
/// How long a connection may take to come up after the start of the process before other gateways take over.
const STARTING: Duration = Duration::from_secs(3);
/// How long bad receipts move messages to other gateways, at the least.
const RECEIPTS_HOLD: Duration = Duration::from_mins(5);
/// Weight of the newest answer time: one in this many.
const NEWEST: u32 = 8;

/// The state of the breaker.
#[derive(Clone, Debug, PartialEq)]
enum BreakerState {
    Closed,
    /// Other gateways go first. At `probe_at` one message tries the gateway.
    Degraded {
        probe_at: Instant,
        /// The reason is that nothing was answered, so the next answer closes the breaker.
        silent: bool,
    },
    /// The gateway takes nothing until then.
    Open {
        until: Instant,
        /// The reason is that it could not be reached, so a new connection closes the breaker.
        unreachable: bool,
    },
    /// One message tries the gateway. `probe` is its id once it has left.
    HalfOpen {
        probe: Option<DeliveryId>,
    },
}

/// One request to a provider, which has one message or a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestRef {
    /// Its first message, which no other request in flight has.
    pub(crate) first: DeliveryId,
    pub(crate) messages: u32,
}

/// How one gateway works, as seen by this process.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "facts that do not exclude each other")]
pub(crate) struct CircuitBreaker {
    started: Instant,
    breaker: BreakerState,
    reason: String,
    /// When the published state changed last.
    since: Instant,
    shown: GatewayState,
    /// An operator stopped it.
    stopped: bool,
    channels_up: u16,
    was_up: bool,
    /// No other gateway can take its messages.
    only_gateway: bool,
    in_flight: u32,
    /// Since when nothing was answered although something is in flight.
    waiting_since: Option<Instant>,
    usual: Duration,
    not_taken: u32,
    wait: Duration,
    closed_since: Instant,
    slowed: bool,
    whole_since: Option<Instant>,
    /// Second, requests and errors of the last seconds, newest last.
    seconds: VecDeque<(u64, u32, u32)>,
}

/// A change of the published state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) from: GatewayState,
    pub(crate) to: GatewayState,
}

impl CircuitBreaker {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            started: now,
            breaker: BreakerState::Closed,
            reason: "not connected yet".into(),
            since: now,
            shown: GatewayState::Down,
            stopped: false,
            channels_up: 0,
            was_up: false,
            only_gateway: false,
            in_flight: 0,
            waiting_since: None,
            usual: Duration::ZERO,
            not_taken: 0,
            wait: FIRST_WAIT,
            closed_since: now,
            slowed: false,
            whole_since: None,
            seconds: VecDeque::new(),
        }
    }

    /// The state that is published.
    pub(crate) const fn state(&self) -> GatewayState {
        match self.breaker {
            _ if self.stopped => GatewayState::Stopped,
            _ if self.channels_up == 0 => GatewayState::Down,
            BreakerState::Open { .. } => GatewayState::Paused,
            BreakerState::HalfOpen { .. } => GatewayState::Probing,
            BreakerState::Degraded { .. } => GatewayState::Suspect,
            BreakerState::Closed if self.slowed => GatewayState::Throttled,
            BreakerState::Closed => GatewayState::Up,
        }
    }

    /// The state that routing uses. A gateway that has just started counts as up until its connection had time to come
    /// up.
    pub(crate) fn routing_state(&self, now: Instant) -> GatewayState {
        let is_starting = !self.was_up && now.duration_since(self.started) < STARTING;
        match self.state() {
            GatewayState::Down if is_starting => GatewayState::Up,
            state => state,
        }
    }

    /// When the published state changed last.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    pub(crate) fn reason(&self) -> &str {
        match self.state() {
            GatewayState::Stopped => "paused by hand",
            GatewayState::Down => "no connection",
            GatewayState::Throttled => "the provider asked for a slower pace",
            GatewayState::Up => "",
            GatewayState::Suspect | GatewayState::Probing | GatewayState::Paused => &self.reason,
        }
    }

    /// When the breaker will be half-open, if it is open.
    pub(crate) fn paused_until(&self) -> Option<Instant> {
        match self.breaker {
            BreakerState::Open { until, .. } => Some(until),
            _ => None,
        }
    }

    pub(crate) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    pub(crate) const fn channels_up(&self) -> u16 {
        self.channels_up
    }

    /// Whether one message is to try the gateway and has not left yet.
    pub(crate) const fn wants_probe(&self) -> bool {
        matches!(self.breaker, BreakerState::HalfOpen { probe: None })
    }

    /// Whether the breaker is half-open.
    pub(crate) const fn is_probing(&self) -> bool {
        matches!(self.breaker, BreakerState::HalfOpen { .. })
    }

    pub(crate) fn set_stopped(&mut self, stopped: bool, now: Instant) -> Option<Change> {
        self.stopped = stopped;
        self.publish(now)
    }

    pub(crate) const fn set_only_gateway(&mut self, only_gateway: bool) {
        self.only_gateway = only_gateway;
    }

    /// The number of connections that are up changed.
    pub(crate) fn on_connections(&mut self, up: u16, now: Instant) -> Option<Change> {
        if up > self.channels_up && matches!(self.breaker, BreakerState::Open { unreachable: true, .. }) {
            self.close(now);
        }
        self.channels_up = up;
        self.was_up |= up > 0;
        self.publish(now)
    }

    /// A request leaves.
    pub(crate) fn on_submit(&mut self, request: RequestRef, now: Instant) {
        self.in_flight += request.messages;
        self.waiting_since.get_or_insert(now);
        if let BreakerState::HalfOpen { probe: probe @ None } = &mut self.breaker {
            *probe = Some(request.first);
            // The silence of earlier requests says nothing about this one.
            self.waiting_since = Some(now);
        }
    }

    /// A request was answered; `outcome` is its [verdict](crate::gateway::batch_verdict) and counts once, however many
    /// messages the request had. `connected` says whether its connection is up: if it is not, a message that was not
    /// taken says something about the lost connection and not about the provider.
    pub(crate) fn on_response(
        &mut self,
        request: RequestRef,
        outcome: &SubmitOutcome,
        took: Duration,
        connected: bool,
        now: Instant,
    ) -> Option<Change> {
        self.in_flight = self.in_flight.saturating_sub(request.messages);
        let unknown = matches!(outcome, SubmitOutcome::Unknown(_));
        if self.in_flight == 0 {
            self.waiting_since = None;
        } else if !unknown {
            self.waiting_since = Some(now);
        }
        let probe = match self.breaker {
            BreakerState::HalfOpen { probe } => probe == Some(request.first),
            _ => false,
        };
        let bad = matches!(outcome, SubmitOutcome::Unknown(_) | SubmitOutcome::NotTaken(_));
        self.count_request(bad, now);
        match outcome {
            SubmitOutcome::Rejected(failure) if failure.scope == Scope::Gateway => {
                if !matches!(self.breaker, BreakerState::Open { .. }) {
                    let until = now + GATEWAY_PAUSE;
                    self.breaker = BreakerState::Open { until, unreachable: false };
                    self.reason = format!("refused by the provider: {}", message(failure));
                }
            }
            SubmitOutcome::NotTaken(failure) => {
                self.not_taken += u32::from(connected);
                let run = matches!(self.breaker, BreakerState::Closed | BreakerState::Degraded { .. })
                    && self.not_taken >= NOT_TAKEN_RUN;
                if run || probe {
                    let until = now + self.next_wait();
                    self.breaker = BreakerState::Open { until, unreachable: true };
                    self.reason = format!("not reachable: {}", message(failure));
                }
            }
            SubmitOutcome::Unknown(failure) => {
                if probe {
                    self.degrade(format!("no answer: {}", message(failure)), true, now);
                }
            }
            SubmitOutcome::Accepted { .. } | SubmitOutcome::Throttled { .. } | SubmitOutcome::Rejected(_) => {
                self.not_taken = 0;
                self.usual =
                    if self.usual.is_zero() { took } else { (self.usual * (NEWEST - 1) + took) / NEWEST };
                // While the breaker is open, this answers a request that left before it opened.
                if matches!(self.breaker, BreakerState::HalfOpen { .. }) || self.was_silent() {
                    self.close(now);
                }
            }
        }
        self.publish(now)
    }

    /// The answers to these messages are no longer waited for, so their absence is not silence.
    pub(crate) fn on_abandoned(&mut self, messages: &[DeliveryId], now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(u32::try_from(messages.len()).unwrap_or(u32::MAX));
        self.waiting_since = self.waiting_since.filter(|_| self.in_flight > 0);
        if let BreakerState::HalfOpen { probe } = &mut self.breaker
            && probe.is_some_and(|id| messages.contains(&id))
        {
            // Another message will probe.
            *probe = None;
            self.waiting_since = self.waiting_since.map(|_| now);
        }
    }

    /// An answer came after its submit had been abandoned, so the gateway is not silent.
    pub(crate) fn on_late_response(&mut self, now: Instant) -> Option<Change> {
        if self.was_silent() {
            self.close(now);
        }
        self.publish(now)
    }

    /// Most receipts of the last minutes are negative, or they come much later than usual.
    pub(crate) fn on_bad_receipts(&mut self, reason: String, now: Instant) -> Option<Change> {
        if self.breaker == BreakerState::Closed && now.duration_since(self.closed_since) >= RECEIPTS_HOLD {
            self.breaker = BreakerState::Degraded { probe_at: now + RECEIPTS_HOLD, silent: false };
            self.reason = reason;
        }
        self.publish(now)
    }

    /// Applies what is due at `now`. `factor` is the present pace, where 1 is unreduced.
    pub(crate) fn tick(&mut self, factor: f64, now: Instant) -> Option<Change> {
        match self.breaker {
            BreakerState::Closed => {
                if now.duration_since(self.closed_since) >= FORGIVEN {
                    self.wait = FIRST_WAIT;
                }
                if let Some(silent) = self.silent_for(now) {
                    self.degrade(format!("no answer for {} s", silent.as_secs()), true, now);
                } else if let Some(percent) = self.error_percent(now) {
                    self.degrade(format!("{percent} % of the last messages failed"), false, now);
                }
            }
            // The only gateway stays in use, so its answers show how it works.
            BreakerState::Degraded { probe_at, .. } if now >= probe_at && !self.only_gateway => {
                self.breaker = BreakerState::HalfOpen { probe: None };
            }
            BreakerState::Degraded { probe_at, silent: false }
                if now >= probe_at && self.error_percent(now).is_none() =>
            {
                self.close(now);
            }
            BreakerState::Open { until, .. } if now >= until => {
                self.breaker = BreakerState::HalfOpen { probe: None }
            }
            BreakerState::HalfOpen { probe: Some(_) } => {
                if let Some(silent) = self.silent_for(now) {
                    self.degrade(format!("no answer for {} s", silent.as_secs()), true, now);
                }
            }
            _ => {}
        }
        self.update_slowed(factor, now);
        self.publish(now)
    }

    fn update_slowed(&mut self, factor: f64, now: Instant) {
        if factor >= 1.0 {
            let since = *self.whole_since.get_or_insert(now);
            self.slowed = self.slowed && now.duration_since(since) < WHOLE_FOR;
        } else {
            self.whole_since = None;
            // The first complaint halves the pace, so a lower factor means that the provider complained again.
            self.slowed |= factor < SLOW;
        }
    }

    fn silent_for(&self, now: Instant) -> Option<Duration> {
        let waited = now.duration_since(self.waiting_since?);
        (waited >= SILENT.max(self.usual * SILENT_FACTOR)).then_some(waited)
    }

    fn was_silent(&self) -> bool {
        matches!(self.breaker, BreakerState::Degraded { silent: true, .. })
    }

    /// The percentage of failed requests in the last seconds if it is too high.
    fn error_percent(&self, now: Instant) -> Option<u32> {
        let second = self.second(now);
        let recent = self.seconds.iter().filter(|(at, ..)| at + ERRORS_SECONDS > second);
        let (all, bad) = recent.fold((0, 0), |(all, bad), (_, a, b)| (all + a, bad + b));
        let ratio = f64::from(bad) / f64::from(all.max(1));
        (bad >= ERRORS_LEAST && ratio >= ERRORS_RATIO).then(|| bad * 100 / all)
    }

    fn second(&self, now: Instant) -> u64 {
        now.duration_since(self.started).as_secs()
    }

    fn count_request(&mut self, bad: bool, now: Instant) {
        let second = self.second(now);
        if self.seconds.back().is_none_or(|(last, ..)| *last != second) {
            self.seconds.push_back((second, 0, 0));
            self.seconds.retain(|(at, ..)| at + ERRORS_SECONDS > second);
        }
        if let Some((_, all, errors)) = self.seconds.back_mut() {
            *all += 1;
            *errors += u32::from(bad);
        }
    }

    /// Returns the present wait and doubles the next one.
    fn next_wait(&mut self) -> Duration {
        if self.only_gateway {
            return FIRST_WAIT;
        }
        let wait = self.wait;
        self.wait = (wait * 2).min(LONGEST_WAIT);
        wait
    }

    fn degrade(&mut self, reason: String, silent: bool, now: Instant) {
        self.breaker = BreakerState::Degraded { probe_at: now + self.next_wait(), silent };
        self.reason = reason;
    }

    fn close(&mut self, now: Instant) {
        self.breaker = BreakerState::Closed;
        self.reason.clear();
        self.closed_since = now;
        self.not_taken = 0;
        self.seconds.clear();
    }

    fn publish(&mut self, now: Instant) -> Option<Change> {
        let to = self.state();
        let from = std::mem::replace(&mut self.shown, to);
        if from == to {
            return None;
        }
        self.since = now;
        Some(Change { from, to })
    }
}

fn message(failure: &Failure) -> String {
    format!("{} ({})", failure.detail, failure.code)
}

#[cfg(test)]
mod tests;
